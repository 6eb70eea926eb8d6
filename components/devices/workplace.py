"""A directory on a device in which the runner works, however files and commands get there."""

from __future__ import annotations

import abc
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import tfx_edge

# What the runner needs of this package; besides, it needs NumPy and ai_edge_litert.
MODULES = (
    "__init__.py",
    "errors.py",
    "devices/__init__.py",
    "devices/loaded_model.py",
    "devices/runner.py",
    "lite/__init__.py",
    "lite/tensors.py",
)


@dataclass(frozen=True)
class Ended:
    """How a process ended.

    Attributes:
      code: its exit code, or the negative number of the signal that killed it.
      said: the last of what it wrote to stderr.
    """

    code: int
    said: str


class Workplace(abc.ABC):
    """A fresh directory on a device, in which Python runs one request after another.

    Files lie in it for good or, with names that begin with ``in/``, for one request; what a process writes into
    ``out/`` is what it gives. Methods raise `TimeoutError` when they take too long and `DeviceError` when the device is
    lost.

    Attributes:
      holds: the names of the files that lie there for good.
    """

    def __init__(self) -> None:
        self.holds: set[str] = set()

    @property
    @abc.abstractmethod
    def alive(self) -> bool:
        """Whether the directory can still be reached."""

    @abc.abstractmethod
    def put(self, files: Mapping[str, Path], timeout_s: float) -> None:
        """Empties ``in/`` and ``out/`` and copies files there, by their names in the workplace."""

    @abc.abstractmethod
    def run(self, arguments: Sequence[str], results: Path, timeout_s: float) -> Ended:
        """Runs Python in the directory and copies the files of ``out/`` into the folder ``results``.

        The process is dead when this returns or raises, unless the device cannot be reached any more.
        """

    @abc.abstractmethod
    def close(self) -> None:
        """Ends what runs there and removes the directory; does nothing the second time."""


def write_runner(path: Path) -> None:
    """Writes the archive that `tfx_edge.devices.runner` runs from where this package is not installed."""
    package = Path(tfx_edge.__file__).parent
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__main__.py", (package / "devices/bootstrap.py").read_bytes())
        for name in MODULES:
            archive.writestr(f"tfx_edge/{name}", (package / name).read_bytes())
