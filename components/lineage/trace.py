"""Walks ML Metadata from a pushed file to the examples it was learnt from."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

from ml_metadata import errors as store_errors

from tfx_edge.errors import ConfigError, ModelError
from tfx_edge.lineage.record import Lineage
from tfx_edge.lineage.store import Artifact, Store, reference, value

ENVIRONMENT_VARIABLE = "TFX_EDGE_METADATA"
_NAMES = ("metadata.db", "metadata.sqlite")
_FOLDERS = (".", "metadata", "metadata/*", "tfx_metadata/*")


def find_metadata(given: Path | None, near: str | Path | None = None) -> Path:
    """Finds the SQLite file of ML Metadata.

    Args:
      given: the file as the caller named it; it wins over the environment variable ``TFX_EDGE_METADATA``.
      near: a file or folder whose ancestors are searched, nearest first, before the current folder and its ancestors.

    Raises:
      ConfigError: there is no such file, or more than one beside each other.
    """
    named = str(given) if given else os.environ.get(ENVIRONMENT_VARIABLE)
    if named:
        if Path(named).is_file():
            return Path(named)
        source = "--metadata" if given else ENVIRONMENT_VARIABLE
        raise ConfigError(f"{source} is {named!r}, which is no file; name the SQLite file of ML Metadata")
    starts = [Path(near).resolve()] if near and Path(near).exists() else []
    starts.append(Path.cwd())
    for folder in (folder for start in starts for folder in (start, *start.parents)):
        for pattern in _FOLDERS:
            found = sorted(path for name in _NAMES for path in folder.glob(f"{pattern}/{name}") if path.is_file())
            if len(found) > 1:
                names = ", ".join(map(str, found))
                raise ConfigError(f"several stores of ML Metadata are near: {names}; choose one with --metadata")
            if found:
                return found[0]
    searched = " or ".join(map(str, starts))
    raise ConfigError(
        f"no {' or '.join(_NAMES)} in or above {searched}; name the SQLite file of ML Metadata "
        f"with --metadata or {ENVIRONMENT_VARIABLE}"
    )


def trace(target: str, metadata: Path) -> Lineage:
    """Tells what a model was made of.

    Args:
      target: the path of a ``.tflite`` file or of the folder that was pushed, or a SHA-256 in hexadecimal digits: all
        64, or at least 8 that no other model begins with.
      metadata: the SQLite file of ML Metadata; it is only read.

    Raises:
      ConfigError: the store cannot be read.
      ModelError: the target is neither a file nor a SHA-256, or the store has no such model, or several.
    """
    file = _file(target)
    wanted = hashlib.sha256(file.read_bytes()).hexdigest() if file else target.lower()
    if not file and not re.fullmatch(r"[0-9a-f]{8,64}", wanted):
        raise ModelError(
            f"{target!r} is no .tflite file, no folder with one, and no SHA-256 (8 to 64 hexadecimal digits); "
            "check the path"
        )
    try:
        return _trace(Store(metadata), wanted, file, metadata)
    except (store_errors.StatusError, RuntimeError) as error:
        raise ConfigError(
            f"cannot read {str(metadata)!r} as a SQLite store of ML Metadata ({error}); "
            "name the file that the pipeline wrote with --metadata"
        ) from error


def _file(target: str) -> Path | None:
    path = Path(target)
    choices = (path, path / "tflite", path / "Format-Serving" / "tflite")
    return next((choice for choice in choices if choice.is_file()), None)


def _trace(store: Store, wanted: str, file: Path | None, metadata: Path) -> Lineage:
    models = [
        model for model in store.client.get_artifacts_by_type("Model") if value(model, "sha256", "").startswith(wanted)
    ]
    hashes = sorted({value(model, "sha256") for model in models})
    if not models:
        doubt = f" of {str(file)!r}: was it changed after the push, or" if file else ": are the digits wrong, or was it"
        raise ModelError(
            f"no model in {str(metadata)!r} has the SHA-256 {wanted}{doubt} made by another store? "
            "Name that one with --metadata"
        )
    if len(hashes) > 1:
        raise ModelError(f"{wanted!r} begins the SHA-256 of several models: {', '.join(hashes)}; give more digits")

    def preference(model: Artifact) -> tuple[bool, bool, int]:
        places = [Path(push.destination).resolve() for push in store.pushes(model.id)]
        return bool(file and file.resolve().parent in places), bool(places), model.id

    model = max(models, key=preference)
    steps, examples = store.ancestry(model.id)
    return Lineage(
        sha256=hashes[0],
        file=str(file) if file else None,
        model=reference(model),
        pushed=tuple(store.pushes(model.id)),
        verdicts=tuple(store.verdicts(model.id)),
        steps=steps,
        examples=examples,
    )
