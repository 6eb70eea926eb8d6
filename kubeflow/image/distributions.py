"""The installed distributions that an image must hold, at the versions of the environment that compiles."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

OWN = "tfx-edge[kubeflow]"


@dataclass
class Closure:
    """Distributions with all that they need.

    Attributes:
      pinned: those that a package index has, as exact requirements.
      local: those that were installed from a folder, a file or a repository, and this package itself.
      missing: what is required and not installed, each with who requires it.
    """

    pinned: list[str] = field(default_factory=list)
    local: list[metadata.Distribution] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def closure(requirements: Iterable[str]) -> Closure:
    """What the requirements stand for in this environment: themselves, and what those require.

    Args:
      requirements: such as ``tfx-edge[kubeflow]``.
    """
    found: dict[str, metadata.Distribution] = {}
    missing: dict[str, str] = {}
    waiting: list[tuple[str, Requirement, str]] = [("the pipeline", Requirement(text), "") for text in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        requiring, requirement, extra = waiting.pop()
        if requirement.marker and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        distribution = installed(name)
        if distribution is None:
            missing[name] = f"{name}, which {requiring} requires"
            continue
        found[name] = distribution
        for wanted in {"", *requirement.extras} - {known for owner, known in seen if owner == name}:
            seen.add((name, wanted))
            waiting += [(name, Requirement(text), wanted) for text in distribution.requires or ()]
    own = canonicalize_name(Requirement(OWN).name)
    result = Closure(missing=sorted(missing.values()))
    for known, distribution in sorted(found.items()):
        if known == own or source(distribution):
            result.local.append(distribution)
        else:
            result.pinned.append(f"{known}=={distribution.version}")
    return result


@functools.cache
def installed(name: str) -> metadata.Distribution | None:
    """An installed distribution; not the ``.egg-info`` of a source tree that Python happens to be started in."""
    found = list(metadata.distributions(name=name))
    return next((one for one in found if one.read_text("RECORD")), found[0] if found else None)


def source(distribution: metadata.Distribution) -> str:
    """The url that a distribution was installed from; empty if that was a package index."""
    return json.loads(distribution.read_text("direct_url.json") or "{}").get("url", "")


def editable_folder(distribution: metadata.Distribution) -> Path | None:
    """The source tree of an editable installation."""
    origin = json.loads(distribution.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlsplit(origin["url"]).path))
