"""Merger: what an author is told, what its child process does with real stages, and a run under TFX's local runner."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras
import training_module
from tfx import types
from tfx.dsl.components.common.importer import Importer
from tfx.orchestration import metadata, pipeline
from tfx.orchestration.local.local_dag_runner import LocalDagRunner
from tfx.types import channel, standard_artifacts

from tfx_edge.errors import ConfigError, DataError, ModelError, UserCodeError
from tfx_edge.merger.component import Merger
from tfx_edge.merger.work import merge_models
from tfx_edge.models import layout, saving
from tfx_edge.models.trainable import load_trainable
from tfx_edge.stages import several

MODEL = types.Channel(type=standard_artifacts.Model)
EXAMPLES = types.Channel(type=standard_artifacts.Examples)
QUICK = {"measure_latency": False}


def stage(folder: Path, seed: int, width: int = 8) -> tf_keras.Model:
    """A stage with a step behind it."""
    tf_keras.utils.set_random_seed(seed)
    model = training_module.network(width)
    saving.save_stage(model, folder, [{"component": "Distiller", "recipe": {}, "result": {"seed": seed}}])
    return model


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tf_keras.Model]]:
    folder = tmp_path_factory.mktemp("models")
    return folder, [stage(folder / str(seed), seed, 8 + seed) for seed in range(3)]


def request(folder: Path, output: Path, config: dict[str, Any], number: int = 3, **more: Any) -> Any:
    """What the executor would ask for, with the examples of the training tests."""
    asked = training_module.request("Merger", folder, "unused", QUICK | config)
    inputs = {key: [str(folder / str(seed))] for seed, key in enumerate(several.keys("models")[:number])}
    asked = dataclasses.replace(
        asked, inputs={**inputs, "examples": ["of input_fn"]}, outputs={"edge_model": [str(output)]}
    )
    return dataclasses.replace(asked, **more)


def scores(model: tf_keras.Model) -> np.ndarray:
    features, _ = training_module.numbers("eval")
    return np.asarray(model({"x": features}, training=False))


def test_three_stages_become_one(trained: tuple[Path, list[tf_keras.Model]], tmp_path: Path) -> None:
    folder, models = trained
    lines: list[str] = []
    properties = merge_models(request(folder, tmp_path, {"weights": [1, 2, 1], "measure_latency": True}), lines.append)
    merged = load_trainable(tmp_path)
    expected = [weight * scores(model) for weight, model in zip((0.25, 0.5, 0.25), models, strict=True)]
    np.testing.assert_allclose(scores(merged), sum(expected), atol=1e-5)
    assert (layout.serving_dir(tmp_path) / "saved_model.pb").is_file()
    (step,) = layout.read_steps(tmp_path)
    assert step["component"] == "Merger"
    assert step["recipe"]["weights"] == [1, 2, 1]
    result = step["result"]
    assert result["compared_on"] == "96 examples"
    assert result["difference"] < 1e-5
    assert [model["steps"][0]["result"] for model in result["models"]] == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
    assert result["savings"]["after"]["operators"] == 2 < result["savings"]["before"]["operators"]
    assert properties["models"] == 3
    assert properties["operators"] == 2
    assert properties["macs"] == properties["macs_before"]
    assert properties["latency_ratio"] > 0
    assert properties["parent_sha256"] == ",".join(model["sha256"] for model in result["models"])
    assert any("96 examples" in line for line in lines)


def test_one_stage_is_simplified_and_its_steps_go_on(
    trained: tuple[Path, list[tf_keras.Model]], tmp_path: Path
) -> None:
    folder, models = trained
    merge_models(request(folder, tmp_path, {}, 1), lambda line: None)
    assert [step["component"] for step in layout.read_steps(tmp_path)] == ["Distiller", "Merger"]
    merged = load_trainable(tmp_path)
    np.testing.assert_allclose(scores(merged), scores(models[0]), atol=1e-6)
    assert not [layer for layer in merged.layers if isinstance(layer, tf_keras.layers.Dropout)]


def test_one_model_that_stays_as_it_is_is_an_error(tmp_path: Path) -> None:
    tf_keras.utils.set_random_seed(0)
    x = tf_keras.Input((training_module.FEATURES,), name="x")
    plain = tf_keras.Model(x, tf_keras.layers.Dense(3, name="scores")(tf_keras.layers.Dense(4, "relu")(x)))
    saving.save_stage(plain, tmp_path / "0", [])
    with pytest.raises(ModelError, match=r"changes nothing in .*0, a single model.* give several models$"):
        merge_models(request(tmp_path, tmp_path / "out", {}, 1), lambda line: None)
    everything_off = {"share": False, "linear": False, "fuse": False}
    with pytest.raises(ModelError, match=r"changes nothing .*, or switch share, linear, fuse on$"):
        merge_models(request(tmp_path, tmp_path / "out", everything_off, 1), lambda line: None)
    assert not (tmp_path / "out").exists()
    module = tmp_path / "module.py"
    module.write_text(MODULE.replace("outputs[0] - 2 * outputs[1]", "outputs[0]").replace("build_model_fn", "unused"))
    asked = request(tmp_path, tmp_path / "out", {"function": "module"}, 1)
    merge_models(
        dataclasses.replace(asked, properties={**asked.properties, "module_file": str(module)}), lambda line: None
    )
    outputs = scores(load_trainable(tmp_path / "out"))
    np.testing.assert_allclose(outputs.sum(axis=1), 1, atol=1e-5)


MODULE = """
import tf_keras
from training_module import input_fn, network

def merge_fn(outputs):
    return tf_keras.layers.Softmax()(outputs[0] - 2 * outputs[1])

def build_model_fn(fn_args):
    return network(8 + int(fn_args.base_model[-1]))
"""


def test_the_module_merges_and_builds_each_model(trained: tuple[Path, list[tf_keras.Model]], tmp_path: Path) -> None:
    folder, models = trained
    module = tmp_path / "module.py"
    module.write_text(MODULE)
    asked = request(folder, tmp_path / "out", {"function": "module"}, 2)
    asked = dataclasses.replace(asked, properties={**asked.properties, "module_file": str(module)})
    merge_models(asked, lambda line: None)
    logits = scores(models[0]) - 2 * scores(models[1])
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(scores(load_trainable(tmp_path / "out")), expected, atol=1e-5)


def test_without_examples_random_inputs_are_compared(
    trained: tuple[Path, list[tf_keras.Model]], tmp_path: Path
) -> None:
    folder, _ = trained
    asked = request(folder, tmp_path, {"function": "maximum"})
    asked = dataclasses.replace(asked, inputs={key: asked.inputs[key] for key in several.keys("models")[:3]})
    merge_models(asked, lambda line: None)
    assert layout.read_steps(tmp_path)[0]["result"]["compared_on"] == "64 random inputs"


def test_outputs_that_differ_by_more_than_the_tolerance_are_an_error(
    trained: tuple[Path, list[tf_keras.Model]], tmp_path: Path
) -> None:
    folder, _ = trained
    with pytest.raises(ModelError, match=r"on 96 examples, more than tolerance 1e-30: switch off linear"):
        merge_models(request(folder, tmp_path, {"tolerance": 1e-30}), lambda line: None)
    assert not layout.keras_file(tmp_path).exists()


def test_what_cannot_be_merged_is_told(trained: tuple[Path, list[tf_keras.Model]], tmp_path: Path) -> None:
    folder, _ = trained
    with pytest.raises(ConfigError, match=r"weights \[1.0, 2.0\] are of several models, and there is one: leave"):
        merge_models(request(folder, tmp_path, {"weights": [1, 2]}, 1), lambda line: None)
    with pytest.raises(ConfigError, match="2 numbers for 3 models"):
        merge_models(request(folder, tmp_path, {"weights": [1, 2]}), lambda line: None)
    with pytest.raises(UserCodeError, match=r"training_module\.py does not define merge_fn \(outputs\)"):
        merge_models(request(folder, tmp_path, {"function": "module"}), lambda line: None)
    fn_args = {**request(folder, tmp_path, {}).fn_args, "train_files": []}
    with pytest.raises(DataError, match="no split 'train'"):
        merge_models(request(folder, tmp_path, {}, fn_args=fn_args), lambda line: None)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"config": {"function": "mean"}}, "'average', 'add', 'concat', 'maximum' or 'module'"),
        ({"config": {"function": "add", "weights": [1, 2]}}, "weights belong to function 'average', not to 'add'"),
        ({"config": {"weights": [1, 0]}}, "greater than 0"),
        ({"config": {"weights": []}}, r"weights \[\] do not weigh .* leave weights out"),
        ({"config": {"weights": [7]}, "models": MODEL}, r"weights \[7.0\] do not weigh"),
        ({"config": {"weights": [1, 2, 3]}}, "weights has 3 numbers for 2 models"),
        ({"config": {"function": "module"}}, r"merge_fn \(outputs\)"),
        ({"models": []}, "0 channels; give 1 to 16"),
        ({"models": [MODEL] * 17}, "17 channels; give 1 to 16"),
    ],
)
def test_the_author_is_told(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Merger(**{"models": [MODEL, MODEL], **arguments})


def test_a_channel_may_hold_several_models() -> None:
    for models in (MODEL, [MODEL], channel.union([MODEL, types.Channel(type=standard_artifacts.Model)])):
        merger = Merger(models=models, examples=EXAMPLES, config={"weights": [1, 2, 3]})
        assert set(merger.inputs) == {"models", "examples"}


def test_a_run_keeps_the_order_of_the_models(trained: tuple[Path, list[tf_keras.Model]], tmp_path: Path) -> None:
    folder, models = trained
    importers = [
        Importer(str(folder / str(seed)), standard_artifacts.Model).with_id(f"Importer.{name}")
        for seed, name in enumerate("zya")
    ]
    outputs = [importer.outputs["result"] for importer in importers]
    merger = Merger(models=outputs, config={"weights": [1, 3, 4], **QUICK})
    LocalDagRunner().run(
        pipeline.Pipeline(
            "merging",
            str(tmp_path / "root"),
            components=[*importers, merger],
            metadata_connection_config=metadata.sqlite_metadata_connection_config(str(tmp_path / "metadata.db")),
        )
    )
    (uri,) = (tmp_path / "root" / "Merger" / "edge_model").iterdir()
    expected = sum(weight * scores(model) for weight, model in zip((1, 3, 4), models, strict=True)) / 8
    np.testing.assert_allclose(scores(load_trainable(uri)), expected, atol=1e-5)
