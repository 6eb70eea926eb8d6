"""What Pruner does with a stage: each method's result, what is written, and what Quantizer and the gate make of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pruned_models
import pytest
import tf_keras
import training_module
from killed import Killed

from tfx_edge.conversion.convert import convert
from tfx_edge.errors import ModelError
from tfx_edge.lite import flatbuffer
from tfx_edge.lite.inspect import LiteModel, inspect
from tfx_edge.models import layout, saving
from tfx_edge.pruner.work import prune
from tfx_edge.pruning import clustering, magnitude
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.quantizer.work import quantize
from tfx_edge.stages.context import StageContext
from tfx_edge.training.checkpoints import Checkpoint

Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pruner")
    model = pruned_models.network()
    pruned_models.fit(model, 1)
    saving.save_stage(model, path / "trainer", [])
    return path


def run(folder: Path, output: str, lines: list[str] | None = None, source: str = "trainer", **config: Any) -> Any:
    request = training_module.request("Pruner", folder, output, {"epochs": 2, "batch_size": 16, **config})
    request.inputs["model"] = [str(folder / source)]
    return prune(request, (lines if lines is not None else []).append)


def made(folder: Path, output: str) -> tf_keras.Model:
    return tf_keras.models.load_model(layout.keras_file(folder / output), compile=False)


def result(folder: Path, output: str) -> dict[str, Any]:
    return json.loads(layout.keras_file(folder / output).with_name("steps.json").read_text())[-1]["result"]


@pytest.fixture(scope="module")
def sparse(folder: Path) -> dict[str, Any]:
    return run(folder, "sparse", method={"final_sparsity": 0.75}, measure_latency=True)


@pytest.fixture(scope="module")
def sparse_clusters(folder: Path, sparse: dict[str, Any]) -> dict[str, Any]:
    return run(folder, "sparse_clusters", source="sparse", method={"kind": "clusters", "number": 8})


def test_zeros_are_in_what_was_saved_and_what_they_save_is_told_apart(folder: Path, sparse: dict[str, Any]) -> None:
    assert magnitude.sparsity(made(folder, "sparse")) == pytest.approx(
        dict.fromkeys(("hidden", "wide", "scores"), 0.75)
    )
    told = result(folder, "sparse")
    assert told["sparsity"] == magnitude.sparsity(made(folder, "sparse"))
    assert told["pruned"] == ["hidden", "scores", "wide"]
    assert sparse["sparsity"] == pytest.approx(0.75, abs=0.01)
    assert sparse["lite_gzip_bytes"] < 0.7 * sparse["lite_gzip_bytes_before"]
    for name in ("parameters", "macs", "operators", "lite_size_bytes"):
        assert sparse[name] == sparse[f"{name}_before"]
    assert 0.5 < sparse["latency_ratio_low"] <= sparse["latency_ratio"] <= sparse["latency_ratio_high"] < 2
    assert told["savings"]["after"]["gzip_bytes"] == sparse["lite_gzip_bytes"]
    properties = {name: value for name, value in sparse.items() if not isinstance(value, str)}
    assert all(isinstance(value, (int, float)) for value in properties.values())


def test_clusters_are_in_what_was_saved_and_the_zeros_of_the_step_before(
    folder: Path, sparse_clusters: dict[str, Any]
) -> None:
    model = made(folder, "sparse_clusters")
    assert sparse_clusters["clusters"] <= 8
    assert set(clustering.clusters(model).values()) <= set(range(3, 9))
    assert magnitude.sparsity(model) == magnitude.sparsity(made(folder, "sparse"))
    assert result(folder, "sparse_clusters")["sparsity"] == magnitude.sparsity(model)
    assert sparse_clusters["lite_gzip_bytes"] < sparse_clusters["lite_gzip_bytes_before"]


def test_units_are_gone_from_what_was_saved(folder: Path) -> None:
    lines: list[str] = []
    method = {"kind": "structured", "amount": 0.6, "of": "parameters", "importance": "taylor", "rounds": 2}
    found = run(folder, "smaller", lines, method={**method, "multiple_of": 4, "min_units": 4})
    told = result(folder, "smaller")
    model = made(folder, "smaller")
    assert model.output_shape == (None, training_module.KINDS)
    for layer, (before, after) in told["removed"].items():
        assert pruned_models.network().get_layer(layer).units == before
        assert model.get_layer(layer).units == after < before
    assert found["parameters"] == model.count_params() <= 0.5 * found["parameters_before"]
    assert found["macs"] < 0.5 * found["macs_before"]
    assert len(told["rounds"]) == 2
    assert [line for line in lines if line.startswith("round 2/2")]


def test_a_killed_second_round_goes_on_in_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"epochs": 2, "method": {"kind": "structured", "rounds": 2, "multiple_of": 4, "min_units": 4}}
    whole = run(folder, "rounds-whole", **config)
    save, saved = Checkpoint.save, []

    def dies(checkpoint: Checkpoint, state: Any) -> None:
        save(checkpoint, state)
        saved.append(checkpoint.path)
        if len(saved) == 3:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", dies)
        with pytest.raises(Killed):
            run(folder, "rounds-killed", **config)
    lines: list[str] = []
    resumed = run(folder, "rounds-resumed", lines, **config)
    assert [line.partition(",")[0] for line in lines if "goes on" in line] == [
        "goes on after epoch 2/2",
        "goes on after epoch 1/2",
    ]
    assert pruned_models.equal(made(folder, "rounds-resumed"), made(folder, "rounds-whole"))
    assert {**resumed, "sha256": ""} == {**whole, "sha256": ""}
    assert not list((folder / "state").glob("*"))


def test_outputs_may_be_a_tuple(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = made(folder, "trainer")
    pair = tf_keras.Model(scores.inputs, (scores.output, tf_keras.layers.Dense(2, name="again")(scores.output)))
    saving.save_stage(pair, folder / "pair", [])
    monkeypatch.setattr(StageContext, "load_model", lambda stage: pair)
    monkeypatch.setattr(
        StageContext,
        "compile",
        lambda stage, model, *_: model.compile("adam", [tf_keras.losses.SparseCategoricalCrossentropy(True), None]),
    )
    run(folder, "pruned_pair", source="pair", method={"final_sparsity": 0.5}, epochs=1)
    assert len(made(folder, "pruned_pair").outputs) == 2


def test_a_share_that_no_layer_can_give_is_an_error(folder: Path) -> None:
    with pytest.raises(ModelError, match="'narrow' is for none of the layers with kernels"):
        run(folder, "out", method={"overrides": [{"layers": "narrow", "final_sparsity": 0.5}]})
    assert not (folder / "out").exists()


class TestHandOver:
    """What Quantizer's training leaves of it, counted in the ``.tflite``."""

    @staticmethod
    def quantized(folder: Path, source: str) -> LiteModel:
        output = f"{source}-int8"
        request = training_module.request("Quantizer", folder, output, {"recipe": "qat_int8", "epochs": 1})
        request.inputs["model"] = [str(folder / source)]
        quantize(request, lambda line: None)
        path = folder / f"{output}.tflite"
        path.write_bytes(convert(folder / output, recipe=Recipe(preset="int8")).content)
        return inspect(path)

    def test_zeros_stay_zeros(self, folder: Path, sparse: dict[str, Any]) -> None:
        model = self.quantized(folder, "sparse")
        assert model.precision == "int8"
        assert [weight.sparsity >= 0.74 for weight in model.weights] == [True] * 3

    def test_clusters_stay_clusters_and_zeros_too(self, folder: Path, sparse_clusters: dict[str, Any]) -> None:
        model = self.quantized(folder, "sparse_clusters")
        assert [weight.sparsity >= 0.74 for weight in model.weights] == [True] * 3
        assert all(values <= 8 for values in distinct(model))


def distinct(model: LiteModel) -> list[int]:
    """Distinct values of each int8 weight of the file, per output channel where the scales are."""
    raw = flatbuffer.parse(Path(model.path).read_bytes())
    names = {weight.name for weight in model.weights}
    tensors = [tensor for tensor in raw.subgraphs[0].tensors if tensor.name in names]
    found = []
    for tensor in tensors:
        values = np.asarray(raw.buffers[tensor.buffer]).view(np.int8).reshape(tensor.shape)
        found.append(max(np.unique(row).size for row in values.reshape(tensor.shape[0], -1)))
    return found
