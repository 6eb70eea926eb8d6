"""Renders reports as one self-contained page: no script, no request to anywhere, themes for light and for dark."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tfx_edge.report import figures, inventory, latency, numbers, plots
from tfx_edge.report.checks import check, checks, outcome
from tfx_edge.report.document import FILE_NAME, number, rows, table
from tfx_edge.report.slices import slices
from tfx_edge.report.templates import environment
from tfx_edge.report.variants import variants

_TITLES = {
    "pass": "Blessed",
    "fail": "Not blessed",
    "inconclusive": "Not blessed: inconclusive",
}


def render(reports: Sequence[Mapping[str, Any]], link: str | None = FILE_NAME) -> str:
    """Renders one or more ``report.json`` documents of schema version 2.

    Args:
      reports: the first is the judged model; the others are drawn beside it as variants.
      link: where the page finds the first report's JSON, relative to itself; None for no link.

    Returns:
      HTML. Parts whose data the reports lack are left out.
    """
    report = reports[0]
    verdict = table(report, "verdict")
    state = outcome(verdict)
    binding = table(verdict, "binding")
    metrics, models, paretos = variants(reports)
    return (
        environment()
        .get_template("page.html.j2")
        .render(
            link=link,
            prefix=plots.PREFIX,
            created=_text(report, "created"),
            sha256=_text(report, "sha256"),
            name=_text(report, "name") or "model",
            others=len(reports) - 1,
            outcome=state,
            title=_TITLES[state],
            reason=_text(verdict, "reason"),
            remedy=_text(verdict, "remedy"),
            policy=_text(verdict, "policy"),
            binding=check(binding["check"]) if table(binding, "check") else None,
            binding_target=_text(binding, "target"),
            tiles=figures.tiles(report),
            metrics=metrics,
            models=models,
            paretos=paretos,
            targets=[_target(report, name) for name in table(report, "targets")],
            examples=number(table(report, "quality").get("examples")),
            quality=figures.quality(report),
            slices=slices(report),
            inventories=inventory.inventories(report),
            steps=inventory.steps(report),
            config=inventory.flat(table(report, "config")),
            confidence=number(table(report, "config").get("confidence")),
        )
    )


def _target(report: Mapping[str, Any], name: str) -> dict[str, Any]:
    verdict = table(report, "targets", name, "verdict")
    shown, hidden = checks(rows(verdict, "checks"))
    return {
        "name": name,
        "kind": _text(table(report, "targets", name), "kind"),
        "outcome": outcome(verdict),
        "title": _TITLES[outcome(verdict)],
        "reason": _text(verdict, "reason"),
        "checks": shown,
        "hidden": hidden,
        "figures": figures.figures(report, name),
        "ratios": latency.ratios(report, name),
        "latencies": latency.latencies(report, name),
        "environment": inventory.flat(table(report, "targets", name, "environment")),
    }


def _text(data: Mapping[str, Any], key: str) -> str:
    return numbers.plain(data[key]) if data.get(key) else ""
