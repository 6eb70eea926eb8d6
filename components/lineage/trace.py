"""Walks ML Metadata from a pushed file to the examples it was learnt from."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from tfx_edge.errors import ModelError
from tfx_edge.lineage.connection import Place
from tfx_edge.lineage.opening import explained
from tfx_edge.lineage.reads import Artifact
from tfx_edge.lineage.record import Lineage
from tfx_edge.lineage.store import Store, destination, reference
from tfx_edge.lineage.words import value


def trace(target: str, metadata: Place) -> Lineage:
    """Tells what a model was made of.

    Args:
      target: the path of a ``.tflite`` file or of the folder that was pushed, or a SHA-256 in hexadecimal digits: all
        64, or at least 8 that no other model begins with.
      metadata: the store: a SQLite file, or a server's URL; it is only read.

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
    with explained(metadata):
        return _trace(Store(metadata), wanted, file, metadata)


def _file(target: str) -> Path | None:
    path = Path(target)
    choices = (path, path / "tflite", path / "Format-Serving" / "tflite")
    return next((choice for choice in choices if choice.is_file()), None)


def _trace(store: Store, wanted: str, file: Path | None, metadata: Place) -> Lineage:
    models = [model for model in store.artifacts_of_kind("Model") if value(model, "sha256", "").startswith(wanted)]
    hashes = sorted({value(model, "sha256") for model in models})
    if not models:
        doubt = f" of {str(file)!r}: was it changed after the push, or" if file else ": are the digits wrong, or was it"
        raise ModelError(
            f"no model in {str(metadata)!r} has the SHA-256 {wanted}{doubt} made by another store? "
            "Name that one with --metadata"
        )
    if len(hashes) > 1:
        raise ModelError(f"{wanted!r} begins the SHA-256 of several models: {', '.join(hashes)}; give more digits")

    pushed = store.pushed(models)

    def preference(model: Artifact) -> tuple[bool, bool, int]:
        places = [Path(destination(artifact)).resolve() for artifact, _ in pushed[model.id]]
        return bool(file and file.resolve().parent in places), bool(places), model.id

    model = max(models, key=preference)
    steps, examples = store.ancestry(model)
    return Lineage(
        sha256=hashes[0],
        file=str(file) if file else None,
        model=reference(model),
        pushed=tuple(store.push(*each) for each in pushed[model.id]),
        verdicts=tuple(store.verdicts(model)),
        steps=steps,
        examples=examples,
    )
