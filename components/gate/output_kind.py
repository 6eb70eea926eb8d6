"""Whether a model's output holds probabilities, read from the operators that compute it."""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

from tfx_edge.errors import ConfigError
from tfx_edge.lite import flatbuffer
from tfx_edge.lite.flatbuffer import RawSubgraph
from tfx_edge.lite.inspect import LiteModel

# These pass values on, apart from rounding and shape; the mean of probabilities is one, and of logits too.
_TRANSPARENT = frozenset({"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CAST", "TRANSPOSE", "MEAN"})
# A part of probabilities is still probabilities, but a logit means nothing without those of the other classes.
_PARTS = frozenset({"STRIDED_SLICE", "SLICE", "GATHER", "GATHER_ND", "SPLIT", "SPLIT_V", "UNPACK"})
_DATA = {"SPLIT": 1}  # which input holds the values, where it is not the first
_PROBABILITIES = frozenset({"SOFTMAX", "LOGISTIC"})
_LINEAR = {
    "FULLY_CONNECTED": schema.FullyConnectedOptions,
    "CONV_2D": schema.Conv2DOptions,
    "DEPTHWISE_CONV_2D": schema.DepthwiseConv2DOptions,
    "CONV_3D": schema.Conv3DOptions,
    "TRANSPOSE_CONV": schema.TransposeConvOptions,
    "BATCH_MATMUL": None,
    "ADD": schema.AddOptions,
}
_JOINT = frozenset({"ADD", "CONCATENATION"})
_MOST_STEPS = 100


def choose_output(model: LiteModel, wanted: str | None) -> str:
    """The name of the output to score: the one that is wanted, or the only one.

    Raises:
      ConfigError: there is no output of that name, or there are several and none is named.
    """
    names = [output.name for output in model.outputs]
    if wanted in names or (wanted is None and len(names) == 1):
        return wanted or names[0]
    if wanted is None:
        raise ConfigError(f"{model.path} has the outputs {', '.join(names)}; name the one to score: output=…")
    raise ConfigError(f"{model.path} has no output {wanted!r}; it has {', '.join(names)}")


def gives_probabilities(content: bytes, output: str) -> bool | None:
    """Whether an output holds probabilities.

    Returns:
      True if it comes out of a softmax or a sigmoid, False if a linear operator makes it (these are logits), and None
      if neither can be said.

    Raises:
      ModelError: the content is no TFLite model.
    """
    raw = flatbuffer.parse(content)
    graph = raw.subgraphs[0]
    named = {pair for item in raw.signatures if item.subgraph == 0 for pair in item.outputs}
    found = [i for i in graph.outputs if (output, i) in named or output == graph.tensors[i].name]
    return _Makers(content, graph).kind(found[0], _MOST_STEPS) if found else None


class _Makers:
    """Follows a graph from a tensor back to the operators that make it."""

    def __init__(self, content: bytes, graph: RawSubgraph) -> None:
        self._content = content
        self._graph = graph
        self._makers = {tensor: number for number, op in enumerate(graph.ops) for tensor in op.outputs}
        self._known: dict[int, bool | None] = {}

    def kind(self, tensor: int, steps: int) -> bool | None:
        """As `gives_probabilities`, of any tensor; None for what lies more than so many operators back."""
        if tensor not in self._known:
            self._known[tensor] = None  # for a damaged file's loops
            if tensor in self._makers and steps:
                self._known[tensor] = self._by(self._makers[tensor], tensor, steps - 1)
        return self._known[tensor]

    def _by(self, number: int, tensor: int, steps: int) -> bool | None:
        op = self._graph.ops[number]
        if op.custom or not self._activates_nothing(number):
            return None
        if op.name in _PROBABILITIES:
            return True
        if op.name in _TRANSPARENT | _PARTS:
            whole = op.inputs[_DATA.get(op.name, 0)]
            kind = self.kind(whole, steps)
            return kind if kind or op.name in _TRANSPARENT or self._keeps_classes(whole, tensor) else None
        varying = [index for index in op.inputs if index >= 0 and not self._constant(index)]
        if op.name in _JOINT:
            kinds = {self.kind(index, steps) for index in varying}
            if kinds == {False}:
                return False
            # The sum of probabilities is none, nor is a constant put beside them.
            return True if op.name == "CONCATENATION" and kinds == {True} and len(varying) == len(op.inputs) else None
        return False if op.name in _LINEAR and len(varying) == 1 else None

    def _constant(self, tensor: int) -> bool:
        """Whether it is a constant, or one that is stored as float16 or integers."""
        op = self._graph.ops[self._makers[tensor]] if tensor in self._makers else None
        stored = op.inputs[0] if op and op.name == "DEQUANTIZE" else tensor
        return self._graph.tensors[stored].constant

    def _keeps_classes(self, whole: int, part: int) -> bool:
        """Whether the last dimension, that of classes, is as long as before: the part is of time or space."""
        shapes = [self._graph.tensors[index].shape for index in (whole, part)]
        return bool(shapes[0]) and shapes[0][-1:] == shapes[1][-1:]

    def _activates_nothing(self, number: int) -> bool:
        """Whether an operator has no activation fused into it, which would make something else of linear values."""
        kind = _LINEAR.get(self._graph.ops[number].name)
        if kind is None:
            return True
        try:
            table = schema.Model.GetRootAs(self._content, 0).Subgraphs(0).Operators(number).BuiltinOptions()
            if table is None:
                return True
            options = kind()
            options.Init(table.Bytes, table.Pos)
            return options.FusedActivationFunction() == schema.ActivationFunctionType.NONE
        except Exception:  # the generated accessors fail in whatever way damage leads to
            return False
