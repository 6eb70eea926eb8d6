"""One dense layer of 8 inputs and 3 outputs as a ``.tflite``, put together by hand: no TensorFlow is imported."""

from __future__ import annotations

from pathlib import Path

import numpy as np

INPUTS, OUTPUTS = 8, 3
# The real numbers that one integer of the int8 weights, inputs and outputs stands for.
WEIGHT_STEP, INPUT_STEP, OUTPUT_STEP = 1 / 127, 4 / 127, 16 / 127


def weights() -> np.ndarray:
    """The layer's weights, outputs x inputs."""
    return np.random.default_rng(3).uniform(-1, 1, (OUTPUTS, INPUTS)).astype(np.float32)


def write_float(path: Path) -> Path:
    """The layer in float32."""
    return _write(path, weights(), 0, None, None, None)


def write_int8(path: Path) -> Path:
    """The layer in int8: weights, inputs and outputs."""
    steps = np.round(weights() / WEIGHT_STEP).astype(np.int8)
    return _write(path, steps, 9, WEIGHT_STEP, INPUT_STEP, OUTPUT_STEP)


def _write(
    path: Path, values: np.ndarray, kind: int, scale: float | None, in_scale: float | None, out_scale: float | None
) -> Path:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    def tensor(name: str, shape: list[int], buffer: int, step: float | None) -> object:
        made = schema.TensorT()
        made.name, made.shape, made.type, made.buffer = name, shape, kind, buffer
        if step is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale, made.quantization.zeroPoint = [step], [0]
        return made

    layer = schema.OperatorT()
    layer.opcodeIndex, layer.inputs, layer.outputs = 0, [0, 1, -1], [2]
    layer.builtinOptionsType = schema.BuiltinOptions.FullyConnectedOptions
    layer.builtinOptions = schema.FullyConnectedOptionsT()
    graph = schema.SubGraphT()
    graph.tensors = [
        tensor("features", [1, INPUTS], 0, in_scale),
        tensor("weights", [OUTPUTS, INPUTS], 1, scale),
        tensor("scores", [1, OUTPUTS], 0, out_scale),
    ]
    graph.inputs, graph.outputs, graph.operators = [0], [2], [layer]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.FULLY_CONNECTED
    code.version = 4
    model = schema.ModelT()
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = np.frombuffer(values.tobytes(), np.uint8)
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(builder.Output())
    return path
