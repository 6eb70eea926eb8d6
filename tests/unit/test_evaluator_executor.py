"""EdgeEvaluator's executor writes a verdict whatever happens in its child process."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path
from typing import Any

import lite_models
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx.types import standard_artifacts

from tfx_edge import EdgeReport
from tfx_edge.edge_evaluator.executor import Executor
from tfx_edge.edge_evaluator.work import in_time

DIMENSIONS = " ".join(f"dim {{ size: {size} }}" for size in lite_models.IMAGE_SHAPE[1:])
SCHEMA = f"""
feature {{ name: "image" type: FLOAT presence {{ min_fraction: 1 min_count: 1 }} shape {{ {DIMENSIONS} }} }}
feature {{ name: "label" type: INT presence {{ min_fraction: 1 min_count: 1 }} shape {{ dim {{ size: 1 }} }} }}
"""


def artifact(kind: Any, uri: Path) -> Any:
    made = kind()
    made.uri = str(uri)
    return made


def evaluate(folder: Path, config: dict[str, Any], inputs: dict[str, Any] | None = None, **properties: Any) -> Any:
    """Runs the executor; returns its outputs by key."""
    kinds = {
        "blessing": standard_artifacts.ModelBlessing,
        "infra_blessing": standard_artifacts.InfraBlessing,
        "report": EdgeReport,
    }
    outputs = {key: [artifact(kind, folder / key)] for key, kind in kinds.items()}
    inputs = {"model": [artifact(standard_artifacts.Model, folder / "model")], **(inputs or {})}
    Executor().Do(inputs, outputs, {"config": json.dumps(config), **properties})
    return {key: made for key, (made,) in outputs.items()}


def assert_not_blessed(folder: Path, outputs: Any, told: str, interrupted: bool = True) -> None:
    """TFX's cache gives a verdict again while all of its folders are there."""
    assert [path.name for path in (folder / "blessing").iterdir()] == ["NOT_BLESSED"]
    infra = [path.name for path in folder.glob("infra_blessing/*")]
    assert infra == ([] if interrupted else ["INFRA_NOT_BLESSED"])
    assert (folder / "infra_blessing").exists() != interrupted
    for made in outputs.values():
        assert made.get_int_custom_property("blessed") == 0
        assert told in made.get_string_custom_property("reason")
    assert outputs["blessing"].get_string_custom_property("current_model") == str(folder / "model")


def lite_stage(uri: Path, content: bytes) -> None:
    folder = uri / "Format-Serving"
    folder.mkdir(parents=True)
    path = lite_models.write(folder, content)
    document = {"sha256": hashlib.sha256(content).hexdigest(), "steps": []}
    path.with_name("edge.json").write_text(json.dumps(document))


@pytest.mark.parametrize(
    "config", [{"thresholds": {"accuracy": {"min": 0.9}}}, {"thresholds": {}}], ids=["no .tflite", "bad configuration"]
)
def test_what_cannot_be_judged_is_not_blessed_with_the_reason(tmp_path: Path, config: dict[str, Any]) -> None:
    assert_not_blessed(tmp_path, evaluate(tmp_path, config), "could not be evaluated", interrupted=False)


@pytest.mark.parametrize("key", ["model", "baseline_model"])
def test_one_of_two_models_cannot_be_blessed(tmp_path: Path, key: str) -> None:
    models = [artifact(standard_artifacts.Model, tmp_path / name) for name in ("model", "other")]
    for model in models:
        lite_stage(Path(model.uri), lite_models.int8())
    outputs = evaluate(tmp_path, {"thresholds": {"size_bytes": {"max": 1e9}}}, {"model": models[:1], key: models})
    assert_not_blessed(tmp_path, outputs, f"{key} holds 2 models ({models[0].uri}, {models[1].uri})")


@pytest.fixture
def examples(tmp_path: Path) -> dict[str, Any]:
    """Forty examples of the image models, with a schema."""
    schema = text_format.Parse(SCHEMA, schema_pb2.Schema())
    (tmp_path / "schema").mkdir()
    (tmp_path / "schema" / "schema.pbtxt").write_text(text_format.MessageToString(schema))
    for split in ("train", "eval"):
        folder = tmp_path / "examples" / f"Split-{split}"
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "data.gz"), "GZIP") as writer:
            for number, image in enumerate(lite_models.images(40)):
                features = {
                    "image": tf.train.Feature(float_list=tf.train.FloatList(value=image["image"].ravel())),
                    "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[number % 4])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    made = artifact(standard_artifacts.Examples, tmp_path / "examples")
    made.split_names = '["train", "eval"]'
    return {"examples": [made], "schema": [artifact(standard_artifacts.Schema, tmp_path / "schema")]}


def test_a_process_that_is_killed_is_not_blessed(tmp_path: Path, examples: dict[str, Any]) -> None:
    lite_stage(tmp_path / "model", lite_models.int8())
    module = tmp_path / "module.py"
    module.write_text(
        "import os, signal\n"
        "def metric_fns(fn_args):\n"
        "    return {'deadly': {'function': lambda labels, outputs: os.kill(os.getpid(), signal.SIGKILL),"
        " 'better': 'higher'}}\n"
    )
    config = {"thresholds": {"deadly": {"min": 0.5}}, "own_metrics": ["deadly"]}
    outputs = evaluate(tmp_path, config, examples, label_key="label", module_file=str(module))
    assert_not_blessed(tmp_path, outputs, "was killed by SIGKILL")


@pytest.mark.parametrize("name", ["report.json.part", "report.html"])
def test_a_report_that_cannot_be_written_is_not_blessed(tmp_path: Path, name: str) -> None:
    lite_stage(tmp_path / "model", lite_models.int8())
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / name).symlink_to("/dev/full")
    outputs = evaluate(tmp_path, {"thresholds": {"size_bytes": {"max": 1_000_000}}})
    assert_not_blessed(tmp_path, outputs, "No space left on device")
    assert not (tmp_path / "report").exists()


def test_a_second_attempt_leaves_one_verdict(tmp_path: Path) -> None:
    for key in ("blessing", "infra_blessing"):
        (tmp_path / key).mkdir()
        (tmp_path / key / {"blessing": "BLESSED", "infra_blessing": "INFRA_BLESSED"}[key]).touch()
    lite_stage(tmp_path / "model", lite_models.int8())
    outputs = evaluate(tmp_path, {"thresholds": {"size_bytes": {"max": 5}}})
    assert_not_blessed(tmp_path, outputs, "above the maximum", interrupted=False)


def test_a_target_that_is_down_takes_nothing_from_a_blessing(tmp_path: Path) -> None:
    """Pusher may be given the infra blessing, too."""
    lite_stage(tmp_path / "model", lite_models.int8())
    board = {"kind": "ssh", "host": "nobody@127.0.0.1", "port": 9, "connect_timeout_s": 5}
    here = {"kind": "local", "runs": 20, "warmup": 2}
    config = {"thresholds": {"size_bytes": {"max": 1e9}}, "targets": {"here": here, "board": board}, "policy": "any"}
    evaluate(tmp_path, config)
    assert json.loads((tmp_path / "report/report.json").read_text())["verdict"]["interrupted"]
    assert [path.name for path in (tmp_path / "infra_blessing").iterdir()] == ["INFRA_BLESSED"]


def test_inputs_that_nobody_foresaw_are_not_blessed(tmp_path: Path) -> None:
    examples = artifact(standard_artifacts.Examples, tmp_path / "examples")
    examples.split_names = "no JSON"
    outputs = evaluate(tmp_path, {"thresholds": {"size_bytes": {"max": 5}}}, {"examples": [examples]})
    assert_not_blessed(tmp_path, outputs, "could not be evaluated")


def test_a_good_model_is_blessed_with_figures_a_report_and_a_page(tmp_path: Path, examples: dict[str, Any]) -> None:
    lite_stage(tmp_path / "model", lite_models.int8())
    config = {"thresholds": {"size_bytes": {"max": 1_000_000}}, "metrics": ["accuracy"]}
    outputs = evaluate(tmp_path, config, examples, label_key="label")
    report = outputs["report"]
    assert report.get_int_custom_property("blessed") == 1, report.get_string_custom_property("reason")
    assert [path.name for path in (tmp_path / "blessing").iterdir()] == ["BLESSED"]
    size, p50 = report.get_float_custom_property("size_bytes"), report.get_float_custom_property("latency_p50_ms")
    assert size == len(lite_models.int8())
    assert report.get_float_custom_property("latency_p50_ms_low") <= p50
    assert report.get_float_custom_property("accuracy_low") <= report.get_float_custom_property("accuracy")
    assert json.loads((tmp_path / "report" / "report.json").read_text())["verdict"]["blessed"]
    assert "<html" in (tmp_path / "report" / "report.html").read_text()


def test_the_time_limit_of_a_batch_ends_with_the_wish_for_more() -> None:
    batches = in_time(iter([({}, np.zeros(1))] * 3), 60)
    next(batches)
    assert 0 < signal.getitimer(signal.ITIMER_REAL)[0] <= 60
    batches.close()
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
