"""Translates a recipe into the rules of litert-quantizer, layer by layer.

litert-quantizer applies the last rule whose pattern fits and silently leaves a layer in float where it has none that it
supports. So every layer is resolved beforehand: what was wanted, what can be had, and the reason when the two differ.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing  # noqa: F401  (litert_quantizer uses it without importing it)

from tfx_edge.errors import ModelError
from tfx_edge.lite.flatbuffer import RawModel
from tfx_edge.lite.layers import Layer
from tfx_edge.quantization.recipe import CALIBRATED, IoDtype, Precision, Recipe

_NEXT_BEST: dict[Precision, Precision] = {"int4_blockwise": "int4_weights", "int4_weights": "dynamic_int8"}
_ONE_SCALE = {
    "BATCH_MATMUL": CALIBRATED,  # with a scale for each channel its integer kernel computes zeros
    "GATHER": frozenset({"dynamic_int8"}),  # scales and zero points take 12 bytes a row, a third of a short one
}
_LISTED = 20


@dataclass(frozen=True)
class Plan:
    """What is going to happen to a layer.

    Attributes:
      layer: of the float model.
      wanted: what the recipe says.
      planned: what it is quantized to; None where it stays as it is.
      why: the reason when it does not get what is wanted, else "".
    """

    layer: Layer
    wanted: Precision
    planned: Precision | None
    why: str

    @property
    def missed(self) -> bool:
        """Whether it will not get what is wanted, and could have it: a layer without weights has none to shrink."""
        return bool(self.why) and (bool(self.layer.weights) or self.wanted in CALIBRATED)


def plan(
    layers: Sequence[Layer], recipe: Recipe, lookups: Collection[str] = (), outer: Collection[int] = (0,)
) -> tuple[Plan, ...]:
    """Resolves every layer.

    Args:
      layers: of the float model.
      recipe: what is wanted.
      lookups: names of the GATHER layers that can become EMBEDDING_LOOKUP.
      outer: the subgraphs that a caller can run; the others are loops and branches.

    Raises:
      ModelError: an override names no layer.
    """
    for override in recipe.overrides:
        if not any(override.matches(layer.name) for layer in layers):
            raise ModelError(
                f"the override {override.layers!r} names no layer; layers are {_listed(layers)} "
                "(tfx-edge inspect --layers lists them)"
            )

    def obstacle(layer: Layer, precision: Precision) -> str | None:
        if precision in CALIBRATED and layer.subgraph not in outer:
            return "it runs inside a loop or branch, whose values stay in float"
        op = "EMBEDDING_LOOKUP" if layer.name in lookups and precision not in CALIBRATED else layer.op
        return _obstacle(op, layer, precision, recipe.block_size)

    return tuple(_plan(layer, recipe.precision_of(layer.name), obstacle) for layer in layers)


def rules(plans: Iterable[Plan], model: RawModel, recipe: Recipe) -> list[dict[str, Any]]:
    """The rules that carry out the plans, in the form that ``litert_quantizer.Quantizer`` loads.

    Args:
      plans: of all layers.
      model: the parsed float file.
      recipe: says the type of inputs and outputs, and the size of blocks.
    """
    from litert_quantizer.recipe_manager import RecipeManager

    manager = RecipeManager()
    scopes: dict[tuple[Precision, bool], list[str]] = {}
    for step in plans:
        if step.planned is not None:
            one_scale = step.planned in _ONE_SCALE.get(step.layer.op, ())
            scopes.setdefault((step.planned, one_scale), []).append(_scope(step.layer.outputs))
    for (precision, one_scale), names in scopes.items():
        algorithm, config = _config(precision, recipe.block_size, one_scale)
        manager.add_quantization_config(_exactly(names), _operation("*"), config, algorithm)
    algorithm, config = _io_config(recipe.io)
    for operation, names in zip(("INPUT", "OUTPUT"), _edges(model), strict=True):
        manager.add_quantization_config(_exactly(names), _operation(operation), config, algorithm)
    return manager.get_quantization_recipe()


def _plan(layer: Layer, wanted: Precision, obstacle: Callable[[Layer, Precision], str | None]) -> Plan:
    if wanted == layer.precision:
        return Plan(layer, wanted, None, "")
    if wanted == "float32" or layer.precision not in {"float32", "float16"}:
        return Plan(layer, wanted, None, f"it is {layer.precision} in the input file")
    if wanted not in CALIBRATED and not layer.weights:
        return Plan(layer, wanted, None, "it holds no weights")
    choice: Precision | None = wanted
    reasons: list[str] = []
    while choice is not None:
        reason = obstacle(layer, choice)
        if reason is None:
            return Plan(layer, wanted, choice, "; ".join(reasons))
        reasons.append(reason)
        choice = _NEXT_BEST.get(choice)
    return Plan(layer, wanted, None, "; ".join(reasons))


def _obstacle(op: str, layer: Layer, precision: Precision, block_size: int) -> str | None:
    """Why a layer cannot have a precision, or None if it can."""
    operation = _operations().get(op)
    if operation is None or not _supported(operation, precision, block_size):
        return f"litert-quantizer knows no {precision} {op}"
    if precision == "int4_blockwise" and (odd := [w for w in layer.weights if w.shape[-1] % block_size]):
        return f"the {odd[0].shape[-1]} inputs of a channel do not divide into blocks of {block_size}"
    return None


@functools.cache
def _operations() -> dict[str, Any]:
    """Names of operators in the file to names in litert-quantizer."""
    from ai_edge_litert import schema_py_generated as schema
    from litert_quantizer.utils.tfl_flatbuffer_utils import TFL_OP_CODE_TO_NAME

    codes = {name: code for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    return {name: TFL_OP_CODE_TO_NAME[code] for name, code in codes.items() if code in TFL_OP_CODE_TO_NAME}


@functools.cache
def _supported(operation: Any, precision: Precision, block_size: int) -> bool:
    from litert_quantizer import algorithm_manager

    algorithm, config = _config(precision, block_size)
    try:
        algorithm_manager.check_op_quantization_config(algorithm, operation, config)
    except ValueError:
        return False
    return algorithm_manager.is_op_registered(algorithm, operation)


def _config(precision: Precision, block_size: int, one_scale: bool = False) -> tuple[str, Any]:
    """The algorithm and the configuration of operators in litert-quantizer; a scale for each channel, or one alone."""
    from litert_quantizer.algorithm_manager import AlgorithmName
    from litert_quantizer.qtyping import ComputePrecision, OpQuantizationConfig, QuantGranularity, TensorDataType
    from litert_quantizer.qtyping import TensorQuantizationConfig as Tensor

    if precision == "float16":
        half = Tensor(num_bits=16, dtype=TensorDataType.FLOAT)
        return AlgorithmName.FLOAT_CASTING, OpQuantizationConfig(
            weight_tensor_config=half, compute_precision=ComputePrecision.FLOAT, explicit_dequantize=True
        )
    bits = 4 if precision.startswith("int4") else 8
    granularity = QuantGranularity.TENSORWISE if one_scale else QuantGranularity.CHANNELWISE
    if precision == "int4_blockwise":
        granularity = QuantGranularity(f"BLOCKWISE_{block_size}")
    activation = None
    if precision in CALIBRATED:
        activation = Tensor(num_bits=16) if precision == "int16x8" else Tensor(num_bits=8, symmetric=False)
    return AlgorithmName.MIN_MAX_UNIFORM_QUANT, OpQuantizationConfig(
        activation_tensor_config=activation,
        weight_tensor_config=Tensor(num_bits=bits, granularity=granularity),
        compute_precision=ComputePrecision.INTEGER,
    )


def _io_config(dtype: IoDtype) -> tuple[str, Any]:
    """For the inputs and outputs, which litert-quantizer takes for operators with the scope of their tensors."""
    from litert_quantizer.algorithm_manager import AlgorithmName
    from litert_quantizer.qtyping import ComputePrecision, OpQuantizationConfig, QuantGranularity, TensorDataType
    from litert_quantizer.qtyping import TensorQuantizationConfig as Tensor

    if dtype == "float32":
        return AlgorithmName.NO_QUANTIZE, None
    kind = TensorDataType.UINT if dtype == "uint8" else TensorDataType.INT
    wide = dtype == "int16"
    return AlgorithmName.MIN_MAX_UNIFORM_QUANT, OpQuantizationConfig(
        activation_tensor_config=Tensor(num_bits=16 if wide else 8, symmetric=wide, dtype=kind),
        weight_tensor_config=Tensor(num_bits=8, granularity=QuantGranularity.CHANNELWISE),
        compute_precision=ComputePrecision.INTEGER,
    )


def _operation(name: str) -> Any:
    from litert_quantizer.qtyping import TFLOperationName

    return TFLOperationName(name)


def outer_subgraphs(model: RawModel) -> tuple[int, ...]:
    """The subgraphs that a caller can run: those of signatures, and the first."""
    return tuple(sorted({0, *(signature.subgraph for signature in model.signatures)}))


def _edges(model: RawModel) -> tuple[list[str], list[str]]:
    """Scopes of the inputs and of the outputs of every subgraph that a caller can run."""
    graphs = [model.subgraphs[number] for number in outer_subgraphs(model)]
    inputs = [_scope(graph.tensors[index].name for index in graph.inputs) for graph in graphs]
    outputs = [_scope(graph.tensors[index].name for index in graph.outputs) for graph in graphs]
    return inputs, outputs


def _scope(names: Iterable[str]) -> str:
    """What litert-quantizer matches a pattern with: the names of an operator's outputs, each ended by a semicolon."""
    return "".join(f"{name};" for name in names if name)[:10000]


def _exactly(scopes: Iterable[str]) -> str:
    return f"^(?:{'|'.join(map(re.escape, scopes))})$"


def _listed(layers: Sequence[Layer]) -> str:
    names = ", ".join(repr(layer.name) for layer in layers[:_LISTED])
    return names + (f" and {len(layers) - _LISTED} more" if len(layers) > _LISTED else "")
