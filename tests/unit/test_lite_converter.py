"""What LiteConverter's child process does where it quantizes."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import tf_keras
import training_module

from tfx_edge.lite_converter.work import convert_model
from tfx_edge.models import saving


def sequence_model() -> tf_keras.Model:
    """Only TensorFlow's converter quantizes its LSTM."""
    inputs = tf_keras.Input((training_module.FEATURES,), name="x")
    x = tf_keras.layers.LSTM(48)(tf_keras.layers.Reshape((training_module.FEATURES, 1))(inputs))
    return tf_keras.Model(inputs, tf_keras.layers.Dense(training_module.KINDS, name="scores")(x))


@pytest.mark.parametrize(
    ("model", "backend"), [(training_module.network(64), "litert-quantizer"), (sequence_model(), "converter")]
)
def test_calibration_examples_are_audited_whatever_quantizes(model: Any, backend: str, tmp_path: Path) -> None:
    saving.save_stage(model, tmp_path / "trainer", [])
    request = training_module.request("LiteConverter", tmp_path, "lite", {"recipe": "int8"})
    request = dataclasses.replace(request, inputs={**request.inputs, "examples": ["of input_fn"]})
    lines: list[str] = []
    properties = convert_model(request, lines.append)
    served = tmp_path / "lite" / "Format-Serving"
    assert json.loads((served / "edge.json").read_text())["steps"][-1]["result"]["backend"] == backend
    figures = json.loads((served / "quantization.json").read_text())["audit"]["figures"]
    assert figures["examples"] == 96
    assert figures["eval_examples"] == 48
    assert properties["calibration_examples"] == 96
    assert any(line.startswith("calibrated on 96 examples, held against 48 of the eval split") for line in lines)


def test_without_calibration_there_is_nothing_to_audit(tmp_path: Path) -> None:
    saving.save_stage(training_module.network(64), tmp_path / "trainer", [])
    properties = convert_model(
        training_module.request("LiteConverter", tmp_path, "lite", {"recipe": "dynamic_int8"}), lambda line: None
    )
    assert "audit" not in json.loads((tmp_path / "lite" / "Format-Serving" / "quantization.json").read_text())
    assert not [name for name in properties if name.startswith("calibration")]
