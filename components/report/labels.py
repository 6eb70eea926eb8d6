"""Places the names beside the points of a plot so that none covers another, at every width the plot is shown at."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Anchor = Literal["start", "middle", "end"]
_HEIGHT = 14.0
_ASCENT = 11.0
_RADIUS = 8.0
_LONGEST = 22


@dataclass(frozen=True)
class Point:
    """A point and the ends of its whiskers: across in percent of the width, up and down in pixels."""

    x: float
    y: float
    left: float
    right: float
    top: float
    bottom: float


@dataclass(frozen=True)
class Label:
    """A text at an offset in pixels from its point; a far one has a leader line to it."""

    text: str
    dx: float
    dy: float
    anchor: Anchor
    leader: bool


Box = tuple[float, float, float, float]


def place(points: Sequence[Point], names: Sequence[str], widths: Sequence[float], height: float) -> list[Label | None]:
    """Finds a place for each name.

    Args:
      points: what the names belong to; earlier ones choose first.
      names: one name per point; long ones are cut.
      widths: widths in pixels that the plot may have: the least and the greatest.
      height: of the plot in pixels.

    Returns:
      A label per point, or None where every place near the point is taken.
    """
    taken = [[box for point in points for box in _marks(point, width)] for width in widths]
    labels: list[Label | None] = []
    for point, name in zip(points, names, strict=True):
        text = name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"
        chosen = next(
            (
                label
                for label in _choices(text)
                if all(
                    _free(_box(point, label, width), boxes, width, height)
                    for width, boxes in zip(widths, taken, strict=True)
                )
            ),
            None,
        )
        labels.append(chosen)
        if chosen:
            for width, boxes in zip(widths, taken, strict=True):
                boxes.append(_box(point, chosen, width))
    return labels


def text_width(text: str) -> float:
    """About how wide a text is at 12 pixels, rather too wide than too narrow."""
    return sum(12.5 if unicodedata.east_asian_width(each) in "WF" else 8.4 if each.isupper() else 6.8 for each in text)


def _choices(text: str) -> Iterator[Label]:
    yield Label(text, 11, 4, "start", False)
    yield Label(text, -11, 4, "end", False)
    yield Label(text, 0, -13, "middle", False)
    yield Label(text, 0, 22, "middle", False)
    for distance in range(18, 120, 14):
        for dy in (-distance, distance):
            yield Label(text, 14, dy + 4, "start", True)
            yield Label(text, -14, dy + 4, "end", True)


def _marks(point: Point, width: float) -> Iterator[Box]:
    x = point.x / 100 * width
    yield x - _RADIUS, point.y - _RADIUS, x + _RADIUS, point.y + _RADIUS
    yield x - 2, point.top, x + 2, point.bottom
    yield point.left / 100 * width, point.y - 2, point.right / 100 * width, point.y + 2


def _box(point: Point, label: Label, width: float) -> Box:
    length = text_width(label.text)
    left = point.x / 100 * width + label.dx - {"start": 0.0, "middle": length / 2, "end": length}[label.anchor]
    top = point.y + label.dy - _ASCENT
    return left, top, left + length, top + _HEIGHT


def _free(box: Box, taken: Sequence[Box], width: float, height: float) -> bool:
    left, top, right, bottom = box
    inside = left >= 0 and top >= 0 and right <= width and bottom <= height
    return inside and not any(_overlap(box, other) for other in taken)


def _overlap(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]
