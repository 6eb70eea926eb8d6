"""What a user's module may define: a tf_keras Trainer, ``compile_fn``, ``input_fn``, ``build_model_fn``; and a
configuration that arrives as a RuntimeParameter.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from wine import FEATURES, HERE, LABEL_KEY, Node, Winery, channels, imported, transformed

from tfx_edge.errors import ModelError
from tfx_edge.lite.inspect import inspect

pytestmark = pytest.mark.pipeline

METRIC = "right_cultivar"
PRUNING = {"method": {"final_sparsity": 0.4}, "epochs": 3}


@pytest.fixture(scope="module")
def legacy(winery: Winery, stock: dict[str, Node]) -> dict[str, Node]:
    """tf_keras Trainer → Pruner → Quantizer (qat) → LiteConverter → EdgeEvaluator → Pusher; no label_key anywhere."""
    from tfx.components import Trainer
    from tfx.orchestration.data_types import RuntimeParameter
    from tfx.proto import trainer_pb2

    from tfx_edge import EdgeEvaluator, LiteConverter, Pruner, Quantizer

    data = transformed(stock)
    module_file = str(HERE / "tf_keras_module" / "wine_tf_keras.py")
    user: dict[str, Any] = {**channels(data), "module_file": module_file, "custom_config": {"metric": METRIC}}
    config = RuntimeParameter(name="pruning", ptype=str, default=json.dumps(PRUNING))
    trainer = Trainer(
        **channels(data),
        module_file=module_file,
        train_args=trainer_pb2.TrainArgs(num_steps=100),
        eval_args=trainer_pb2.EvalArgs(num_steps=1),
    ).with_id("Trainer.legacy")
    pruner = Pruner(trainer.outputs["model"], config=config, **user).with_id("Pruner.legacy")
    quantizer = Quantizer(pruner.outputs["edge_model"], config={"recipe": "qat_int8", "epochs": 3}, **user).with_id(
        "Quantizer.legacy"
    )
    converter = LiteConverter(quantizer.outputs["edge_model"], config={"recipe": "int8"}).with_id(
        "LiteConverter.legacy"
    )
    gate = EdgeEvaluator(
        converter.outputs["edge_model"],
        config={"thresholds": {"accuracy": {"min": 0.8}}},
        **user,
    ).with_id("EdgeEvaluator.legacy")
    pusher = winery.pusher("legacy", converter.outputs["edge_model"], gate.outputs["blessing"])
    winery.run(*data.values(), trainer, pruner, quantizer, converter, gate, pusher)
    names = ("Trainer", "Pruner", "Quantizer", "LiteConverter", "EdgeEvaluator", "Pusher")
    return {name: winery.node(f"{name}.legacy") for name in names}


@pytest.fixture(scope="module")
def steps(legacy: dict[str, Node], winery: Winery) -> dict[str, dict[str, Any]]:
    """The steps in the pushed edge.json, by component."""
    (pushed,) = winery.pushed("legacy")
    return {step["component"]: step for step in json.loads((pushed / "edge.json").read_text())["steps"]}


def test_a_saved_model_of_tf_keras_needs_no_save_trainable(legacy: dict[str, Node]) -> None:
    trained = Path(legacy["Trainer"].outputs["model"].uri)
    assert (trained / "Format-Serving" / "keras_metadata.pb").is_file()
    assert not (trained / "Format-Keras").exists()
    assert (Path(legacy["Pruner"].outputs["edge_model"].uri) / "Format-Keras" / "model.keras").is_file()


def test_the_pushed_file_went_through_every_step(steps: dict[str, dict[str, Any]], winery: Winery) -> None:
    assert list(steps) == ["Pruner", "Quantizer", "LiteConverter"]
    model = inspect(winery.pushed("legacy")[0] / "tflite")
    assert model.precision == "int8"
    assert {tensor.dtype for tensor in (*model.inputs, *model.outputs)} == {"int8"}


def test_compile_fn_compiles_with_what_custom_config_says(steps: dict[str, dict[str, Any]]) -> None:
    for component in ("Pruner", "Quantizer"):
        assert {METRIC, f"val_{METRIC}"} <= steps[component]["result"].keys()
        assert "accuracy" not in steps[component]["result"]


def test_input_fn_reads_the_examples_where_there_is_no_label_key(legacy: dict[str, Node]) -> None:
    for component in ("Pruner", "Quantizer", "EdgeEvaluator"):
        assert not legacy[component].property("label_key")
    report = legacy["EdgeEvaluator"].outputs["report"].custom_properties
    assert report["blessed"].int_value == 1
    assert report["accuracy"].double_value >= 0.8


def test_a_runtime_parameter_becomes_the_configuration(
    legacy: dict[str, Node], steps: dict[str, dict[str, Any]]
) -> None:
    assert json.loads(legacy["Pruner"].property("config")) == PRUNING
    assert steps["Pruner"]["recipe"]["method"]["final_sparsity"] == PRUNING["method"]["final_sparsity"]
    assert steps["Pruner"]["recipe"]["epochs"] == PRUNING["epochs"]


def test_build_model_fn_takes_the_weights_of_a_model_that_only_serves_strings(
    stock: dict[str, Node], winery: Winery
) -> None:
    from tfx_edge import Pruner

    data = transformed(stock)
    model = imported("stock_model", stock["Trainer"].outputs["model"], "Model")
    pruner = Pruner(
        model.outputs["result"],
        **channels(data),
        label_key=LABEL_KEY,
        module_file=str(HERE / "rebuilt_module" / "wine_rebuilt.py"),
        config={"method": {"final_sparsity": 0.1}, "epochs": 1, "learning_rate": 1e-6},
    ).with_id("Pruner.rebuilt")
    winery.run(model, *data.values(), pruner)
    made = Path(winery.node("Pruner.rebuilt").outputs["edge_model"].uri)
    (step,) = json.loads((made / "Format-Keras" / "steps.json").read_text())
    assert step["result"]["val_accuracy"] >= 0.85, "weights that nobody trained would guess one in three"


def test_build_model_fn_of_another_architecture_gets_no_weights(stock: dict[str, Node]) -> None:
    import tf_keras

    from tfx_edge.models.trainable import load_trainable

    def build_model() -> tf_keras.Model:
        inputs = [tf_keras.Input((1,), name=f"{name}_xf") for name in FEATURES]
        hidden = tf_keras.layers.Dense(16, activation="relu", name="wide")(tf_keras.layers.concatenate(inputs))
        return tf_keras.Model(inputs, tf_keras.layers.Dense(3)(hidden))

    with pytest.raises(ModelError, match="make both architectures equal") as caught:
        load_trainable(stock["Trainer"].outputs["model"].uri, build_model=build_model)
    assert "wide/kernel (6, 16)" in str(caught.value)
    assert re.search(r"dense\w*/kernel \(16, 16\)", str(caught.value))
