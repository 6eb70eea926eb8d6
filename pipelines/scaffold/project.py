"""Makes the folder of a new project: all of it, or nothing."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
import shutil
import string
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tfx_edge.errors import ConfigError
from tfx_edge.pipelines.scaffold.data import wine_csv

TEMPLATE = Path(__file__).parent / "template"

_NAME = re.compile(r"[a-z][a-z0-9-]{0,62}")
_RENAMED = {"gitignore": ".gitignore"}  # git would heed it in this package, too


def create(folder: Path, name: str | None = None) -> str:
    """Makes a project.

    Args:
      folder: is new, or empty.
      name: the pipeline's; after the folder without one.

    Returns:
      The pipeline's name.

    Raises:
      ConfigError: the folder cannot be used, or the name is none that every orchestrator takes.
    """
    target = folder.resolve()
    name = _checked(name, target)
    files = {**_rendered(name), Path("data", "wine.csv"): wine_csv()}
    try:
        _check_free(folder, target)
        with _filling(target) as staging:
            for path, text in files.items():
                (staging / path).parent.mkdir(parents=True, exist_ok=True)
                (staging / path).write_text(text)
    except OSError as error:
        raise ConfigError(
            f"cannot write into {str(folder)!r} ({error.strerror}); name a folder that can be written"
        ) from error
    return name


def _checked(name: str | None, target: Path) -> str:
    wanted = re.sub(r"[\s._-]+", "-", target.name.lower()).strip("-") if name is None else name
    if _NAME.fullmatch(wanted):
        return wanted
    given = f"the folder is called {target.name!r}, which gives" if name is None else "--name is"
    raise ConfigError(
        f"{given} {wanted!r}, but orchestrators take 1 to 63 small letters, digits and dashes, a letter first; "
        "give such a --name"
    )


def _check_free(folder: Path, target: Path) -> None:
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        found = "holds something" if target.is_dir() else "is a file"
        raise ConfigError(f"FOLDER is {str(folder)!r}, which {found}; name a new folder, or an empty one")
    if not target.parent.is_dir():
        raise ConfigError(f"FOLDER is {str(folder)!r}, but {str(target.parent)!r} is no folder; make that one first")


def _rendered(name: str) -> dict[Path, str]:
    """The template's files by their place in the project."""
    values = {"name": name, "version": importlib.metadata.version("tfx-edge")}
    files = sorted(path for path in TEMPLATE.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {
        path.relative_to(TEMPLATE).with_name(_RENAMED.get(path.name, path.name)): string.Template(
            path.read_text()
        ).substitute(values)
        for path in files
    }


@contextlib.contextmanager
def _filling(target: Path) -> Iterator[Path]:
    """A folder beside or in the target whose contents become the target's, unless something fails."""
    exists = target.exists()
    staging = Path(tempfile.mkdtemp(prefix=".tfx-edge-init-", dir=target if exists else target.parent))
    try:
        inside = staging / target.name
        inside.mkdir()  # with the user's permissions, unlike the temporary folder
        yield inside
        if exists:
            for path in inside.iterdir():
                path.rename(target / path.name)
        else:
            inside.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
