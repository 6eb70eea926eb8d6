"""Reads ``.ts`` files, in which the UEA and UCR archive keeps labelled time series."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tfx_edge.errors import DataError


@dataclass(frozen=True)
class TimeSeries:
    """The content of a file.

    Attributes:
      classes: names of the classes; their order numbers them.
      series: one array of shape (steps, channels) a case, float32; the steps may differ from case to case.
      labels: the number of the class of each case, int64.
    """

    classes: tuple[str, ...]
    series: tuple[np.ndarray, ...]
    labels: np.ndarray


def parse(text: str) -> TimeSeries:
    """Parses a file without time stamps.

    Args:
      text: lines of ``@`` and a property, then after ``@data`` a line a case: its channels, separated by colons, and
        its class.

    Raises:
      DataError: the file declares no classes, or a line is not of this form.
    """
    classes: tuple[str, ...] = ()
    numbers: dict[str, int] = {}
    series, labels = [], []
    rows = False
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if line.lower().startswith("@classlabel true"):
            classes = tuple(line.split()[2:])
            numbers = {name: each for each, name in enumerate(classes)}
        elif line.lower() == "@data":
            rows = True
        elif rows and line:
            *channels, label = line.split(":")
            try:
                series.append(np.array([channel.split(",") for channel in channels], np.float32).T)
                labels.append(numbers[label])
            except (ValueError, KeyError) as error:
                raise DataError(
                    f"line {number} of the .ts file is not a case ({type(error).__name__}: {error}): write channels of "
                    "equal length, separated by colons, and one of the classes "
                    f"{', '.join(classes) or '(none declared by @classLabel true)'}"
                ) from None
    return TimeSeries(classes, tuple(series), np.array(labels, np.int64))
