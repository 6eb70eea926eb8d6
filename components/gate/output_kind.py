"""Whether a model's output holds probabilities, read from the operator that computes it."""

from __future__ import annotations

from tfx_edge.errors import ConfigError
from tfx_edge.lite import flatbuffer
from tfx_edge.lite.inspect import LiteModel

# These pass values on, apart from rounding and shape.
_TRANSPARENT = frozenset({"QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "CAST"})
_PROBABILITIES = frozenset({"SOFTMAX", "LOGISTIC"})


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


def gives_probabilities(content: bytes, output: str) -> bool:
    """Whether the output comes out of a softmax or a sigmoid.

    Raises:
      ModelError: the content is no TFLite model.
    """
    raw = flatbuffer.parse(content)
    graph = raw.subgraphs[0]
    names = {index: name for item in raw.signatures if item.subgraph == 0 for name, index in item.outputs}
    index = next((i for i in graph.outputs if output in (names.get(i), graph.tensors[i].name)), graph.outputs[0])
    makers = {tensor: op for op in graph.ops for tensor in op.outputs}
    for _ in graph.ops:
        op = makers.get(index)
        if op is None or op.name not in _TRANSPARENT:
            return op is not None and op.name in _PROBABILITIES
        index = op.inputs[0]
    return False
