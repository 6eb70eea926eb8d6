"""Mends two faults of files that TensorFlow's converter quantized, changing bytes where they lie.

- The integer kernel of an LSTM takes the scale of the cell state as a power of two, and its tanh knows inputs of 0 to 6
  integer bits (tensorflow/lite/kernels/internal/portable_tensor_utils.cc, ``ApplyTanh``). Where no cell state in
  calibration reached 0.5, the converter chooses a scale of 2^-16 or less, for which that function silently computes
  nothing: the layer's outputs have nothing to do with the model's (-11 dB instead of 38 in an LSTM behind another).
  Nothing else in the file depends on that scale, so it becomes 2^-15.
- The first values of an LSTM's state stay behind in buffers that no tensor uses, filled with whatever was in memory, so
  that the same model gives other bytes. They are cleared.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ai_edge_litert import schema_py_generated as schema

LEAST_CELL_SCALE = 2.0**-15
_CELL_STATE = 19  # among the inputs of UNIDIRECTIONAL_SEQUENCE_LSTM


def repaired(content: bytes) -> bytes:
    """The same file without these faults."""
    result = bytearray(content)
    model = schema.Model.GetRootAs(result, 0)
    for state in _cell_states(model):
        if state.Type() == schema.TensorType.INT16:
            scales = state.Quantization().ScaleAsNumpy()  # a view into the file
            scales[scales < LEAST_CELL_SCALE] = LEAST_CELL_SCALE
    used = {graph.Tensors(index).Buffer() for graph in _subgraphs(model) for index in range(graph.TensorsLength())}
    used |= {model.Metadata(index).Buffer() for index in range(model.MetadataLength())}
    for number in set(range(model.BuffersLength())) - used:
        buffer = model.Buffers(number)
        if buffer.DataLength():
            buffer.DataAsNumpy()[:] = 0
    return bytes(result)


def _cell_states(model: Any) -> Iterator[Any]:
    codes = [model.OperatorCodes(number).BuiltinCode() for number in range(model.OperatorCodesLength())]
    for graph in _subgraphs(model):
        for position in range(graph.OperatorsLength()):
            operator = graph.Operators(position)
            if codes[operator.OpcodeIndex()] == schema.BuiltinOperator.UNIDIRECTIONAL_SEQUENCE_LSTM:
                yield graph.Tensors(operator.Inputs(_CELL_STATE))


def _subgraphs(model: Any) -> Iterator[Any]:
    return (model.Subgraphs(number) for number in range(model.SubgraphsLength()))
