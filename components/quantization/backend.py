"""Which of two quantizers does the post-training work of a recipe: TensorFlow's converter or litert-quantizer.

Both quantize the same operators with kernels of the same accuracy (docs/quantization.md has the measurements).
litert-quantizer needs no second conversion, knows int4, overrides and more calibration methods, so it comes first. The
converter takes what that would leave in float: recurrent layers above all, of which it alone learns the ranges of the
gates.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tfx_edge.errors import ModelError
from tfx_edge.lite import flatbuffer
from tfx_edge.quantization.quantize import foresee
from tfx_edge.quantization.recipe import Recipe

Backend = Literal["converter", "litert-quantizer"]

_LOOPS = frozenset({"WHILE", "IF"})  # the converter dies of a segmentation fault when it is to make one integer
_ENDLESS = frozenset({"UNIDIRECTIONAL_SEQUENCE_LSTM"})  # the converter never comes to an end when it is to halve one
_CONVERTER = frozenset({"float16", "dynamic_int8", "int8", "int16x8"})


def choose(path: Path, recipe: Recipe) -> Backend:
    """The quantizer that leaves fewer layers behind; litert-quantizer where both do as well, or it alone can.

    Args:
      path: the float ``.tflite``.
      recipe: what is asked.

    Raises:
      ModelError: an override names no layer, or neither can do it.
    """
    raw = flatbuffer.parse(path.read_bytes())
    behind = [plan for plan in foresee(path, recipe) if plan.missed]
    if converter_obstacle(recipe):
        return "litert-quantizer"
    if not behind and len(raw.signatures) == 1:
        return "litert-quantizer"
    if recipe.precision == "float16" and any(op.name in _ENDLESS for graph in raw.subgraphs for op in graph.ops):
        return "litert-quantizer"
    if recipe.calibrated and any(op.name in _LOOPS for graph in raw.subgraphs for op in graph.ops):
        raise ModelError(
            f"recipe {recipe.preset!r} asks for integers, but no quantizer gets into the loop of a recurrent layer: "
            "make it with unroll=True (a GRU with implementation=1, too), take an LSTM with a fixed batch, which is "
            "one operator, or take recipe 'dynamic_int8'"
        )
    return "converter"


def converter_obstacle(recipe: Recipe) -> str | None:
    """What a recipe asks that TensorFlow's converter cannot do, or None."""
    if recipe.overrides:
        return "overrides"
    if recipe.precision not in _CONVERTER:
        return f"precision {recipe.precision!r}"
    if recipe.calibrated and recipe.calibration.method != "min_max":
        return f"calibration method {recipe.calibration.method!r}"
    return None
