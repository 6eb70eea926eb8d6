"""An emulated arm64 userland, to see whether a model gives the same outputs on ARM as it does here.

QEMU's user mode runs the ARM build of Python, NumPy and the interpreter from a folder (``tools/arm64-root`` makes one).
Every instruction is computed as on the processor, but 150 to 300 times slower and with other proportions: a time
measured here would say nothing about any board, so none can be.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from tfx_edge.devices.remote import Remote
from tfx_edge.devices.workplace import Ended, Workplace
from tfx_edge.errors import ConfigError, DeviceError

EMULATOR = "qemu-aarch64-static"


class Qemu(Remote):
    """An arm64 Linux userland in a folder, run by QEMU on this machine.

    Attributes:
      OFFERS: outputs, and neither time nor memory.
    """

    OFFERS: ClassVar[frozenset[str]] = frozenset({"infer"})

    def __init__(self, root: str, *, cpu: str = "cortex-a72"):
        """Does not look into the root yet.

        Args:
          root: the folder that ``tools/arm64-root`` made.
          cpu: the processor to emulate, one that ``qemu-aarch64-static -cpu help`` lists.

        Raises:
          ConfigError: an argument can never work.
        """
        if not root or not cpu:
            raise ConfigError(f"a qemu target needs a root and a cpu, but they are {root!r} and {cpu!r}")
        self._root = Path(root).expanduser().absolute()
        self._cpu = cpu
        super().__init__(f"the emulated arm64 ({cpu})")

    def fingerprint(self) -> str:
        """The root and the processor; nothing in it is measured."""
        return f"qemu {self._cpu}, {self._root}"

    def _open(self) -> Workplace:
        emulator = shutil.which(EMULATOR)
        if not emulator:
            raise DeviceError(f"there is no {EMULATOR} on this machine; install qemu-user-static")
        python = self._root / "usr/bin/python3"
        if not python.exists():
            raise DeviceError(f"there is no arm64 root at {self._root}; make one with: tools/arm64-root {self._root}")
        if not (self._root / "proc/cpuinfo").exists():
            raise DeviceError(f"{self._root} has no proc/cpuinfo of an ARM; make it anew with tools/arm64-root")
        # -I: this process's PYTHON* variables and packages are of another architecture.
        return _Folder([emulator, "-cpu", self._cpu, "-L", str(self._root), str(python), "-I"], self._name)


class _Folder(Workplace):
    """A fresh folder of this machine, and a command that runs some Python in it."""

    def __init__(self, python: Sequence[str], name: str):
        super().__init__()
        self._python = python
        self._name = name
        self._folder = tempfile.TemporaryDirectory(prefix="tfx-edge-")
        self._path = Path(self._folder.name)

    @property
    def alive(self) -> bool:
        """Whether the folder is there."""
        return self._path.is_dir()

    def put(self, files: Mapping[str, Path], timeout_s: float) -> None:
        """Copies files into the folder."""
        try:
            for name in ("in", "out"):
                shutil.rmtree(self._path / name, ignore_errors=True)
                (self._path / name).mkdir()
            for name, path in files.items():
                shutil.copyfile(path, self._path / name)
        except OSError as error:
            raise DeviceError(f"cannot put files into {self._path} for {self._name}: {error}") from error

    def run(self, arguments: Sequence[str], results: Path, timeout_s: float) -> Ended:
        """Runs Python in the folder."""
        try:
            child = subprocess.run(
                [*self._python, *arguments],
                cwd=self._path,
                env={"LC_ALL": "C.UTF-8", "PATH": "/usr/bin:/bin"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise TimeoutError from None
        for path in (self._path / "out").iterdir():
            shutil.move(path, results)
        return Ended(child.returncode, child.stderr.strip()[-1000:])

    def close(self) -> None:
        """Removes the folder."""
        self._folder.cleanup()
