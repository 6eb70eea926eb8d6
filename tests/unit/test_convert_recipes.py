"""Post-training quantization while converting: who does it, what comes out, and that it is the same every time."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tf_keras
from ai_edge_litert import schema_py_generated as schema

from tfx_edge.conversion import quantization, repairs, source, tf_converter
from tfx_edge.conversion.agreement import compare
from tfx_edge.conversion.convert import Conversion, convert, convert_source
from tfx_edge.conversion.judgement import Agreement
from tfx_edge.devices.local import infer
from tfx_edge.errors import DataError, ModelError
from tfx_edge.lite.inspect import LiteModel, inspect
from tfx_edge.models import saving
from tfx_edge.models.tracing import trace_as_it_is
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.quantize_aware import quantize_aware

SEQUENCE = (6, 4)


def recurrent(cell: str = "LSTM", units: int = 40, **options: Any) -> source.Source:
    """Sequences of 6 x 4 numbers to three classes."""
    tf_keras.utils.set_random_seed(3)
    sequence = tf_keras.Input(SEQUENCE, name="sequence")
    x = getattr(tf_keras.layers, cell)(units, **options)(sequence)
    return source.of_model(tf_keras.Model(sequence, tf_keras.layers.Dense(3, name="scores")(x)))


def cnn() -> source.Source:
    tf_keras.utils.set_random_seed(3)
    image = tf_keras.Input((8, 8, 1), name="image")
    x = tf_keras.layers.Flatten()(tf_keras.layers.Conv2D(8, 3, activation="relu")(image))
    return source.of_model(tf_keras.Model(image, tf_keras.layers.Dense(40, name="scores")(x)))


def examples(name: str, *shape: int, count: int = 40) -> Iterator[dict[str, np.ndarray]]:
    generator = np.random.default_rng(7)
    return ({name: generator.normal(size=(1, *shape)).astype(np.float32)} for _ in range(count))


def quantized(model: source.Source, preset: str, **options: Any) -> Conversion:
    name, spec = next(iter(model.main.specs.items()))
    recipe = Recipe(preset=preset, **options)
    calibration = examples(name, *spec.shape[1:]) if recipe.calibrated else ()
    return convert_source(model, recipe=recipe, calibration=calibration)


def inspected(folder: Path, conversion: Conversion) -> LiteModel:
    path = folder / "model.tflite"
    path.write_bytes(conversion.content)
    return inspect(path)


@pytest.mark.parametrize("io_dtype", ["int8", "uint8", "float32"])
def test_an_lstm_becomes_integer_through_the_converter(tmp_path: Path, io_dtype: str) -> None:
    conversion = quantized(recurrent(), "int8", io_dtype=io_dtype)
    model = inspected(tmp_path, conversion)
    assert conversion.backend == "converter"
    assert not model.float_ops
    assert {tensor.dtype for tensor in (*model.inputs, *model.outputs)} == {io_dtype}
    assert "UNIDIRECTIONAL_SEQUENCE_LSTM" in {op.name for op in model.subgraphs[0].ops if op.kind == "integer"}
    assert {outcome.got for outcome in conversion.report.layers} == {"int8"}
    assert conversion.agreement.min_sqnr_db > 25
    assert conversion.agreement.examples == 32


@pytest.mark.parametrize(
    ("preset", "precision"), [("int8", "int8"), ("int16x8", "int16x8"), ("float16", "float16 weights")]
)
def test_a_cnn_is_quantized_by_litert_quantizer(tmp_path: Path, preset: str, precision: str) -> None:
    conversion = quantized(cnn(), preset)
    assert conversion.backend == "litert-quantizer"
    assert inspected(tmp_path, conversion).precision == precision
    assert conversion.agreement.min_sqnr_db > 25


@pytest.mark.parametrize("preset", ["float16", "dynamic_int8", "int8", "int8_float_io", "int16x8"])
def test_the_converter_can_do_these_presets_itself(tmp_path: Path, preset: str) -> None:
    model, recipe = cnn(), Recipe(preset=preset)
    written = model.write(tmp_path / "saved", 1)
    plain, path = tmp_path / "plain.tflite", tmp_path / "quantized.tflite"
    plain.write_bytes(tf_converter.run(written, tf_converter.Operators()))
    setup = quantization.after_training(recipe, model, written, examples("image", 8, 8, 1))
    path.write_bytes(tf_converter.run(written, tf_converter.Operators(), setup))
    report = quantization.report(path, plain, recipe)
    weighty = [outcome for outcome in report.layers if outcome.elements > 1024]
    assert weighty
    assert {outcome.got for outcome in weighty} == {recipe.precision}


def test_an_lstm_gets_dynamic_weights_and_no_half_ones() -> None:
    model = recurrent(units=264)
    for preset, got in (("dynamic_int8", "dynamic_int8"), ("float16", "float32")):
        conversion = quantized(model, preset)
        lstm = next(o for o in conversion.report.layers if o.op == "UNIDIRECTIONAL_SEQUENCE_LSTM")
        assert (lstm.got, bool(lstm.why)) == (got, got != preset)
        assert conversion.agreement.min_sqnr_db > 25


def test_a_loop_cannot_be_integer_and_an_unrolled_one_can(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no quantizer gets into the loop.*unroll=True"):
        quantized(recurrent("GRU"), "int8")
    conversion = quantized(recurrent("GRU", units=8, unroll=True, implementation=1), "int8")
    assert not inspected(tmp_path, conversion).float_ops
    assert conversion.agreement.min_sqnr_db > 20


@pytest.mark.parametrize(
    "recipe", ["float32", "float16", {"preset": "int8", "overrides": [{"layers": "a", "precision": "float32"}]}]
)
def test_a_quantization_aware_model_takes_no_other_recipe(recipe: Any) -> None:
    with pytest.raises(ModelError, match=r"cannot be applied to a model that was trained quantization-aware"):
        quantization.while_training(Recipe.parse(recipe) if isinstance(recipe, dict) else Recipe(preset=recipe))


def quantization_aware(folder: Path, io_dtype: str) -> Path:
    """A stage whose first and last layers compute in float, so that ``io_dtype`` decides on its edges."""
    tf_keras.utils.set_random_seed(0)
    numbers = tf_keras.Input((16,), name="numbers")
    x = tf_keras.layers.Dense(8, activation="relu")(tf_keras.layers.LayerNormalization()(numbers))
    model = tf_keras.Model(numbers, tf_keras.layers.LayerNormalization(name="scores")(x))
    wrapped, _ = quantize_aware.wrap(model, Recipe(preset="qat_int8", io_dtype=io_dtype))
    for _ in range(3):
        wrapped(np.random.default_rng(0).normal(size=(32, 16)).astype(np.float32), training=True)
    saving.save_quantization_aware(wrapped, folder, [], model.output_names)
    return folder


def test_a_quantization_aware_model_has_the_inputs_and_outputs_of_the_recipe(tmp_path: Path) -> None:
    floats = quantization_aware(tmp_path / "floats", "float32")
    with pytest.raises(ModelError, match=r"inputs and outputs of int8, but 'numbers' is float32, 'scores' is float32"):
        convert(floats, recipe=Recipe(preset="int8"))
    assert convert(floats, recipe=Recipe(preset="int8_float_io")).quantized
    integers = quantization_aware(tmp_path / "integers", "int8")
    for recipe, dtype in ((Recipe(preset="int8", io_dtype="uint8"), "uint8"), (None, "float32")):
        model = inspected(tmp_path, convert(integers, recipe=recipe))
        assert {tensor.dtype for tensor in (*model.inputs, *model.outputs)} == {dtype}


def test_layers_by_name_keep_another_precision(tmp_path: Path) -> None:
    plain = inspected(tmp_path, convert_source(cnn()))
    layer = plain.outputs[0].tensor_name
    conversion = quantized(cnn(), "int8", overrides=[{"layers": f"^{layer}$", "precision": "float32"}])
    outcomes = {outcome.name: outcome.got for outcome in conversion.report.layers}
    assert outcomes[layer] == "float32"
    assert "int8" in outcomes.values()
    with pytest.raises(ModelError, match="names no layer"):
        quantized(cnn(), "int8", overrides=[{"layers": "^no such$", "precision": "float32"}])


def test_calibration_needs_examples() -> None:
    for model in (cnn(), recurrent()):
        with pytest.raises(DataError, match=r"examples.*give a split that has some"):
            convert_source(model, recipe=Recipe(preset="int8"))


def test_a_recipe_that_changes_nothing_is_refused() -> None:
    with pytest.raises(ModelError, match=r"'dynamic_int8' changed nothing.*1,024"):
        quantized(recurrent(units=8), "dynamic_int8")


def test_small_cell_states_do_not_break_an_lstm() -> None:
    calibration = [{"sequence": 0.2 * example["sequence"]} for example in examples("sequence", *SEQUENCE)]
    conversion = convert_source(recurrent(units=8), recipe=Recipe(preset="int8"), calibration=calibration)
    assert conversion.agreement.min_sqnr_db > 20  # the kernel computes nonsense with the scale that the converter chose


def test_what_was_in_memory_does_not_stay_in_the_file() -> None:
    content = quantized(recurrent(), "int8").content
    dirty = bytearray(content)
    model = schema.Model.GetRootAs(dirty, 0)
    graph = model.Subgraphs(0)
    used = {graph.Tensors(index).Buffer() for index in range(graph.TensorsLength())}
    used |= {model.Metadata(index).Buffer() for index in range(model.MetadataLength())}
    unused = [model.Buffers(n) for n in range(model.BuffersLength()) if n not in used and model.Buffers(n).DataLength()]
    assert unused
    for buffer in unused:
        buffer.DataAsNumpy()[:] = 255
    assert repairs.repaired(bytes(dirty)) == content


def test_repairs_leave_other_files_alone() -> None:
    content = convert_source(recurrent()).content
    assert repairs.repaired(content) == content


def test_an_error_as_large_as_the_outputs_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    model = cnn()
    path.write_bytes(quantized(model, "int8").content)
    batches = list(examples("image", 8, 8, 1))

    def shuffled(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"scores": -model.main.run(batch)["scores"]}

    with pytest.raises(ModelError, match="has nothing to do with the float model's"):
        compare(path, shuffled, batches, kind="post_training")


def test_an_agreement_says_its_signal_to_noise() -> None:
    text = str(Agreement(0.1, 3.0, 31.5, 32))
    assert "0.1 (3.0 quantization steps), signal to noise 31.5 dB, on 32 examples" in text


def test_a_trained_lstm_keeps_its_accuracy_in_integers(tmp_path: Path) -> None:
    generator = np.random.default_rng(5)
    labels = generator.integers(0, 3, 600)
    slopes = np.array([-1.0, 0.0, 1.0])[labels]
    steps = np.linspace(-1, 1, SEQUENCE[0])
    values = slopes[:, None, None] * steps[None, :, None] + generator.normal(0, 0.6, (600, *SEQUENCE))
    values = values.astype(np.float32)
    trace_as_it_is()
    tf_keras.utils.set_random_seed(5)
    sequence = tf_keras.Input(SEQUENCE, name="sequence")
    scores = tf_keras.layers.Dense(3, activation="softmax", name="scores")(tf_keras.layers.LSTM(16)(sequence))
    model = tf_keras.Model(sequence, scores)
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(values[:400], labels[:400], epochs=12, batch_size=32, verbose=0)
    accuracy = {}
    calibration = [{"sequence": values[i : i + 1]} for i in range(100)]
    for recipe in (None, Recipe(preset="int8")):
        path = tmp_path / "model.tflite"
        path.write_bytes(convert_source(source.of_model(model), recipe=recipe, calibration=calibration).content)
        (outputs,) = infer(path, [{"sequence": values[400:]}])
        accuracy[recipe and recipe.preset] = float(np.mean(np.argmax(outputs["scores"], axis=1) == labels[400:]))
    assert accuracy[None] > 0.8
    assert accuracy["int8"] > accuracy[None] - 0.02


_DIGESTS = """
import hashlib
import test_convert_recipes as t
for model, preset in ((t.cnn(), "int8"), (t.recurrent(), "int8")):
    print("digest", hashlib.sha256(t.quantized(model, preset).content).hexdigest())
"""


def test_the_same_model_gives_the_same_bytes_in_any_process() -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", _DIGESTS],
            cwd=Path(__file__).parent,
            env={**os.environ, "PYTHONHASHSEED": seed},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for seed in ("1", "2")
    ]
    printed = [child.communicate()[0] for child in children]
    digests = [[line for line in text.splitlines() if line.startswith("digest")] for text in printed]
    assert len(digests[0]) == 2
    assert digests[0] == digests[1]


def test_a_second_conversion_in_one_process_gives_the_same_bytes() -> None:
    model = recurrent()
    first, second = (hashlib.sha256(quantized(model, "int8").content).hexdigest() for _ in range(2))
    assert first == second


def test_zeros_of_float_weights_need_not_be_stored(tmp_path: Path) -> None:
    inputs = tf_keras.Input((64,), name="x")
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(64)(inputs))
    kernel, bias = model.get_weights()
    model.set_weights([np.where(np.abs(kernel) < np.quantile(np.abs(kernel), 0.8), 0, kernel), bias + 1])
    dense, sparse = tmp_path / "dense.tflite", tmp_path / "sparse.tflite"
    dense.write_bytes(convert_source(source.of_model(model)).content)
    sparse.write_bytes(convert_source(source.of_model(model), sparse=True).content)
    assert inspect(sparse).size_bytes < 0.5 * inspect(dense).size_bytes
    assert inspect(sparse).sparsity == inspect(dense).sparsity
    with pytest.raises(ModelError, match="sparse changes nothing"):
        convert_source(cnn(), sparse=True)
    with pytest.raises(ModelError, match="sparse is for float weights"):
        convert_source(source.of_model(model), sparse=True, recipe=Recipe(preset="dynamic_int8"))
