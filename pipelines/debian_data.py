"""Data sets that Debian packages ship: read where they are installed, or else unpacked without installing them."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tfx_edge.errors import DataError
from tfx_edge.pipelines.package_data import REMEDY, data_root


@dataclass(frozen=True)
class DebianPackage:
    """A package that ships data.

    Attributes:
      name: of the package.
      folder: where its files lie, relative to the root of the file system.
      root: that root.
    """

    name: str
    folder: Path
    root: Path = Path("/")

    def fetch(self) -> None:
        """Downloads and unpacks the package below the data's root, unless it is there or installed.

        Raises:
          DataError: apt cannot get it.
        """
        if self._directory():
            return
        data_root().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=data_root()) as scratch:
            problem = self._download(Path(scratch))
            if problem and os.geteuid() == 0:  # a fresh container has no lists of packages
                _call(["apt-get", "update"], scratch)
                problem = self._download(Path(scratch))
            if problem:
                raise DataError(
                    f"apt-get cannot download {self.name} ({problem}): run `apt-get update` as root and try again, or "
                    f"put the package's files into {self._unpacked}"
                )
            unpacked = Path(scratch, "root")
            _call(["dpkg-deb", "--extract", *map(str, Path(scratch).glob("*.deb")), str(unpacked)], scratch)
            shutil.move(unpacked / self.folder, self._unpacked)

    def read(self, file: str) -> bytes:
        """The content of a file in its folder.

        Raises:
          DataError: the package is neither installed nor unpacked, or has no such file.
        """
        directory = self._directory()
        if not directory:
            raise DataError(f"Debian's package {self.name} is neither installed nor in {self._unpacked}: {REMEDY}")
        try:
            return (directory / file).read_bytes()
        except OSError as error:
            raise DataError(f"{directory / file} cannot be read ({error.strerror}); {REMEDY}") from error

    @property
    def _unpacked(self) -> Path:
        return data_root() / self.name

    def _directory(self) -> Path | None:
        return next((each for each in (self.root / self.folder, self._unpacked) if each.is_dir()), None)

    def _download(self, directory: Path) -> str | None:
        """Why it failed, or None."""
        said = _call(["apt-get", "download", self.name], directory)
        return None if any(directory.glob("*.deb")) else said or "nothing was downloaded"


def _call(command: list[str], directory: str | Path) -> str:
    """What the command complained about."""
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]} cannot be run: {error.strerror}"
    return done.stderr.strip() if done.returncode else ""
