"""Wheels of what no package index has in this version: built from source, or packed from what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path, PurePosixPath

from tfx_edge.errors import ConfigError, EdgeError
from tfx_edge.kubeflow.image.distributions import editable_folder

_OF_THE_INSTALLATION = {"INSTALLER", "REQUESTED", "direct_url.json", "uv_build.json", "uv_cache.json"}


def make(distribution: metadata.Distribution, folder: Path) -> None:
    """Makes the wheel of an installed distribution.

    An editable one is built from its source tree. Any other is packed from its installed files, so that the image holds
    what compiles, whichever file or repository that once came from.

    Raises:
      ConfigError: the source tree or an installed file is gone.
      EdgeError: it cannot be built.
    """
    tree = editable_folder(distribution)
    if tree:
        _build(tree, folder)
    else:
        _pack(distribution, folder)


def _build(tree: Path, folder: Path) -> None:
    if not tree.is_dir():
        raise ConfigError(f"{tree}, from which a package is installed as editable, is gone; install the package again")
    with tempfile.TemporaryDirectory() as scratch:
        # Setuptools' own place, build/ in the tree, may still hold modules that were deleted since.
        settings = Path(scratch, "setup.cfg")
        settings.write_text(f"[build]\nbuild_base = {scratch}/build\n")
        done = subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(tree)],
            env=os.environ | {"DIST_EXTRA_CONFIG": str(settings)},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise EdgeError(
            f"no wheel can be built of {tree}; 'pip wheel --no-deps {tree}' must work:\n{_tail(done.stderr)}"
        )


def _pack(distribution: metadata.Distribution, folder: Path) -> None:
    packed = [
        file
        for file in distribution.files or ()
        if ".." not in file.parts and file.suffix != ".pyc" and file.name not in _OF_THE_INSTALLATION
    ]
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / _wheel_name(distribution), "w", zipfile.ZIP_DEFLATED) as archive:
        for file in packed:
            place = Path(str(distribution.locate_file(file)))
            if not place.is_file():
                raise ConfigError(f"{place} of {distribution.metadata['Name']} is gone; install the package again")
            if file.name == "RECORD" and file.parent.name.endswith(".dist-info"):
                archive.writestr(str(file), _record(packed))
            else:
                archive.write(place, str(file))


def _wheel_name(distribution: metadata.Distribution) -> str:
    tags = [line[5:] for line in (distribution.read_text("WHEEL") or "").splitlines() if line.startswith("Tag: ")]
    parts = [tag.split("-") for tag in tags] or [["py3", "none", "any"]]
    tag = "-".join(".".join(dict.fromkeys(values)) for values in zip(*parts, strict=True))
    name = distribution.metadata["Name"].replace("-", "_").replace(".", "_")
    return f"{name}-{distribution.version}-{tag}.whl"


def _record(files: list[metadata.PackagePath]) -> str:
    rows = []
    for file in files:
        digest = f"{file.hash.mode}={file.hash.value}" if file.hash else ""
        rows.append(f"{PurePosixPath(file)},{digest},")
    return "\n".join(rows) + "\n"


def _tail(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-10:])
