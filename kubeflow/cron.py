"""Cron lines: the usual five fields, as Kubeflow's scheduler takes them.

Kubeflow's has six, seconds first, and it does not refuse five: it reads them as second, minute, hour, day of month and
month. So "0 3 * * *" would mean the third minute of every hour.

Source: github.com/robfig/cron v1, ``parser.go``, which kubeflow/pipelines' scheduled-workflow controller uses.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tfx_edge.errors import ConfigError

_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_SHORTHANDS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
_EVERY = re.compile(r"@every (?:\d+(?:\.\d+)?(?:h|m|s))+")


@dataclass(frozen=True)
class _Field:
    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    last: int | None = None  # of *, where a number may be higher


_SECOND = _Field("second", 0, 59)
_FIVE = (
    _Field("minute", 0, 59),
    _Field("hour", 0, 23),
    _Field("day of month", 1, 31),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 7, _DAYS, last=6),
)
_SIX = (_SECOND, *_FIVE[:4], _Field("day of week", 0, 6, _DAYS))


def to_kubeflow(line: str) -> str:
    """The line as Kubeflow's scheduler takes it: five fields get a second of 0, six stay as they are.

    Day 7 of five fields is Sunday, as is usual. ``@daily``, ``@every 1h30m`` and their like stay too.

    Raises:
      ConfigError: the line is no cron line; names the field.
    """
    text = " ".join(line.split())
    if text in _SHORTHANDS or _EVERY.fullmatch(text):
        return text
    words = text.split(" ") if text else []
    if len(words) not in (5, 6):
        raise ConfigError(
            f"--cron is {line!r}, which has {len(words)} fields; give five (minute, hour, day of month, month, day of "
            "week), six (with the second in front), or one of " + ", ".join(_SHORTHANDS) + ", @every 1h30m"
        )
    if len(words) == 6:
        for word, field in zip(words, _SIX, strict=True):
            _values(word, field, line)
        return text
    values = [_values(word, field, line) for word, field in zip(words, _FIVE, strict=True)]
    if 7 in values[4]:
        words[4] = ",".join(str(day) for day in sorted({day % 7 for day in values[4]}))
    return " ".join(("0", *words))


def _values(word: str, field: _Field, line: str) -> set[int]:
    """What a field allows."""

    def refuse(why: str) -> ConfigError:
        names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
        return ConfigError(
            f"--cron is {line!r}, whose {field.name} is {word!r}: {why}; it may hold *, {field.low} to {field.high}"
            f"{names}, ranges (a-b), steps (*/n) and lists (a,b)"
        )

    def number(text: str) -> int:
        if text.upper() in field.names:
            return field.names.index(text.upper()) + min(field.low, 1)
        if not text.isascii() or not text.isdecimal():
            raise refuse(f"{text!r} is no number")
        if not field.low <= int(text) <= field.high:
            raise refuse(f"{text} is out of range")
        return int(text)

    last = field.high if field.last is None else field.last
    values: set[int] = set()
    for part in word.split(","):
        span, slash, step = part.partition("/")
        if slash and (not step.isdecimal() or int(step) < 1):
            raise refuse(f"the step {step!r} is no number from 1 on")
        if span in ("*", "?"):
            low, high = field.low, last
        else:
            first, dash, end = span.partition("-")
            low = number(first)
            high = number(end) if dash else last if slash else low
        if low > high:
            raise refuse(f"{span} runs backwards")
        values |= set(range(low, high + 1, int(step) if slash else 1))
    return values
