"""The templates of the page and of pictures, beside the stylesheet of the page."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import jinja2

from tfx_edge.report import numbers
from tfx_edge.report.labels import text_width


@cache
def environment() -> jinja2.Environment:
    """Renders what lies in this folder; every text put in is escaped."""
    found = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    found.filters.update(metric_title=numbers.title, amount=numbers.amount, plain=numbers.plain, text_width=text_width)
    return found
