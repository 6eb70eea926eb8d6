"""Where the parts of a Model artifact lie.

Trainable stage: ``Format-Serving/`` is a SavedModel whose signature takes tensors, and ``Format-Keras/model.keras`` is
the model that the next stage trains on; after quantization-aware training there is none, since such a model can only be
converted. Lite stage: ``Format-Serving/tflite`` and ``Format-Serving/edge.json``. Pusher
copies ``Format-Serving/`` as a whole.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tfx_edge.errors import ModelError


def serving_dir(model_uri: str | Path) -> Path:
    """The folder that Pusher copies."""
    return Path(model_uri) / "Format-Serving"


def keras_file(model_uri: str | Path) -> Path:
    """The trainable model of a trainable stage."""
    return Path(model_uri) / "Format-Keras" / "model.keras"


def lite_file(model_uri: str | Path) -> Path:
    """The TFLite flatbuffer of a lite stage."""
    return serving_dir(model_uri) / "tflite"


def edge_json(model_uri: str | Path) -> Path:
    """What describes the model of a lite stage."""
    return serving_dir(model_uri) / "edge.json"


def steps_json(model_uri: str | Path) -> Path:
    """The steps that made the model of a trainable stage."""
    return keras_file(model_uri).with_name("steps.json")


def require_lite_file(model_uri: str | Path) -> Path:
    """The TFLite flatbuffer, which must exist.

    Raises:
      ModelError: the artifact is not at the lite stage.
    """
    path = lite_file(model_uri)
    if not path.is_file():
        raise ModelError(
            f"{model_uri} holds no Format-Serving/tflite: it is not at the lite stage. Put a LiteConverter "
            f"before this component"
        )
    return path


def model_bytes(model_uri: str | Path) -> int:
    """Bytes of a trainable stage's ``model.keras``, or of all files of its SavedModel where there is none."""
    path = keras_file(model_uri)
    files = [path] if path.is_file() else [file for file in serving_dir(model_uri).rglob("*") if file.is_file()]
    return sum(file.stat().st_size for file in files)


def write_steps(model_uri: str | Path, steps: list[dict[str, Any]]) -> None:
    """Keeps the steps that made a trainable model (oldest first) beside it."""
    path = steps_json(model_uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(steps, indent=2, sort_keys=True))


def read_steps(model_uri: str | Path) -> list[dict[str, Any]]:
    """The steps that made a model, oldest first; empty for a model that comes straight from a Trainer."""
    path = edge_json(model_uri)
    if path.is_file():
        return list(json.loads(path.read_text())["steps"])
    path = steps_json(model_uri)
    return list(json.loads(path.read_text())) if path.is_file() else []
