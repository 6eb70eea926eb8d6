"""Slices: the examples that agree in the value of one feature, or of several at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfx_edge.errors import ConfigError, DataError

MAX_SLICES = 1000
MISSING = -1

SliceValue = str | int | float | None


@dataclass(frozen=True)
class SliceSpec:
    """The features whose values tell the slices apart; of several, every combination that occurs is a slice."""

    features: tuple[str, ...]

    @classmethod
    def parse(cls, spec: str | Sequence[str]) -> SliceSpec:
        """A feature's name, or a list of names to cross.

        Raises:
          ConfigError: it is neither, or names a feature twice.
        """
        names = (spec,) if isinstance(spec, str) else tuple(spec)
        if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
            raise ConfigError(f"a slice is a feature's name or a list of different names, but is {spec!r}")
        return cls(names)


class Categories:
    """The values of one feature as numbers, given out in the order in which values are met."""

    def __init__(self, values: Iterable[SliceValue] = ()) -> None:
        self.values: list[SliceValue] = list(values)
        self._codes: dict[SliceValue, int] = {value: code for code, value in enumerate(self.values)}

    def encode(self, feature: str, values: np.ndarray) -> np.ndarray:
        """Codes of shape (n,) of a feature of shape (n,) or (n, 1); -1 where there is none (masked or NaN).

        Raises:
          DataError: an example has several values, or there are more values than slices may be.
        """
        if values.ndim > 2 or (values.ndim == 2 and values.shape[1] != 1):
            raise DataError(
                f"the feature {feature!r} has the shape {values.shape[1:]} and cannot tell slices apart; "
                "slice by a feature with one value an example"
            )
        flat = values.reshape(len(values))
        missing = np.ma.getmaskarray(flat)
        if flat.dtype.kind == "f":
            missing = missing | np.isnan(np.ma.getdata(flat))
        found, inverse = np.unique(np.ma.getdata(flat)[~missing], return_inverse=True)
        numbers = np.array([self._code(feature, _plain(value)) for value in found], np.int32)
        codes = np.full(len(flat), MISSING, np.int32)
        codes[~missing] = numbers[inverse.reshape(-1)] if len(found) else 0
        return codes

    def _code(self, feature: str, value: SliceValue) -> int:
        code = self._codes.setdefault(value, len(self.values))
        if code == len(self.values):
            if code >= MAX_SLICES:
                raise DataError(
                    f"the feature {feature!r} has more than {MAX_SLICES} different values; put them into buckets in "
                    "Transform, or slice by another feature"
                )
            self.values.append(value)
        return code

    def merge(self, feature: str, other: Sequence[SliceValue], codes: np.ndarray) -> np.ndarray:
        """Codes that were given out by other categories, as codes of these."""
        table = np.array([*(self._code(feature, value) for value in other), MISSING], np.int32)
        return table[codes]

    def decode(self, code: int) -> SliceValue:
        """The value of a code; None for an example without the feature."""
        return None if code == MISSING else self.values[code]


def _plain(value: Any) -> SliceValue:
    value = value.item() if isinstance(value, np.generic) else value
    return value.decode("utf-8", errors="backslashreplace") if isinstance(value, bytes) else value


def group(
    specs: Iterable[SliceSpec], codes: dict[str, np.ndarray], categories: dict[str, Categories]
) -> Iterator[tuple[dict[str, SliceValue], np.ndarray]]:
    """Yields each slice that occurs, in the order of its codes, with the indices of its examples.

    Raises:
      DataError: there are more than 1,000 slices.
    """
    total = 0
    for spec in specs:
        keys = np.stack([codes[feature] for feature in spec.features], axis=1)
        found, inverse, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
        total += len(found)
        if total > MAX_SLICES:
            raise DataError(
                f"there are more than {MAX_SLICES} slices by {', '.join(spec.features)}; slice by features with fewer "
                "values"
            )
        ordered = np.split(np.argsort(inverse.reshape(-1), kind="stable"), np.cumsum(counts)[:-1])
        for key, indices in zip(found, ordered, strict=True):
            values = (categories[feature].decode(int(code)) for feature, code in zip(spec.features, key, strict=True))
            yield dict(zip(spec.features, values, strict=True)), indices
