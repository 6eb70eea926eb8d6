"""Post-training quantization, judged by the file that comes out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lite_models
import numpy as np
import pytest
import quantize_models
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tfx_edge.errors import ConfigError, DataError, ModelError
from tfx_edge.lite.layers import layers
from tfx_edge.quantization.calibration import calibrate
from tfx_edge.quantization.quantize import Quantized, quantize
from tfx_edge.quantization.recipe import Recipe

PRESETS = ("float16", "dynamic_int8", "int8", "int8_float_io", "int16x8", "int4_weights")
PRECISIONS = ("float32", "float16", "dynamic_int8", "int8", "int16x8", "int4_weights")
WEIGHTY = ("conv_a", "conv_b", "dense/", "probability/MatMul")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("float")


@pytest.fixture(scope="module")
def cnn(folder: Path) -> Path:
    return lite_models.write(folder, lite_models.float32(), "cnn.tflite")


def images(count: int = 16) -> Iterator[dict[str, np.ndarray]]:
    return lite_models.images(count)


def image() -> np.ndarray:
    return next(images())["image"]


def recipe(preset: str, *overrides: tuple[str, str], **more: Any) -> Recipe:
    named = [{"layers": layers, "precision": precision} for layers, precision in overrides]
    return Recipe.parse({"preset": preset, "overrides": named, **more})


def converts(result: Quantized) -> list[str]:
    return [str(op) for graph in result.model.subgraphs for op in graph.ops if op.kind == "convert"]


class TestPresets:
    @pytest.mark.parametrize("preset", PRESETS)
    def test_every_layer_gets_the_precision_in_a_smaller_file_of_like_outputs(self, cnn: Path, preset: str) -> None:
        result = quantize(cnn, recipe(preset), images())
        assert {layer.got for layer in result.report.layers if layer.elements} == {Recipe(preset=preset).precision}
        assert not result.report.missed
        assert len(result.content) < cnn.stat().st_size
        limit = 0.15 if preset == "int4_weights" else 0.03
        assert quantize_models.difference(result.content, cnn.read_bytes(), image()) < limit

    @pytest.mark.parametrize("preset", ["int8", "int16x8"])
    def test_full_integer_leaves_nothing_in_float(self, cnn: Path, preset: str) -> None:
        model = quantize(cnn, recipe(preset, io_dtype="int8" if preset == "int8" else "int16"), images()).model
        assert model.precision == preset
        assert not model.float_ops
        assert not model.float_islands

    @pytest.mark.parametrize(
        ("preset", "io_dtype", "edges"),
        [
            ("int8", "int8", []),
            ("int8", "uint8", ["QUANTIZE", "QUANTIZE"]),
            ("int8", "float32", ["QUANTIZE", "DEQUANTIZE"]),
            ("int8_float_io", None, ["QUANTIZE", "DEQUANTIZE"]),
            ("int16x8", "int16", []),
            ("int16x8", None, ["QUANTIZE", "DEQUANTIZE"]),
        ],
    )
    def test_inputs_and_outputs_have_the_type_asked_and_nothing_else_converts(
        self, cnn: Path, preset: str, io_dtype: str | None, edges: list[str]
    ) -> None:
        result = quantize(cnn, recipe(preset, io_dtype=io_dtype), images())
        assert {tensor.dtype for tensor in (*result.model.inputs, *result.model.outputs)} == {io_dtype or "float32"}
        assert converts(result) == edges
        assert quantize_models.difference(result.content, cnn.read_bytes(), image()) < 0.03

    def test_the_result_is_the_same_every_time(self, cnn: Path) -> None:
        contents = {quantize(cnn, recipe("int8"), images()).content for _ in range(2)}
        assert len(contents) == 1

    def test_training_is_refused(self, cnn: Path) -> None:
        with pytest.raises(ConfigError, match="'qat_int8' trains"):
            quantize(cnn, recipe("qat_int8"), images())


class TestOverrides:
    @settings(max_examples=12, deadline=None)
    @given(preset=st.sampled_from(PRECISIONS), chosen=st.lists(st.sampled_from(PRECISIONS), min_size=4, max_size=4))
    def test_any_mix_of_precisions_comes_out_layer_by_layer(self, cnn: Path, preset: str, chosen: list[str]) -> None:
        assume(set(chosen) != {"float32"})
        result = quantize(cnn, recipe(preset, *zip(WEIGHTY, chosen, strict=True)), images())
        assert [layer.got for layer in result.report.layers if layer.elements] == chosen
        assert not result.report.missed
        assert quantize_models.difference(result.content, cnn.read_bytes(), image()) < 0.15

    def test_the_last_one_that_names_a_layer_counts(self, cnn: Path) -> None:
        result = quantize(cnn, recipe("int8", ("conv", "float32"), ("conv_b", "int8")), images())
        assert [layer.got for layer in result.report.layers][:2] == ["float32", "int8"]

    def test_a_pattern_is_for_the_name_of_a_layer_and_no_more(self, cnn: Path) -> None:
        result = quantize(cnn, recipe("dynamic_int8", ("Conv2D$", "float32")))
        assert [layer.got for layer in result.report.layers][:2] == ["float32", "float32"]

    def test_a_pattern_that_names_no_layer_is_refused(self, cnn: Path) -> None:
        with pytest.raises(ModelError, match=r"'convb' names no layer; layers are '.*conv_b"):
            quantize(cnn, recipe("int8", ("convb", "float32")), images())

    def test_a_layer_kept_in_float_is_no_fault(self, cnn: Path) -> None:
        result = quantize(cnn, recipe("int8", ("conv_b", "float32")), images())
        assert result.model.precision == "mixed"
        assert [island.ops for island in result.model.float_islands] == [("CONV_2D",)]
        assert not result.report.missed


class TestCalibration:
    @pytest.mark.parametrize(("preset", "steps"), [("int8", 255), ("int16x8", 65535)])
    def test_the_range_of_a_tensor_covers_every_example(self, cnn: Path, preset: str, steps: int) -> None:
        values = [-3.0, 2.0, 0.1, 0.2, 0.3]
        examples = [{"image": np.full(lite_models.IMAGE_SHAPE, value, np.float32)} for value in values]
        io_dtype = "int8" if preset == "int8" else "int16"
        (tensor,) = quantize(cnn, recipe(preset, io_dtype=io_dtype), examples).model.inputs
        assert tensor.scale is not None
        assert tensor.scale * steps >= 4.99

    def test_without_examples_it_is_refused(self, cnn: Path) -> None:
        with pytest.raises(DataError, match="examples"):
            quantize(cnn, recipe("int8"))

    def test_statistics_serve_many_quantizations(self, cnn: Path) -> None:
        statistics = calibrate(cnn, images())
        kept = {name: {end: value.copy() for end, value in ends.items()} for name, ends in statistics.items()}
        again = quantize(cnn, recipe("int8"), statistics=statistics)
        assert again.content == quantize(cnn, recipe("int8"), images()).content
        assert quantize(cnn, recipe("int8", ("dense", "float32")), statistics=statistics).report.layers
        assert statistics == kept

    def test_ranges_of_weights_are_not_taken_from_statistics(self, cnn: Path) -> None:
        statistics = calibrate(cnn, images())
        wide = {"min": np.full((1, 1), -100, np.float32), "max": np.full((1, 1), 100, np.float32)}
        weights = {weight.name: wide for layer in layers(cnn) for weight in layer.weights}
        assert weights
        with_weights = quantize(cnn, recipe("int8"), statistics={**statistics, **weights})
        assert with_weights.content == quantize(cnn, recipe("int8"), statistics=statistics).content

    def test_a_dynamic_precision_needs_no_examples(self, cnn: Path) -> None:
        assert quantize(cnn, recipe("dynamic_int8", ("conv_a", "float16"))).report.layers


class TestRefusals:
    def test_operators_that_stay_in_float_are_named_with_the_ways_out(self, folder: Path) -> None:
        lstm = lite_models.write(folder, lite_models.lstm(), "lstm.tflite")
        examples = [{"sequence": np.zeros(lite_models.SEQUENCE_SHAPE, np.float32)}]
        with pytest.raises(ModelError, match=r"UNIDIRECTIONAL_SEQUENCE_LSTM .*LiteConverter.*float32.*dynamic_int8"):
            quantize(lstm, recipe("int8"), examples)
        kept = quantize(lstm, recipe("int8", ("sequential_lstm|_lstm", "float32")), examples)
        assert [layer.op for layer in kept.report.layers if layer.got == "float32"] == ["UNIDIRECTIONAL_SEQUENCE_LSTM"]

    @pytest.mark.parametrize("preset", ["float16", "dynamic_int8", "int8", "int4_weights"])
    def test_a_model_that_is_quantized_already_is_not_changed_in_silence(self, folder: Path, preset: str) -> None:
        quantized = lite_models.write(folder, lite_models.int8(), "int8.tflite")
        with pytest.raises(ModelError, match="would change nothing"):
            quantize(quantized, recipe(preset), images())

    def test_a_recipe_of_float32_alone_changes_nothing(self, cnn: Path) -> None:
        with pytest.raises(ModelError, match="would change nothing"):
            quantize(cnn, recipe("float32"))

    def test_sparse_weights_are_refused(self, folder: Path) -> None:
        with pytest.raises(ModelError, match="sparse encoding"):
            quantize(lite_models.write(folder, lite_models.sparse(), "sparse.tflite"), recipe("dynamic_int8"))

    def test_a_truncated_file_is_refused(self, folder: Path) -> None:
        with pytest.raises(ModelError):
            quantize(lite_models.write(folder, lite_models.float32()[:-1000], "short.tflite"), recipe("dynamic_int8"))


class TestSignaturesAndShapes:
    def test_every_signature_is_quantized(self, folder: Path) -> None:
        path = lite_models.write(folder, lite_models.two_signatures(), "two.tflite")
        features = [{"features": np.random.default_rng(k).normal(size=(1, 16)).astype(np.float32)} for k in range(8)]
        result = quantize(path, recipe("int8"), features)
        assert [signature.name for signature in result.model.signatures] == ["embed", "score"]
        assert {t.dtype for s in result.model.signatures for t in (*s.inputs, *s.outputs)} == {"int8"}
        assert result.model.precision == "int8"

    def test_a_signature_that_examples_cannot_run_is_named(self, folder: Path) -> None:
        path = lite_models.write(folder, quantize_models.two_inputs(), "inputs.tflite")
        x, y = (np.ones((1, 16), np.float32) * sign for sign in (1, -1))
        with pytest.raises(DataError, match=r"no example ran .* the inputs '.*y"):
            quantize(path, recipe("int8"), [{"x": x}])
        assert quantize(path, recipe("int8"), [{"x": x, "y": y}]).model.precision == "int8"

    @pytest.mark.parametrize("preset", ["dynamic_int8", "int8", "int4_weights"])
    def test_a_batch_of_any_size_stays_one(self, folder: Path, preset: str) -> None:
        path = lite_models.write(folder, lite_models.any_batch(), "any.tflite")
        content = quantize(path, recipe(preset), images()).content
        batch = np.concatenate([features["image"] for features in images(5)])
        assert quantize_models.run(content, batch).shape == (5, lite_models.CLASSES)
        assert quantize_models.difference(content, path.read_bytes(), batch) < 0.15

    def test_loops_are_quantized_where_the_computation_stays_in_float(self, folder: Path) -> None:
        path = lite_models.write(folder, lite_models.gru_loop(), "gru.tflite")
        sequence = np.random.default_rng(7).normal(size=lite_models.SEQUENCE_SHAPE).astype(np.float32)
        result = quantize(path, recipe("dynamic_int8"))
        assert {layer.got for layer in result.report.layers if layer.elements} == {"dynamic_int8"}
        assert quantize_models.difference(result.content, path.read_bytes(), sequence) < 0.03
        with pytest.raises(ModelError, match="inside a loop"):
            quantize(path, recipe("int8"), [{"sequence": sequence}])


class TestWhatTheQuantizerCannotReadByItself:
    @pytest.mark.parametrize("preset", ["float16", "dynamic_int8", "int8", "int16x8", "int4_weights", "int4_blockwise"])
    def test_embeddings_are_quantized_too(self, folder: Path, preset: str) -> None:
        path = lite_models.write(folder, quantize_models.embedding(), "embedding.tflite")
        tokens = np.array([[0, 99, 5, 5, 17, 42]], np.int32)
        draws = (np.random.default_rng(k).integers(0, 100, (1, 6)).astype(np.int32) for k in range(32))
        result = quantize(path, recipe(preset), ({"tokens": draw} for draw in (tokens, *draws)))
        assert {layer.got for layer in result.report.layers if layer.elements} == {Recipe(preset=preset).precision}
        assert not result.report.missed
        assert [tensor.name for tensor in result.model.inputs] == ["tokens"]
        if preset in {"int8", "int16x8"}:
            assert result.model.precision == preset
        limit = 0.15 if preset.startswith("int4") else 0.03
        assert quantize_models.difference(result.content, path.read_bytes(), tokens) < limit

    def test_an_embedding_of_four_bits_feeds_integers(self, folder: Path) -> None:
        path = lite_models.write(folder, quantize_models.embedding(), "embedding.tflite")
        (table, *_) = layers(path)
        tokens = np.array([[0, 99, 5, 5, 17, 42]], np.int32)
        result = quantize(path, recipe("int8", (re.escape(table.name), "int4_weights")), [{"tokens": tokens}])
        assert [layer.got for layer in result.report.layers] == ["int4_weights", "int8", "int8"]
        assert quantize_models.difference(result.content, path.read_bytes(), tokens) < 0.15

    def test_an_embedding_serves_any_batch(self, folder: Path) -> None:
        path = lite_models.write(folder, quantize_models.embedding_of_any_batch(), "rows.tflite")
        tokens = np.arange(18, dtype=np.int32).reshape(3, 6)
        content = quantize(path, recipe("dynamic_int8")).content
        assert quantize_models.run(content, tokens).shape == (3, 6, 32)
        assert quantize_models.difference(content, path.read_bytes(), tokens) < 0.03

    @pytest.mark.parametrize("preset", ["int8", "int16x8"])
    def test_a_split_may_have_parts_that_nobody_reads(self, folder: Path, preset: str) -> None:
        path = lite_models.write(folder, quantize_models.partly_read_split(), "split.tflite")
        assert len(next(layer for layer in layers(path) if layer.op == "SPLIT").outputs) == 4
        values = np.random.default_rng(7).uniform(-1, 1, (16, 1, 64)).astype(np.float32)
        result = quantize(path, recipe(preset), ({"x": value} for value in values))
        assert {layer.got for layer in result.report.layers} == {preset}
        assert quantize_models.difference(result.content, path.read_bytes(), values[0]) < 0.05

    @pytest.mark.parametrize("preset", ["dynamic_int8", "int8", "int16x8"])
    def test_a_product_with_a_constant_is_right(self, folder: Path, preset: str) -> None:
        path = lite_models.write(folder, quantize_models.constant_matmul(), "matmul.tflite")
        values = np.random.default_rng(7).uniform(-1, 1, (16, 1, 4, 8, 32)).astype(np.float32)
        content = quantize(path, recipe(preset), ({"x": value} for value in values)).content
        assert quantize_models.difference(content, path.read_bytes(), values[0]) < 0.03

    def test_a_file_of_an_older_schema_is_quantized(self, folder: Path) -> None:
        old = lite_models.write(folder, quantize_models.older(lite_models.float32()), "old.tflite")
        result = quantize(old, recipe("int8"), images())
        assert result.model.precision == "int8"
        assert quantize_models.difference(result.content, lite_models.float32(), image()) < 0.03

    @pytest.mark.parametrize("preset", ["dynamic_int8", "int8", "int4_weights"])
    def test_float16_weights_are_quantized_further(self, folder: Path, preset: str) -> None:
        half = lite_models.write(folder, lite_models.float16(), "half.tflite")
        result = quantize(half, recipe(preset), images())
        assert {layer.got for layer in result.report.layers if layer.elements} == {Recipe(preset=preset).precision}
        assert not converts(result)
        assert len(result.content) < 0.8 * half.stat().st_size
        assert quantize_models.difference(result.content, lite_models.float32(), image()) < 0.15


class TestBlockwise:
    @pytest.mark.parametrize("block_size", [32, 64])
    def test_the_runtime_computes_with_the_blocks(self, folder: Path, block_size: int) -> None:
        path = lite_models.write(folder, quantize_models.dense(), "dense.tflite")
        content = quantize(path, recipe("int4_blockwise", block_size=block_size)).content
        x = np.random.default_rng(7).normal(size=(1, 64)).astype(np.float32)
        expected = x @ _dequantized(folder, content, block_size).T
        assert np.abs(quantize_models.run(content, x) - expected).max() < 0.02 * np.abs(expected).max()

    def test_blocks_of_zeros_run(self, folder: Path) -> None:
        path = lite_models.write(folder, quantize_models.pruned(), "pruned.tflite")
        content = quantize(path, recipe("int4_blockwise")).content
        x = np.random.default_rng(7).normal(size=(1, 64)).astype(np.float32)
        outputs = quantize_models.run(content, x)
        assert outputs[0, 0] == 0
        assert np.abs(outputs - x @ _dequantized(folder, content, 32).T).max() < 0.02 * np.abs(outputs).max()

    def test_a_layer_that_has_no_blocks_says_why_and_gets_the_next_best(self, cnn: Path) -> None:
        outcomes = quantize(cnn, recipe("int4_blockwise")).report.layers
        weighty = [outcome for outcome in outcomes if outcome.elements]
        assert [outcome.got for outcome in weighty] == [
            "int4_weights",
            "int4_weights",
            "int4_blockwise",
            "int4_weights",
        ]
        assert "no int4_blockwise CONV_2D" in weighty[0].why
        assert "48 inputs of a channel" in weighty[3].why


def _dequantized(folder: Path, content: bytes, block_size: int) -> np.ndarray:
    from tfx_edge.lite.rewrite import Rewriter

    rewriter = Rewriter(lite_models.write(folder, content, "blocks.tflite"))
    (graph,) = rewriter.model.subgraphs
    weight = graph.tensors[graph.operators[0].inputs[1]]
    stored = rewriter.constant(weight)
    scales = graph.tensors[weight.quantization.details.scales]
    halves = np.frombuffer(bytes(rewriter.model.buffers[scales.buffer].data), np.float16).astype(np.float32)
    blocks = stored.reshape(stored.shape[0], -1, block_size) * halves.reshape(stored.shape[0], -1, 1)
    return blocks.reshape(stored.shape)
