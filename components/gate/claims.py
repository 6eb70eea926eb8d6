"""What the steps that made a model say they did, held against what is in the file.

A later step may undo an earlier one without an error: training fills the zeros of a pruned model, a converter leaves
operators in float, a quantizer returns a model in which nothing was quantized. The recipe still says otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfx_edge.errors import ConfigError
from tfx_edge.lite.compute import OpGroup
from tfx_edge.lite.flatbuffer import BITS
from tfx_edge.lite.inspect import LiteModel
from tfx_edge.lite.layers import layers
from tfx_edge.lite.weights import WeightTensor
from tfx_edge.quantization.recipe import CALIBRATED, Recipe

Step = Mapping[str, Any]

_WEIGHTS = {"dynamic_int8": "int8", "int4_weights": "int4", "int4_blockwise": "int4", "float16": "float16"}
_LEAST_SHARE = 0.5  # operators without a quantized kernel keep float weights; a step that reached fewer did not do it
_MODEL_TOLERANCE = 0.02
_TENSOR_TOLERANCE = 0.1  # a kernel that is split on conversion, as an LSTM's is, may have uneven parts


@dataclass(frozen=True)
class ContractCheck:
    """One rule, held against one file.

    Attributes:
      rule: short name of the rule, such as "flex_ops".
      passed: whether the file keeps to it.
      reason: one sentence that names the operator or tensor and, where it failed, the remedy.
      found: what is in the file, as JSON types.
    """

    rule: str
    passed: bool
    reason: str
    found: Any = None


def check_claims(model: LiteModel, steps: Sequence[Step]) -> Iterator[ContractCheck]:
    """Checks the last Quantizer, Pruner and LiteConverter among the steps; what came before a Distiller is void.

    Args:
      model: the inspected file.
      steps: ``{"component", "recipe", "result"}`` of each step, oldest first.
    """
    broken = [step for step in steps if not _readable(step)]
    if broken:
        reason = f"a recorded step has no component and recipe: {str(broken[0])[:100]}; make the model again"
        yield ContractCheck("steps", False, reason, len(broken))
        return
    names = [step["component"] for step in steps]
    last = _in_force(steps)
    quantizer, pruner, converter = (last.get(name) for name in ("Quantizer", "Pruner", "LiteConverter"))
    quantizing = _quantizing(last)
    if quantizing:
        yield _quantized(model, quantizing)
    if pruner and (zeros := _recorded_zeros(pruner)) is not None:
        yield _pruned(model, zeros, pruner, quantizer)
        yield savings(model)
    if converter and names[names.index("LiteConverter") :].count("Quantizer") == 0:
        recipe = recipe_in(converter["recipe"])
        yield _converted(model, recipe.io if recipe else "float32")


def called_integer(steps: Sequence[Step]) -> str | None:
    """The precision that the steps promise for all operators; None if it promises none."""
    step = _quantizing(_in_force([step for step in steps if _readable(step)]))
    if step is None or (step.get("result") or {}).get("float_layers"):
        return None
    recipe = recipe_in(step["recipe"])
    return recipe.precision if recipe and recipe.precisions == {recipe.precision} <= CALIBRATED else None


def recipe_in(config: Mapping[str, Any] | None) -> Recipe | None:
    """The recipe in a Quantizer's or a LiteConverter's configuration; None without one that is known here."""
    recorded = (config or {}).get("recipe")
    try:
        return Recipe.parse(dict(recorded)) if isinstance(recorded, Mapping) else None
    except ConfigError:
        return None


def savings(model: LiteModel) -> ContractCheck:
    """What zero weights really save, for the report: it always passes, since no figure of the gate counts zeros."""
    encoded = sum(_dense_bytes(weight) - weight.size_bytes for weight in model.weights)
    found = {
        "sparsity": model.sparsity,
        "file_bytes_saved": encoded,
        "size_bytes": model.size_bytes,
        "gzip_bytes": model.gzip_bytes,
    }
    reason = (
        f"{model.sparsity:.0%} of the weights are zero, which saves {encoded:,} bytes of the file "
        f"({'some weights are' if encoded else 'no weight is'} stored sparsely) and no time; zeros count after gzip: "
        f"{model.gzip_bytes:,} of {model.size_bytes:,} bytes"
    )
    return ContractCheck("pruning_savings", True, reason, found)


def listed(items: Iterable[object], most: int = 5) -> str:
    """The items as text, the first few only."""
    texts = [str(item) for item in items]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more


def _readable(step: Any) -> bool:
    return (
        isinstance(step, Mapping)
        and isinstance(step.get("component"), str)
        and isinstance(step.get("recipe"), Mapping)
        and isinstance(step.get("result") or {}, Mapping)
    )


def _in_force(steps: Sequence[Step]) -> dict[str, Step]:
    """The last step of each component; a Distiller's student owes nothing to what was done to its teacher."""
    last: dict[str, Step] = {}
    for step in steps:
        if step["component"] == "Distiller":
            last.clear()
        last[step["component"]] = step
    return last


def _quantizing(in_force: Mapping[str, Step]) -> Step | None:
    """The step that chose the precision: a Quantizer, or else a LiteConverter with a recipe."""
    converter = in_force.get("LiteConverter")
    return in_force.get("Quantizer") or (converter if converter and converter["recipe"].get("recipe") else None)


def _quantized(model: LiteModel, step: Step) -> ContractCheck:
    recipe = recipe_in(step["recipe"])
    floats = (step.get("result") or {}).get("float_layers")
    found = {"recipe": step["recipe"].get("recipe"), "precision": model.precision}
    if recipe is None:
        reason = f"{step['component']} recorded an unknown recipe: {str(found['recipe'])[:100]}; quantize again"
        return ContractCheck("claimed_quantization", False, reason, found)
    if recipe.overrides and recipe.preset != "qat_int8":
        problem = _unlike_recipe(model, recipe, (step.get("result") or {}).get("missed") or ())
    elif recipe.precision == "float32":
        problem = None
    elif recipe.precision not in CALIBRATED:
        problem = _too_few(model, _WEIGHTS[recipe.precision])
    elif floats:
        problem = _too_few(model, "int8", least=1e-9)
    else:
        problem = _not_integer(model, recipe.precision)
    record = f"{step['component']} recorded recipe {recipe.preset!r}"
    if problem:
        return ContractCheck("claimed_quantization", False, f"{record}, but {problem}", found)
    kept = f"; layers that it left in float, as it recorded: {listed(floats)}" if floats else ""
    reason = f"{record}, and the file is {model.precision!r}{kept}"
    return ContractCheck("claimed_quantization", True, reason, found)


def _unlike_recipe(model: LiteModel, recipe: Recipe, recorded: Iterable[str]) -> str | None:
    """What a recipe with overrides asks of single layers and they are not, but for those recorded as missed."""
    unlike = [
        f"{layer} is {layer.precision}, not {wanted}"
        for layer in layers(model.path)
        if layer.precision != (wanted := recipe.precision_of(layer.name))
        and (layer.elements or wanted in CALIBRATED)
        and layer.name not in recorded
    ]
    return f"{listed(unlike, 3)}; quantize again, or correct the overrides" if unlike else None


def _not_integer(model: LiteModel, precision: str) -> str | None:
    if model.precision == precision:
        return None
    problem = f"the file is {model.precision!r}"
    floats = computing_in_float(model)
    if floats:
        problem += f": {floats}"
    return f"{problem}; {float_remedy(model)}"


def _too_few(model: LiteModel, dtype: str, least: float = _LEAST_SHARE) -> str | None:
    elements = sum(weight.elements for weight in model.weights)
    reached = sum(weight.elements for weight in model.weights if weight.dtype == dtype)
    if elements and reached >= least * elements:
        return None
    largest = sorted((w for w in model.weights if w.dtype != dtype), key=lambda w: -w.elements)
    others = listed((f"{w.name} {w.shape} in {w.dtype}" for w in largest), 3) or "the file has no weight at all"
    share = reached / elements if elements else 0.0
    return f"{share:.0%} of the weights are {dtype}: {others}; quantize with another recipe, or leave this step out"


def computing_in_float(model: LiteModel) -> str:
    """The operators that compute in float, as text; empty if there are none."""
    return " and ".join(
        part
        for part in (_in_float(model.float_ops, ""), _in_float(model.hybrid_ops, " with quantized weights"))
        if part
    )


def float_remedy(model: LiteModel) -> str:
    """What to do about operators in float."""
    if model.float_islands:
        return (
            f"replace {listed(model.float_islands, 3)} by operators with an integer kernel, or move them off the model"
        )
    return "quantize with recipe 'int8' and calibration examples, or 'qat_int8', or do not call the model integer"


def _in_float(groups: Sequence[OpGroup], how: str) -> str:
    return f"{listed(groups)} {'computes' if len(groups) == 1 else 'compute'} in float{how}" if groups else ""


def _recorded_zeros(step: Step) -> list[float] | None:
    """The share of zeros of each layer that Pruner left some in, largest first; None where that was not its method."""
    result = step.get("result") or {}
    shares, layers = result.get("sparsity"), result.get("pruned")
    if not isinstance(shares, Mapping) or not isinstance(layers, Sequence):
        method = step["recipe"].get("method")
        return None if isinstance(method, Mapping) and method.get("kind") == "structured" else []
    known = [shares.get(layer) for layer in layers]
    found = sorted((float(share) for share in known if isinstance(share, (int, float))), reverse=True)
    return found or (None if layers == [] else [])


def _pruned(model: LiteModel, zeros: Sequence[float], step: Step, quantizer: Step | None) -> ContractCheck:
    if not zeros:
        return ContractCheck("claimed_pruning", False, "Pruner recorded no sparsity; make the model again")
    most, least, layers = zeros[0], zeros[-1], len(zeros)
    shares = sorted((weight.sparsity for weight in model.weights), reverse=True)
    reached = sum(
        share >= wanted - min(_TENSOR_TOLERANCE, wanted / 2) for share, wanted in zip(shares, zeros, strict=False)
    )
    found = {"sparsity": model.sparsity, "sparse_tensors": reached}
    asked = f"{most:.0%}" if f"{most:.0%}" == f"{least:.0%}" else f"{least:.0%} to {most:.0%}"
    record = f"Pruner recorded {asked} zeros in {layers} layer{'s' * (layers != 1)}"
    if model.sparsity >= most - min(_MODEL_TOLERANCE, most / 2) or reached == layers:
        reason = f"{record}, and {model.sparsity:.0%} of all weights are zero"
        return ContractCheck("claimed_pruning", True, reason, found)
    densest = sorted(model.weights, key=lambda weight: weight.sparsity)
    tensors = listed((f"{w.name} {w.shape} has {w.sparsity:.0%}" for w in densest), 3) or "the file has no weights"
    remedy = "leave Pruner out"
    recipe = recipe_in(quantizer and quantizer["recipe"])
    kept = (quantizer or step)["recipe"].get("preserve") or ()
    if recipe and recipe.preset == "qat_int8" and "sparsity" not in kept:
        remedy = "let the Quantizer with recipe 'qat_int8' after it, which filled the zeros again, preserve 'sparsity'"
    elif quantizer is None:
        remedy = "let no step that trains come after Pruner, or leave it out"
    return ContractCheck(
        "claimed_pruning",
        False,
        f"{record}, but {model.sparsity:.0%} of all weights are zero: {tensors}; {remedy}",
        found,
    )


def _converted(model: LiteModel, io_dtype: str) -> ContractCheck:
    unlike = [
        info
        for info in (*model.inputs, *model.outputs)
        if (info.scale is not None and info.dtype != io_dtype) or (info.dtype == "float32" != io_dtype)
    ]
    found = [f"{info.name}: {info.dtype}" for info in (*model.inputs, *model.outputs)]
    if not unlike:
        return ContractCheck(
            "claimed_io", True, f"LiteConverter recorded inputs and outputs of {io_dtype}, as they are", found
        )
    tensors = listed(f"{info.name} is {info.dtype}" for info in unlike)
    reason = f"LiteConverter recorded inputs and outputs of {io_dtype}, but {tensors}; convert the model again"
    return ContractCheck("claimed_io", False, reason, found)


def _dense_bytes(weight: WeightTensor) -> int:
    return -(-weight.elements * BITS[weight.dtype] // 8)
