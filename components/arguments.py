"""Types of command-line arguments."""

from __future__ import annotations

import argparse
import math

_LONGEST = 1e9  # some thirty years: what no clock refuses


def positive(text: str) -> int:
    """A whole number from 1 on."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def assignment(text: str) -> tuple[str, str]:
    """A name and a value, as ``name=value``."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r} gives no value; write name=value")
    return name, value


def seconds(text: str) -> float:
    """A time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value <= _LONGEST:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0, and at most {_LONGEST:g}")
    return value
