"""Inspection of real converted models, of hand-changed ones, and of damaged files."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import lite_models
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tfx_edge.errors import ModelError
from tfx_edge.lite.inspect import LiteModel, inspect

Inspect = Callable[[bytes], LiteModel]


@pytest.fixture
def inspected(tmp_path: Path) -> Inspect:
    return lambda content: inspect(lite_models.write(tmp_path, content))


def repacked(content: bytes, change: Callable[[schema.ModelT], None]) -> bytes:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    change(model)
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tensor_of_shape(model: schema.ModelT, shape: list[int]) -> schema.TensorT:
    (tensor,) = [t for t in model.subgraphs[0].tensors if list(t.shape) == shape and len(model.buffers[t.buffer].data)]
    return tensor


def run(content: bytes, **inputs: np.ndarray) -> dict[str, np.ndarray]:
    return Interpreter(model_content=content).get_signature_runner("serving_default")(**inputs)


def test_identity_and_sizes_are_those_of_the_file(inspected: Inspect) -> None:
    content = lite_models.float32()
    model = inspected(content)
    compressed = io.BytesIO()
    with gzip.GzipFile(fileobj=compressed, mode="wb", compresslevel=9, mtime=0) as stream:
        stream.write(content)

    assert model.sha256 == hashlib.sha256(content).hexdigest()
    assert model.size_bytes == len(content)
    assert model.gzip_bytes == len(compressed.getvalue())
    assert model.schema_version == 3
    assert model.description == "MLIR Converted."
    assert "CONVERSION_METADATA" in model.metadata


@pytest.mark.parametrize(
    ("name", "precision"),
    [
        ("float32", "float32"),
        ("float16", "float16 weights"),
        ("dynamic_int8", "dynamic int8"),
        ("int8", "int8"),
        ("int8_float_io", "int8"),
        ("int16x8", "int16x8"),
        ("int4_weights", "int4 weights"),
        ("int4_blocks", "int4 weights"),
        ("int8_weight_only", "int8 weights"),
        ("int8x4", "int8x4"),
        ("float_island", "mixed"),
        ("lstm", "float32"),
        ("gru_unrolled", "float32"),
        ("gru_loop", "float32"),
        ("flex", "float32"),
    ],
)
def test_precision(inspected: Inspect, name: str, precision: str) -> None:
    assert inspected(getattr(lite_models, name)()).precision == precision


def test_float_inputs_and_outputs_carry_signature_names_and_no_quantization(inspected: Inspect) -> None:
    model = inspected(lite_models.float32())
    (image,), (probability,) = model.inputs, model.outputs

    assert (image.name, image.shape, image.dtype) == ("image", (1, 8, 8, 1), "float32")
    assert (probability.name, probability.shape) == ("probability", (1, 10))
    assert (image.scale, image.zero_point) == (None, None)
    assert image.tensor_name == "serving_default_image:0"


@pytest.mark.parametrize("name", ["int8", "int16x8", "two_signatures", "lstm"])
def test_inputs_and_outputs_agree_with_the_interpreter(inspected: Inspect, name: str) -> None:
    content = getattr(lite_models, name)()
    model = inspected(content)
    interpreter = Interpreter(model_content=content)

    for ours, theirs in (
        (model.inputs, interpreter.get_input_details()),
        (model.outputs, interpreter.get_output_details()),
    ):
        assert [i.tensor_name for i in ours] == [d["name"] for d in theirs]
        assert [i.shape for i in ours] == [tuple(d["shape"]) for d in theirs]
        assert [i.shape_signature for i in ours] == [tuple(d["shape_signature"]) for d in theirs]
        assert [np.dtype(i.dtype) for i in ours] == [d["dtype"] for d in theirs]
        assert [(i.scale or 0.0, i.zero_point or 0) for i in ours] == [d["quantization"] for d in theirs]


def test_int8_input_has_its_quantization(inspected: Inspect) -> None:
    (image,) = inspected(lite_models.int8()).inputs
    assert (image.dtype, image.zero_point) == ("int8", -128)
    assert image.scale == pytest.approx(1 / 255, rel=0.01)


def test_varying_dimensions_show_in_the_shape_signature(inspected: Inspect) -> None:
    (image,) = inspected(lite_models.any_batch()).inputs
    assert image.shape == (1, 8, 8, 1)
    assert image.shape_signature == (-1, 8, 8, 1)


def test_operators_are_counted_with_their_dtypes(inspected: Inspect) -> None:
    (graph,) = inspected(lite_models.int8_float_io()).subgraphs
    found = {op.name: (op.count, op.inputs[0], op.outputs, op.kind) for op in graph.ops}
    assert found == {
        "QUANTIZE": (1, "float32", ("int8",), "convert"),
        "CONV_2D": (2, "int8", ("int8",), "integer"),
        "MAX_POOL_2D": (1, "int8", ("int8",), "integer"),
        "RESHAPE": (1, "int8", ("int8",), "integer"),
        "FULLY_CONNECTED": (2, "int8", ("int8",), "integer"),
        "SOFTMAX": (1, "int8", ("int8",), "integer"),
        "DEQUANTIZE": (1, "int8", ("float32",), "convert"),
    }


@pytest.mark.parametrize("name", ["int8", "int8_float_io", "int16x8"])
def test_full_integer_models_have_no_float_operators(inspected: Inspect, name: str) -> None:
    model = inspected(getattr(lite_models, name)())
    assert model.float_ops == ()
    assert model.float_islands == ()
    assert model.hybrid_ops == ()


def test_float_operators_between_integer_ones_are_an_island(inspected: Inspect) -> None:
    model = inspected(lite_models.float_island())
    (island,) = model.float_islands
    (position,) = island.positions
    assert island.ops == ("SIN",)
    assert island.subgraph == 0
    assert [str(op) for op in model.float_ops] == ["SIN"]
    assert position == 2


def test_unconnected_float_parts_are_islands_of_their_own(inspected: Inspect) -> None:
    def with_float_tail(model: schema.ModelT) -> None:
        """Dequantizes the logits, and squares and negates them in float."""
        graph = model.subgraphs[0]
        names = schema.BuiltinOperator
        codes = [(c.builtinCode or c.deprecatedBuiltinCode) for c in model.operatorCodes]
        (value,) = graph.outputs
        for code in (names.DEQUANTIZE, names.SQUARE, names.NEG):
            if code not in codes:
                codes.append(code)
                new = schema.OperatorCodeT()
                new.builtinCode = new.deprecatedBuiltinCode = code
                model.operatorCodes.append(new)
            tensor = schema.TensorT()
            tensor.name, tensor.shape, tensor.type, tensor.buffer = b"tail", [1, 10], schema.TensorType.FLOAT32, 0
            graph.tensors.append(tensor)
            op = schema.OperatorT()
            op.opcodeIndex, op.inputs, op.outputs = codes.index(code), [value], [len(graph.tensors) - 1]
            graph.operators.append(op)
            value = len(graph.tensors) - 1
        graph.outputs = [value]
        model.signatureDefs[0].outputs[0].tensorIndex = value

    content = repacked(lite_models.float_island(), with_float_tail)
    assert (run(content, image=np.zeros(lite_models.IMAGE_SHAPE, np.int8))["logits"] <= 0).all()
    assert [island.ops for island in inspected(content).float_islands] == [("SIN",), ("SQUARE", "NEG")]


def test_hybrid_operators_are_told_from_float_ones(inspected: Inspect) -> None:
    model = inspected(lite_models.dynamic_int8())
    assert sorted(str(op) for op in model.hybrid_ops) == ["CONV_2D", "FULLY_CONNECTED"]
    assert {op.name for op in model.float_ops} == {"CONV_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX"}
    assert model.float_islands == ()


def test_large_float_weights_beside_quantized_ones_make_it_mixed(inspected: Inspect) -> None:
    def widen(model: schema.ModelT) -> None:
        tensor = tensor_of_shape(model, [10, 48])
        tensor.shape = [1024, 48]
        model.buffers[tensor.buffer].data = np.zeros(1024 * 48 * 4, np.uint8)

    assert inspected(repacked(lite_models.dynamic_int8(), widen)).precision == "mixed"


def test_flex_and_custom_operators_are_told_apart(inspected: Inspect) -> None:
    flex, custom = inspected(lite_models.flex()), inspected(lite_models.custom())
    assert [str(op) for op in flex.flex_ops] == ["FlexMatrixDeterminant"]
    assert flex.custom_ops == ()
    assert [str(op) for op in custom.custom_ops] == ["MatrixDeterminant"]
    assert custom.flex_ops == ()
    assert inspected(lite_models.float32()).flex_ops == ()


def test_recurrent_operators(inspected: Inspect) -> None:
    fused = {op.name: op.count for op in inspected(lite_models.lstm()).float_ops}
    unrolled = {op.name: op.count for op in inspected(lite_models.gru_unrolled()).float_ops}
    assert fused["UNIDIRECTIONAL_SEQUENCE_LSTM"] == 1
    assert unrolled["TANH"] == 6


def test_a_loop_counts_the_operators_of_its_body_but_does_not_compute_itself(inspected: Inspect) -> None:
    model = inspected(lite_models.gru_loop())
    main, condition, body = model.subgraphs
    assert {op.name: op.kind for op in main.ops}["WHILE"] == "other"
    assert {op.kind for op in condition.ops} == {"other"}
    assert "TANH" in {op.name for op in body.ops}
    assert "TANH" in {op.name for op in model.float_ops}
    assert sorted(weight.shape for weight in model.weights) == [(3, 8), (24, 4), (24, 8)]


def test_signatures_name_their_own_tensors(inspected: Inspect) -> None:
    embed, score = inspected(lite_models.two_signatures()).signatures
    assert (embed.name, [i.name for i in embed.inputs], [o.name for o in embed.outputs]) == (
        *("embed", ["features"]),
        ["embedding"],
    )
    assert (score.name, [o.name for o in score.outputs], score.outputs[0].shape) == ("score", ["score"], (1,))
    assert embed.inputs[0].tensor_name == "embed_features:0"
    assert score.inputs[0].tensor_name == "score_features:0"


KERNELS = 3 * 3 * 8 + 3 * 3 * 8 * 16 + 64 * 48 + 48 * 10
BIASES = 8 + 16  # the converter drops the zero biases of the dense layers


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("float32", {"float32": 4 * (KERNELS + BIASES), "int32": 8}),
        ("float16", {"float16": 2 * (KERNELS + BIASES), "int32": 8}),
        ("int16x8", {"int8": KERNELS, "int64": 8 * BIASES, "int32": 8}),
        ("int8_weight_only", {"int8": KERNELS, "float32": 4 * BIASES, "int32": 8}),
        ("int4_blocks", {"int4": 64 * 32, "float16": 2 * 64 * 2}),
        ("int4_weights", {"int4": KERNELS // 2, "float32": 4 * BIASES, "int32": 8}),
    ],
)
def test_constants_are_weighed_by_dtype(inspected: Inspect, name: str, sizes: dict[str, int]) -> None:
    assert inspected(getattr(lite_models, name)()).weight_bytes_by_dtype == sizes


def test_weights_leave_out_biases_and_shapes(inspected: Inspect) -> None:
    floats, integers = inspected(lite_models.float32()), inspected(lite_models.int8())
    shapes = [(8, 3, 3, 1), (10, 48), (16, 3, 3, 8), (48, 64)]
    assert sorted(weight.shape for weight in floats.float_weights) == shapes
    assert sorted(weight.shape for weight in integers.quantized_weights) == shapes
    assert floats.quantized_weights == integers.float_weights == ()
    assert sum(weight.size_bytes for weight in integers.quantized_weights) == KERNELS


def test_partly_quantized_weights_are_told_apart(inspected: Inspect) -> None:
    model = inspected(lite_models.dynamic_int8())
    assert sorted(weight.shape for weight in model.quantized_weights) == [(16, 3, 3, 8), (48, 64)]
    assert sorted(weight.shape for weight in model.float_weights) == [(8, 3, 3, 1), (10, 48)]


def test_a_buffer_that_two_subgraphs_share_counts_once(inspected: Inspect) -> None:
    model = inspected(lite_models.two_signatures())
    assert model.weight_bytes_by_dtype["float32"] == 16 * 8 * 4
    assert [weight.shape for weight in model.weights] == [(8, 16)]


def outside_buffers(content: bytes) -> bytes:
    """Moves every buffer behind the flatbuffer, as converters do beyond 2 GB."""

    def packed(start: int) -> tuple[bytes, bytes]:
        tail = bytearray()

        def move(model: schema.ModelT) -> None:
            for buffer in model.buffers:
                if buffer.data is not None and len(buffer.data):
                    tail.extend(b"\0" * (-(start + len(tail)) % 16))
                    buffer.offset, buffer.size = start + len(tail), len(buffer.data)
                    tail.extend(bytes(bytearray(buffer.data)))
                    buffer.data = None

        return repacked(content, move), bytes(tail)

    start = len(packed(1 << 20)[0])
    head, tail = packed(start)
    assert len(head) == start
    return head + tail


def test_buffers_outside_of_the_flatbuffer_are_read(inspected: Inspect) -> None:
    content = outside_buffers(lite_models.float32())
    sample = next(lite_models.images())
    np.testing.assert_array_equal(
        run(content, **sample)["probability"], run(lite_models.float32(), **sample)["probability"]
    )

    inside, outside = inspected(lite_models.float32()), inspected(content)
    assert outside.weight_bytes_by_dtype == inside.weight_bytes_by_dtype
    assert outside.weights == inside.weights
    with pytest.raises(ModelError, match="truncated"):
        inspected(content[:-8])


def test_zeros_are_counted(inspected: Inspect) -> None:
    def prune(model: schema.ModelT) -> None:
        data = np.array(model.buffers[tensor_of_shape(model, [48, 64]).buffer].data, np.uint8)
        data.view(np.float32)[::2] = 0
        model.buffers[tensor_of_shape(model, [48, 64]).buffer].data = data

    model = inspected(repacked(lite_models.float32(), prune))
    (dense,) = [weight for weight in model.weights if weight.shape == (48, 64)]
    assert dense.sparsity == 0.5
    assert model.sparsity == pytest.approx(48 * 64 / 2 / KERNELS)
    assert inspected(lite_models.float32()).sparsity == 0.0


def test_zeros_of_packed_int4_are_counted(inspected: Inspect) -> None:
    def fill(model: schema.ModelT) -> None:
        buffer = model.buffers[tensor_of_shape(model, [48, 64]).buffer]
        buffer.data = np.where(np.arange(len(buffer.data)) % 2, 0x0F, 0x88).astype(np.uint8)

    model = inspected(repacked(lite_models.int4_weights(), fill))
    (dense,) = [weight for weight in model.weights if weight.shape == (48, 64)]
    assert (dense.elements, dense.size_bytes, dense.sparsity) == (48 * 64, 48 * 32, 0.25)


@pytest.mark.parametrize("points", [[3], [3, *range(4, 51)]])
def test_zeros_are_the_zero_points(inspected: Inspect, points: list[int]) -> None:
    def fill(model: schema.ModelT) -> None:
        tensor = tensor_of_shape(model, [48, 64])
        tensor.quantization.zeroPoint = points
        data = np.zeros((48, 64), np.int8)
        data[:, :16] = np.array(points)[:, None]
        model.buffers[tensor.buffer].data = data.view(np.uint8).reshape(-1)

    model = inspected(repacked(lite_models.int8(), fill))
    (dense,) = [weight for weight in model.weights if weight.shape == (48, 64)]
    assert dense.sparsity == 0.25


def test_zeros_of_the_sparse_encoding_are_counted(inspected: Inspect) -> None:
    (weight,) = inspected(lite_models.sparse()).weights
    assert weight.elements == 64 * 64
    assert weight.size_bytes == 4 * np.count_nonzero(lite_models.sparse_kernel())
    assert weight.zeros == np.count_nonzero(lite_models.sparse_kernel() == 0)


def test_to_dict_survives_json(inspected: Inspect) -> None:
    model = inspected(lite_models.float_island())
    fields = json.loads(json.dumps(model.to_dict(), allow_nan=False))
    assert fields["sha256"] == model.sha256
    assert fields["precision"] == "mixed"
    assert fields["inputs"][0]["zero_point"] == -128
    assert fields["float_islands"] == [{"subgraph": 0, "ops": ["SIN"], "positions": [2]}]
    assert fields["sparsity"] == pytest.approx(model.sparsity)
    assert [weight["sparsity"] for weight in fields["weights"]] == [weight.sparsity for weight in model.weights]


def test_inspecting_needs_no_tensorflow(tmp_path: Path) -> None:
    path = lite_models.write(tmp_path, lite_models.float32())
    code = (
        f"import sys; from tfx_edge.lite.inspect import inspect; print(inspect({str(path)!r}).precision);"
        "print([m for m in ('tensorflow', 'tfx', 'tf_keras', 'keras') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).splitlines() == ["float32", "[]"]


def _without_subgraphs(model: schema.ModelT) -> None:
    model.subgraphs = []


def _with_foreign_buffer(model: schema.ModelT) -> None:
    model.subgraphs[0].tensors[0].buffer = 999


def _with_foreign_tensor(model: schema.ModelT) -> None:
    model.subgraphs[0].operators[0].outputs = [999]


def _with_short_weight(model: schema.ModelT) -> None:
    buffer = model.buffers[tensor_of_shape(model, [48, 64]).buffer]
    buffer.data = buffer.data[:-4]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: b"", "empty"),
        (lambda content: b"no model", "not a TFLite model"),
        (lambda content: content[:4] + b"TFL2" + content[8:], "not a TFLite model"),
        (lambda content: content[: len(content) // 2], "damaged or truncated"),
        (lambda content: b"\xff" * 4 + content[4:], "damaged or truncated"),
        (lambda content: repacked(content, _without_subgraphs), "without any subgraph"),
        (lambda content: repacked(content, _with_foreign_buffer), "refers to buffer 999"),
        (lambda content: repacked(content, _with_foreign_tensor), "refers to tensor 999"),
        (lambda content: repacked(content, _with_short_weight), "takes 12288 bytes, its buffer has 12284"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    path = lite_models.write(tmp_path, damage(lite_models.float32()))
    with pytest.raises(ModelError, match=message) as raised:
        inspect(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"absent\.tflite cannot be read"):
        inspect(tmp_path / "absent.tflite")
    with pytest.raises(ModelError, match="is a folder"):
        inspect(tmp_path)


def refuses_or_succeeds(path: Path, content: bytes) -> bool:
    """Whether the content was accepted; anything but a ModelError, or much memory, fails the test."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        inspect(path).to_dict()
    except ModelError:
        return False
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 20_000_000
    return True


def samples() -> st.SearchStrategy[bytes]:
    names = ["int8", "two_signatures", "lstm", "float_island", "gru_loop", "int4_weights", "sparse"]
    return st.sampled_from(names).map(lambda name: getattr(lite_models, name)())


patient: Any = settings(
    max_examples=150, deadline=10_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@patient
@given(content=samples(), share=st.floats(0, 0.95))
def test_truncated_files_are_refused(tmp_path: Path, content: bytes, share: float) -> None:
    assert not refuses_or_succeeds(tmp_path / "tflite", content[: int(len(content) * share)])


@patient
@given(content=samples(), data=st.data())
def test_flipped_bytes_raise_nothing_but_a_model_error(tmp_path: Path, content: bytes, data: st.DataObject) -> None:
    positions = st.one_of(st.integers(0, min(200, len(content) - 1)), st.integers(0, len(content) - 1))
    flips = data.draw(st.lists(st.tuples(positions, st.integers(1, 255)), min_size=1, max_size=20))
    damaged = bytearray(content)
    for position, mask in flips:
        damaged[position] ^= mask
    refuses_or_succeeds(tmp_path / "tflite", bytes(damaged))
