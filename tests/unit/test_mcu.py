"""The microcontroller target, on real models in the real TensorFlow Lite Micro of the package ``tflite-micro``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import lite_models
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.devices import local, mcu, micro
from tfx_edge.devices.mcu import Mcu
from tfx_edge.devices.micro_interpreter import LARGEST_ARENA
from tfx_edge.errors import DataError, DeviceError, ModelError

TIMEOUT_S = 60


def arena(model: Path) -> tuple[int, dict]:
    return Mcu().arena_bytes(model, TIMEOUT_S)


def runs_in(model: Path, arena_bytes: int) -> bool:
    script = (
        "import sys; from tfx_edge.devices.micro_interpreter import MicroInterpreter\n"
        "MicroInterpreter(sys.argv[1], int(sys.argv[2])).run_zeros()"
    )
    command = [sys.executable, "-c", script, str(model), str(arena_bytes)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def with_softmax_scale(content: bytes, scale: float) -> bytes:
    """The model with another scale for the input of its SOFTMAX."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(content)))
    codes = [max(code.builtinCode, code.deprecatedBuiltinCode) for code in model.operatorCodes]
    (graph,) = model.subgraphs
    (softmax,) = (op for op in graph.operators if codes[op.opcodeIndex] == schema.BuiltinOperator.SOFTMAX)
    graph.tensors[softmax.inputs[0]].quantization.scale = [scale]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class TestArena:
    @pytest.mark.parametrize("name", ["int8", "lstm"])
    def test_it_is_the_smallest_that_the_model_runs_in(self, tmp_path, name):
        model = lite_models.write(tmp_path, getattr(lite_models, name)())

        needed, environment = arena(model)

        assert runs_in(model, needed)
        assert not runs_in(model, needed - micro.ALIGNMENT)
        # Both models need memory for a moment while they are planned, which the interpreter's own sum leaves out.
        assert environment["allocations"]["total"] < needed

    def test_the_environment_splits_it_up_and_says_what_it_holds_for(self, tmp_path):
        _, environment = arena(lite_models.write(tmp_path, lite_models.int8()))

        allocations = environment["allocations"]
        assert allocations["head"] + allocations["tail"] == allocations["total"]
        # The first convolution's input (8 x 8) and output (6 x 6 x 8) are alive together.
        assert allocations["head"] >= 8 * 8 + 6 * 6 * 8
        assert allocations["NodeAndRegistration struct"] > 0
        assert environment["kernel"] == "reference"
        assert environment["tflite_micro"] in Mcu().fingerprint()

    def test_integers_need_less_than_floats(self, tmp_path):
        integers, floats = (
            arena(lite_models.write(tmp_path, content, name))[0]
            for name, content in [("int8", lite_models.int8()), ("float", lite_models.float32())]
        )
        assert integers < floats

    @given(needed=st.integers(1, LARGEST_ARENA), in_use=st.integers(1, LARGEST_ARENA))
    def test_the_search_finds_the_smallest_multiple_of_16_that_fits(self, needed, in_use):
        at_least = min(needed, in_use)
        found = micro.smallest(lambda size: size >= needed, at_least)
        assert found % 16 == 0
        assert needed <= found < needed + 16


class TestInfer:
    @pytest.mark.parametrize(
        ("name", "shape", "tolerance"),
        [
            ("float32", (37, 8, 8, 1), 1e-6),
            ("any_batch", (5, 8, 8, 1), 1e-6),
            ("int8", (37, 8, 8, 1), 1 / 256),
            ("int8_float_io", (5, 8, 8, 1), 1 / 256),
            ("int16x8", (5, 8, 8, 1), 2**-12),
            ("lstm", (5, 6, 4), 1e-6),
        ],
    )
    def test_outputs_are_those_of_litert_within_one_step(self, tmp_path, name, shape, tolerance):
        model = lite_models.write(tmp_path, getattr(lite_models, name)())
        batches = [{"input": np.random.default_rng(seed).random(shape)} for seed in range(2)]

        answers = list(Mcu().infer(model, batches, TIMEOUT_S))
        expected = list(local.infer(model, batches))

        for answer, reference in zip(answers, expected, strict=True):
            assert answer.keys() == reference.keys()
            for output in reference:
                np.testing.assert_allclose(answer[output], reference[output], rtol=0, atol=tolerance)

    def test_two_inputs_go_by_their_names(self, tmp_path):
        model = lite_models.write(tmp_path, two_inputs())
        batch = {"weight": np.array([[2.0], [3.0]]), "amount": np.array([[10.0], [100.0]])}

        (answer,) = Mcu().infer(model, [batch], TIMEOUT_S)

        (values,) = answer.values()
        np.testing.assert_allclose(values, [[10 - 2], [100 - 3]])

    def test_examples_that_do_not_fit_are_refused(self, tmp_path):
        model = lite_models.write(tmp_path, lite_models.int8())
        with pytest.raises(DataError, match=r"takes examples of shape \[8, 8, 1\]"):
            list(Mcu().infer(model, [{"image": np.zeros((2, 9, 9, 1))}], TIMEOUT_S))


def two_inputs() -> bytes:
    import tensorflow as tf

    module = tf.Module()
    row = tf.TensorSpec((1, 1), tf.float32)
    module.serve = tf.function(
        lambda weight, amount: {"rest": amount - weight},
        input_signature=[tf.TensorSpec(row.shape, row.dtype, name) for name in ("weight", "amount")],
        autograph=False,
    )
    return tf.lite.TFLiteConverter.from_concrete_functions([module.serve.get_concrete_function()], module).convert()


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "message"),
        [
            ("dynamic_int8", "Hybrid models are not supported.*quantize it with mode 'int8'"),
            ("int4_weights", "Hybrid models are not supported.*quantize it with mode 'int8'"),
            ("float16", r"Node DEQUANTIZE .* failed.*keeps weights as float16.*quantize it with mode 'int8'"),
            ("custom", "custom operations: MatrixDeterminant. Replace the layer"),
            ("flex", "custom operations: FlexMatrixDeterminant. Replace the layer"),
            ("sparse", "in TFLite's sparse encoding.*convert without EXPERIMENTAL_SPARSITY"),
            ("two_signatures", "has the signatures embed, score.*convert with one"),
        ],
    )
    def test_a_model_that_cannot_run_there_is_refused_in_tflms_words_with_a_remedy(self, tmp_path, name, message):
        model = lite_models.write(tmp_path, getattr(lite_models, name)())
        with pytest.raises(ModelError, match=message):
            arena(model)

    def test_an_operator_without_a_kernel_is_named(self, tmp_path):
        import tensorflow as tf

        function = tf.function(lambda x: tf.signal.rfft(x), input_signature=[tf.TensorSpec((1, 16), tf.float32)])
        model = lite_models.write(
            tmp_path, tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()]).convert()
        )
        with pytest.raises(ModelError, match=r"Didn't find op for builtin opcode 'RFFT2D'.*Replace the layer"):
            arena(model)
        with pytest.raises(ModelError, match="RFFT2D"):
            list(Mcu().infer(model, [{"x": np.zeros((1, 16))}], TIMEOUT_S))

    def test_a_free_dimension_beside_the_batch_is_refused(self, tmp_path):
        import tensorflow as tf

        function = tf.function(tf.nn.relu, input_signature=[tf.TensorSpec((1, None), tf.float32)])
        model = lite_models.write(
            tmp_path, tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()]).convert()
        )
        with pytest.raises(ModelError, match=r"has the shape \[1, -1\].*convert with a fixed shape"):
            arena(model)

    def test_files_that_are_no_model_are_refused(self, tmp_path):
        with pytest.raises(ModelError, match="no model file at"):
            arena(tmp_path / "nothing.tflite")
        with pytest.raises(ModelError, match="truncated TFLite model"):
            arena(lite_models.write(tmp_path, lite_models.int8()[:3000]))


class TestFailures:
    def test_an_abort_of_the_interpreter_becomes_an_error(self, tmp_path):
        model = lite_models.write(tmp_path, with_softmax_scale(lite_models.int8(), 0.0))
        with pytest.raises(DeviceError, match=r"TensorFlow Lite Micro crashed \(Aborted\) on .*tflite; .*calibrate"):
            arena(model)

    def test_a_hang_ends_at_the_timeout(self, tmp_path):
        with pytest.raises(DeviceError, match=r"did not finish arena of .*tflite within 0\.01 s.*raise timeout_s"):
            Mcu().arena_bytes(lite_models.write(tmp_path, lite_models.int8()), 0.01)

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            ("sys.modules['tflite_micro'] = None; from tfx_edge.devices.micro import main; sys.exit(main(sys.argv[1]))",
             r"tflite-micro cannot be imported .*: install tfx-edge\[mcu\]"),
            ("raise SystemExit('no power')", "ended with exit code 1; it said: no power"),
            ("answer('nonsense')", "answered nonsense or nothing and ended with exit code 0"),
            ("answer('{}')", "answered nonsense: {}"),
            ('answer(\'{"arena_bytes": -5, "environment": {}}\')', "answered nonsense: .*-5"),
            ('answer(\'{"error": "on fire"}\')', "^on fire$"),
        ],
    )  # fmt: skip
    def test_a_runner_that_fails_is_quoted(self, tmp_path, monkeypatch, script, message):
        helper = (
            "import sys, json\nanswer = lambda text: open(json.load(open(sys.argv[1]))['result'], 'w').write(text)\n"
        )
        monkeypatch.setattr(mcu, "RUNNER", (sys.executable, "-c", helper + script))
        with pytest.raises(DeviceError, match=message):
            arena(lite_models.write(tmp_path, lite_models.int8()))


def test_it_offers_no_latency(tmp_path):
    assert {"arena", "infer"} == Mcu.OFFERS
    with pytest.raises(DeviceError, match="a target of kind Mcu cannot measure latency"):
        Mcu().latency(tmp_path / "tflite", None)
