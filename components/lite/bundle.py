"""Writes a lite stage: the ``.tflite`` and ``edge.json``, which says what it is and where it came from."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tfx_edge.lite import inspect as inspection
from tfx_edge.models import layout

SCHEMA_VERSION = 1


def write_bundle(
    model_uri: str | Path,
    content: bytes,
    steps: list[dict[str, Any]],
    parent_uri: str,
    parent_sha256: str | None,
    documents: Mapping[str, Any] | None = None,
) -> inspection.LiteModel:
    """Writes ``Format-Serving/tflite`` and ``Format-Serving/edge.json``.

    Args:
      model_uri: the Model artifact's uri.
      content: the TFLite flatbuffer.
      steps: every step from Trainer's model on, oldest first, this one included.
      parent_uri: the Model artifact that this one was made of.
      parent_sha256: the digest of its model file, where it has one.
      documents: what else is written beside them: JSON values by the name of the file.

    Returns:
      What the written file holds.
    """
    path = layout.lite_file(model_uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    model = inspection.inspect(path)
    described = model.to_dict()
    document = {
        "schema_version": SCHEMA_VERSION,
        "sha256": model.sha256,
        "size_bytes": model.size_bytes,
        "gzip_bytes": model.gzip_bytes,
        "precision": model.precision,
        "inputs": described["inputs"],
        "outputs": described["outputs"],
        "recipe": steps[-1],
        "steps": steps,
        "parent_uri": parent_uri,
        "parent_sha256": parent_sha256,
        "versions": versions(),
    }
    for name, value in {**(documents or {}), "edge.json": document}.items():
        path.with_name(name).write_text(json.dumps(value, indent=2, sort_keys=True))
    return model


def versions() -> dict[str, str]:
    """Versions of the packages that decide what a model becomes."""
    names = (
        "tfx-edge",
        "tensorflow",
        "keras",
        "tf-keras",
        "tensorflow-model-optimization",
        "ai-edge-litert",
        "litert-quantizer",
    )
    return {name: importlib.metadata.version(name) for name in names}


def properties(model: inspection.LiteModel, recipe: str, parent_sha256: str | None) -> dict[str, Any]:
    """What people query about a lite stage, for the artifact's custom properties."""
    return {
        "sha256": model.sha256,
        "size_bytes": model.size_bytes,
        "gzip_bytes": model.gzip_bytes,
        "precision": model.precision,
        "recipe": recipe,
        "parent_sha256": parent_sha256,
    }
