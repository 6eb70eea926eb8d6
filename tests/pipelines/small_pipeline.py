"""A pipeline of a minute's worth at most, for what the orchestrator and its store do rather than the components."""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

NAME = "small"
SHAPE = (8, 8, 1)
BEAM: list[Any] = ["--runner=apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"]
SCHEMA = """
feature { name: "image" type: FLOAT presence { min_fraction: 1 } shape { dim { size: 8 } dim { size: 8 } dim { size: 1 } } }
feature { name: "label" type: INT presence { min_fraction: 1 } shape { dim { size: 1 } } }
"""  # noqa: E501
CONFIG = {"thresholds": {"size_bytes": {"max": 1_000_000}, "accuracy": {"min": 0.01}}, "time_budget_s": 1}


def write_inputs(root: Path) -> None:
    """Examples, their schema, and a small float model that nobody trained."""
    import tensorflow as tf

    rng = np.random.default_rng(7)
    for split, count in (("train", 20), ("eval", 40)):
        folder = root / "data" / split
        folder.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(folder / "digits.tfrecord")) as writer:
            for number in range(count):
                example = tf.train.Example()
                example.features.feature["image"].float_list.value.extend(rng.random(64))
                example.features.feature["label"].int64_list.value.append(number % 4)
                writer.write(example.SerializeToString())
    (root / "schema").mkdir()
    (root / "schema" / "schema.pbtxt").write_text(SCHEMA)
    folder = root / "float" / "Format-Serving"
    folder.mkdir(parents=True)
    content = _model(tf)
    (folder / "tflite").write_bytes(content)
    (folder / "edge.json").write_text(json.dumps({"sha256": hashlib.sha256(content).hexdigest(), "steps": []}))


def create(inputs: Path, connection: Any, root: Path | None = None) -> Any:
    """ImportExampleGen and an imported float model, Quantizer, EdgeEvaluator and Pusher.

    Args:
      inputs: the folder of `write_inputs`.
      connection: ``metadata_connection_config``.
      root: takes the artifacts and what is pushed; the same folder, when it is not given.
    """
    from tfx.components import ImportExampleGen, Pusher
    from tfx.dsl.components.common.importer import Importer
    from tfx.orchestration.pipeline import Pipeline
    from tfx.proto import example_gen_pb2, pusher_pb2
    from tfx.types import standard_artifacts

    from tfx_edge import EdgeEvaluator, Quantizer

    root = root or inputs

    def imported(name: str, kind: Any) -> Any:
        return Importer(source_uri=str(inputs / name), artifact_type=kind).with_id(f"import.{name}")

    splits = [example_gen_pb2.Input.Split(name=name, pattern=f"{name}/*") for name in ("train", "eval")]
    examples = ImportExampleGen(input_base=str(inputs / "data"), input_config=example_gen_pb2.Input(splits=splits))
    schema = imported("schema", standard_artifacts.Schema)
    data = {
        "examples": examples.outputs["examples"],
        "schema": schema.outputs["result"],
        "label_key": "label",
    }
    model = imported("float", standard_artifacts.Model)
    quantizer = Quantizer(model=model.outputs["result"], config={"recipe": "int8"}, **data)
    small = quantizer.outputs["edge_model"]
    evaluator = EdgeEvaluator(model=small, config=CONFIG, **data)
    filesystem = pusher_pb2.PushDestination.Filesystem(base_directory=str(root / "pushed"))
    pusher = Pusher(
        model=small,
        model_blessing=evaluator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(filesystem=filesystem),
    )
    return Pipeline(
        pipeline_name=NAME,
        pipeline_root=str(root / "artifacts"),
        metadata_connection_config=connection,
        components=[examples, schema, model, quantizer, evaluator, pusher],
        enable_cache=True,
        beam_pipeline_args=BEAM,
    )


def run(pipeline: Any) -> None:
    from tfx.orchestration.local.local_dag_runner import LocalDagRunner

    # TFX reads absl's flags from the command line, where pytest's -v would be taken for absl's --verbosity.
    with mock.patch.object(sys, "argv", sys.argv[:1]):
        LocalDagRunner().run(pipeline)


def pushed(root: Path) -> list[Path]:
    return sorted((root / "pushed").glob("*/tflite"))


def _model(tf: Any) -> bytes:
    import tf_keras as keras

    keras.utils.set_random_seed(7)
    layers = [
        keras.layers.InputLayer(SHAPE, name="image"),
        keras.layers.Conv2D(4, 3, activation="relu"),
        keras.layers.Flatten(),
        keras.layers.Dense(4, activation="softmax"),
    ]
    model = keras.Sequential(layers)

    def serve(image: Any) -> dict[str, Any]:
        return {"probability": model(image)}

    function = tf.function(serve, input_signature=[tf.TensorSpec((1, *SHAPE), tf.float32, name="image")])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], model)
    return converter.convert()
