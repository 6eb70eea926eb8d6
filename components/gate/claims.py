"""What the steps that made a model say they did, held against what is in the file.

A later step may undo an earlier one without an error: training fills the zeros of a pruned model, a converter leaves
operators in float, a quantizer returns a model in which nothing was quantized. The recipe still says otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfx_edge.lite.compute import OpGroup
from tfx_edge.lite.flatbuffer import BITS
from tfx_edge.lite.inspect import LiteModel
from tfx_edge.lite.weights import WeightTensor

Step = Mapping[str, Any]

INTEGER_MODES = {"qat": "int8", "int8": "int8", "int16x8": "int16x8"}
_WEIGHT_MODES = {"dynamic_int8": "int8", "int4_weights": "int4", "float16": "float16"}
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
    if quantizer:
        yield _quantized(model, quantizer)
    if pruner:
        yield _pruned(model, pruner, quantizer)
        yield savings(model)
    if converter and names[names.index("LiteConverter") :].count("Quantizer") == 0:
        yield _converted(model, str(converter["recipe"].get("io_dtype", "float32")))


def called_integer(steps: Sequence[Step]) -> str | None:
    """The precision that a Quantizer among the steps promises for all operators; None if it promises none."""
    quantizer = _in_force([step for step in steps if _readable(step)]).get("Quantizer")
    if quantizer is None or (quantizer.get("result") or {}).get("float_layers"):
        return None
    return INTEGER_MODES.get(str(quantizer["recipe"].get("mode")))


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


def _quantized(model: LiteModel, step: Step) -> ContractCheck:
    mode = str(step["recipe"].get("mode"))
    floats = (step.get("result") or {}).get("float_layers")
    found = {"mode": mode, "precision": model.precision}
    if mode in INTEGER_MODES and not floats:
        problem = _not_integer(model, INTEGER_MODES[mode])
    elif mode in INTEGER_MODES:
        problem = _too_few(model, "int8", least=1e-9)
    elif mode in _WEIGHT_MODES:
        problem = _too_few(model, _WEIGHT_MODES[mode])
    else:
        problem = f"this mode is unknown here, which knows {', '.join([*INTEGER_MODES, *_WEIGHT_MODES])}"
    if problem:
        return ContractCheck("claimed_quantization", False, f"Quantizer recorded mode {mode!r}, but {problem}", found)
    kept = f"; layers that it left in float, as it recorded: {listed(floats)}" if floats else ""
    reason = f"Quantizer recorded mode {mode!r}, and the file is {model.precision!r}{kept}"
    return ContractCheck("claimed_quantization", True, reason, found)


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
    return f"{share:.0%} of the weights are {dtype}: {others}; quantize with another mode, or leave this step out"


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
    return "quantize with mode 'int8' and calibration examples, or 'qat', or do not call the model integer"


def _in_float(groups: Sequence[OpGroup], how: str) -> str:
    return f"{listed(groups)} {'computes' if len(groups) == 1 else 'compute'} in float{how}" if groups else ""


def _pruned(model: LiteModel, step: Step, quantizer: Step | None) -> ContractCheck:
    recipe, wanted = step["recipe"], step["recipe"].get("final_sparsity")
    if not isinstance(wanted, (int, float)):
        return ContractCheck("claimed_pruning", False, "Pruner recorded no final_sparsity; make the model again")
    layers = _claimed_layers(recipe, step.get("result") or {})
    sparse = [weight for weight in model.weights if weight.sparsity >= wanted - _TENSOR_TOLERANCE]
    found = {"sparsity": model.sparsity, "sparse_tensors": len(sparse)}
    record = f"Pruner recorded {wanted:.0%} zeros in {layers} layer{'s' * (layers != 1)}"
    if model.sparsity >= wanted - _MODEL_TOLERANCE or len(sparse) >= max(layers, 1):
        reason = f"{record}, and {model.sparsity:.0%} of all weights are zero"
        return ContractCheck("claimed_pruning", True, reason, found)
    densest = sorted(model.weights, key=lambda weight: weight.sparsity)
    tensors = listed((f"{w.name} {w.shape} has {w.sparsity:.0%}" for w in densest), 3) or "the file has no weights"
    remedy = "leave Pruner out"
    if quantizer and quantizer["recipe"].get("mode") == "qat" and not quantizer["recipe"].get("preserve_sparsity"):
        remedy = "set preserve_sparsity in the Quantizer with mode 'qat' after it, which filled the zeros again"
    elif quantizer is None:
        remedy = "let no step that trains come after Pruner, or leave it out"
    return ContractCheck(
        "claimed_pruning",
        False,
        f"{record}, but {model.sparsity:.0%} of all weights are zero: {tensors}; {remedy}",
        found,
    )


def _claimed_layers(recipe: Mapping[str, Any], result: Mapping[str, Any]) -> int:
    shares = result.get("sparsity")
    names = [str(name) for name in shares] if isinstance(shares, Mapping) else []
    try:
        return sum(1 for name in names if re.fullmatch(str(recipe.get("layers", ".*")), name))
    except re.error:
        return len(names)


def _converted(model: LiteModel, io_dtype: str) -> ContractCheck:
    unlike = [
        info
        for info in (*model.inputs, *model.outputs)
        if (info.dtype == "float32" if io_dtype != "float32" else info.scale is not None)
    ]
    found = [f"{info.name}: {info.dtype}" for info in (*model.inputs, *model.outputs)]
    if not unlike:
        return ContractCheck("claimed_io", True, f"LiteConverter recorded io_dtype {io_dtype!r}, as it is", found)
    tensors = listed(f"{info.name} is {info.dtype}" for info in unlike)
    reason = f"LiteConverter recorded io_dtype {io_dtype!r}, but {tensors}; convert the model again"
    return ContractCheck("claimed_io", False, reason, found)


def _dense_bytes(weight: WeightTensor) -> int:
    return -(-weight.elements * BITS[weight.dtype] // 8)
