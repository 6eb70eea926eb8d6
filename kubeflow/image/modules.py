"""The modules of a pipeline's author that its tasks import: found from what the compiled pipeline names."""

from __future__ import annotations

import ast
import filecmp
import functools
import itertools
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import metadata
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tfx_edge.errors import ConfigError
from tfx_edge.kubeflow.compiler import Compiled
from tfx_edge.kubeflow.image.distributions import editable_folder


@dataclass
class Modules:
    """What tasks import beside this package.

    Attributes:
      local: by top-level name, the file or the package's folder.
      distributions: names of the installed distributions that those, and the pipeline, import.
    """

    local: dict[str, Path] = field(default_factory=dict)
    distributions: set[str] = field(default_factory=set)


def find(compiled: Compiled) -> Modules:
    """Finds modules that are on this machine's path without being installed, and all that they import.

    Module files, executors' classes, and parameters such as ``module_path`` and ``run_fn`` name the first ones. Imports
    are read from the source; a module that is only imported by a computed name is not found.

    Raises:
      ConfigError: two different modules have one name, or one cannot be read.
    """
    modules = Modules()
    waiting: list[tuple[str, Path | None]] = [(file.stem, file.parent) for file in compiled.modules]
    waiting += [(name.split(".")[0], None) for name in _named(compiled.spec)]
    while waiting:
        name, folder = waiting.pop()
        place = _place(name, folder)
        if place is None or name in sys.stdlib_module_names or place == modules.local.get(name):
            continue
        owners = _owners(name, place)
        if owners:
            modules.distributions |= owners
        elif _standard(place):
            continue
        elif name in modules.local:
            if not _same(place, modules.local[name]):
                raise ConfigError(f"{place} and {modules.local[name]} are both module {name!r} in an image; rename one")
        else:
            modules.local[name] = place
            beside = place.parent
            waiting += [(imported, beside) for file in _sources(place) for imported in _imports(file)]
    return modules


def _named(spec: dict[str, Any]) -> Iterator[str]:
    """Dotted names that tasks import."""
    for executor in spec["deploymentSpec"]["executors"].values():
        arguments = executor.get("container", {}).get("args", [])
        yield from (value for key, value in itertools.pairwise(arguments) if key.endswith("_class_path"))
    for task in spec["root"]["dag"]["tasks"].values():
        for name, source in task.get("inputs", {}).get("parameters", {}).items():
            value = source.get("runtimeValue", {}).get("constant")
            if isinstance(value, str) and (name == "module_path" or name.endswith("_fn")):
                yield value.split("@")[0]


def _place(name: str, folder: Path | None) -> Path | None:
    """The file of a module or the folder of a package, as Python would find it."""
    spec = PathFinder.find_spec(name, [*([str(folder)] if folder else []), *sys.path]) or find_spec(name)
    if spec is None:
        return None
    if spec.submodule_search_locations is not None:
        return Path(next(iter(spec.submodule_search_locations))).resolve()
    return Path(spec.origin).resolve() if spec.origin else None


def _owners(name: str, place: Path) -> set[str]:
    """The installed distributions that a module belongs to; several if it is a namespace."""
    found = set(_installed_places().get(place, ()))
    for distribution in metadata.distributions():
        tree = editable_folder(distribution)
        # An editable installation tells its modules, or has one of its own name; its tree may hold others too.
        tops = (distribution.read_text("top_level.txt") or distribution.metadata["Name"].replace("-", "_")).split()
        if tree and place.is_relative_to(tree.resolve()) and name in tops:
            found.add(distribution.metadata["Name"])
    return found


@functools.cache
def _installed_places() -> dict[Path, set[str]]:
    """Names of distributions by each file and folder that they have at the top."""
    found: dict[Path, set[str]] = {}
    for distribution in metadata.distributions():
        home = Path(str(distribution.locate_file(""))).resolve()
        record = (distribution.read_text("RECORD") or "").splitlines()
        for top in {line.split(",")[0].split("/")[0] for line in record}:
            found.setdefault(home / top, set()).add(distribution.metadata["Name"])
    return found


def _standard(place: Path) -> bool:
    """Whether Python itself brings a module that `sys.stdlib_module_names` does not tell, such as ``test``."""
    return any(place.is_relative_to(Path(sysconfig.get_path(key)).resolve()) for key in ("stdlib", "platstdlib"))


def _sources(place: Path) -> list[Path]:
    return sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _imports(file: Path) -> set[str]:
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except (OSError, SyntaxError, ValueError) as error:
        raise ConfigError(f"cannot read the module {file} ({error})") from error
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def _same(one: Path, other: Path) -> bool:
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)
