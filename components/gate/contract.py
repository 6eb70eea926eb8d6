"""What a target takes and what it does not: rules on the inside of a ``.tflite``, whatever its figures are.

    {"precision": "int8", "input_dtypes": ["int8"], "output_dtypes": ["int8"], "ops": ["CONV_2D", "FULLY_CONNECTED"]}

Some rules need no configuration: no Flex or unknown custom operators, no float operators in a model that is called
integer, a description that belongs to the file, and steps that did what they recorded. Size, time, memory and the
tensor arena are thresholds and not found here.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from tfx_edge.config import Config
from tfx_edge.gate import claims
from tfx_edge.gate.claims import ContractCheck, listed
from tfx_edge.lite.flatbuffer import BITS
from tfx_edge.lite.inspect import LiteModel, TensorInfo

_ACTIVATIONS = ("int8", "uint8", "int16")
INTEGER_PRECISIONS = (*_ACTIVATIONS, *(f"{activation}x{bits}" for activation in _ACTIVATIONS for bits in (2, 4, 8)))
PRECISIONS = (
    *("float32", "dynamic int8", "dynamic uint8"),
    *(f"{dtype} weights" for dtype in ("float16", "bfloat16", "int8", "int4", "int2")),
    *INTEGER_PRECISIONS,
)


class Contract(Config):
    """The rules of one target; those that are left out are not checked.

    Attributes:
      precision: the label that ``tfx-edge inspect`` must give, such as "int8".
      allow_flex: accept operators that need TensorFlow's own kernels (the Flex delegate).
      allow_custom: the custom operators that the target's runtime has.
      ops: the builtin operators that the target has, by name.
      input_dtypes: types that inputs may have.
      output_dtypes: types that outputs may have.
      weight_dtypes: types that constants may have, biases and shapes included.
      max_float_ops: how many operators may compute in float, those with quantized weights included.
      sparsity_min: the least share of zero weights.
    """

    precision: str | None = None
    allow_flex: bool = False
    allow_custom: tuple[str, ...] = ()
    ops: tuple[str, ...] | None = None
    input_dtypes: tuple[str, ...] | None = None
    output_dtypes: tuple[str, ...] | None = None
    weight_dtypes: tuple[str, ...] | None = None
    max_float_ops: int | None = Field(default=None, ge=0)
    sparsity_min: float | None = Field(default=None, gt=0, le=1)

    @field_validator("precision")
    @classmethod
    def _is_a_label(cls, value: str | None) -> str | None:
        if value is not None and value not in PRECISIONS:
            raise ValueError(f"no such precision; there are {', '.join(PRECISIONS)}")
        return value

    @field_validator("input_dtypes", "output_dtypes", "weight_dtypes")
    @classmethod
    def _are_dtypes(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        unknown = [dtype for dtype in value or () if dtype not in BITS]
        if unknown or value == ():
            raise ValueError(f"name at least one type of {', '.join(BITS)}")
        return value

    @field_validator("ops")
    @classmethod
    def _are_operators(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        from ai_edge_litert.schema_py_generated import BuiltinOperator

        unknown = [name for name in value or () if not hasattr(BuiltinOperator, name) or name.startswith("_")]
        if unknown or value == ():
            raise ValueError(
                f"name builtin operators as tfx-edge inspect shows them, such as CONV_2D; unknown: {listed(unknown)}"
            )
        return value


def read_description(model_path: str | Path) -> dict[str, Any] | None:
    """What ``edge.json`` beside a model says; None if it is missing or no JSON object."""
    try:
        described = json.loads(Path(model_path).with_name("edge.json").read_text())
    except (OSError, ValueError):
        return None
    return described if isinstance(described, dict) else None


def check_contract(
    model: LiteModel, contract: Contract, steps: Sequence[Mapping[str, Any]], described: Mapping[str, Any] | None
) -> list[ContractCheck]:
    """Checks a file against a contract, and against what is recorded about it.

    Args:
      model: the inspected file.
      contract: the rules of the target.
      steps: the steps that made it, oldest first: ``steps`` of its description.
      described: its description (`read_description`), or None if it cannot be read.

    Returns:
      A result for each rule that applies, passed or not.
    """
    return [*_description(model, described), *claims.check_claims(model, steps), *_rules(model, contract, steps)]


def check_baseline(model: LiteModel, described: Mapping[str, Any] | None) -> list[ContractCheck]:
    """Checks that a baseline is the file that is recorded, if anything is; a changed one would loosen bounds."""
    recorded = (described or {}).get("sha256")
    if recorded is None:
        return []
    told = "the baseline is the file that its edge.json describes", "the baseline's edge.json"
    return [_is_recorded("baseline_sha256", model, recorded, *told, remedy="take the one that was made")]


def _is_recorded(
    rule: str, model: LiteModel, recorded: object, same: str, description: str, *, remedy: str
) -> ContractCheck:
    passed = recorded == model.sha256
    reason = (
        f"{same} (sha256 {model.sha256[:12]}…)"
        if passed
        else f"{description} describes a file of sha256 {str(recorded)[:12]}…, but this one has "
        f"{model.sha256[:12]}…: it was changed after it was made; {remedy}"
    )
    return ContractCheck(rule, passed, reason, model.sha256)


def _description(model: LiteModel, described: Mapping[str, Any] | None) -> Iterator[ContractCheck]:
    if described is None:
        reason = (
            "edge.json beside the model is missing or no JSON object, so nobody can tell how the model was made; "
            "make it with LiteConverter or Quantizer"
        )
        yield ContractCheck("edge_json", False, reason)
        return
    missing = [key for key in ("sha256", "steps") if key not in described]
    if missing or not isinstance(described["steps"], list):
        reason = f"edge.json has no usable {' and '.join(missing) or 'steps'}; make the model with LiteConverter"
        yield ContractCheck("edge_json", False, reason)
        return
    yield ContractCheck("edge_json", True, "edge.json describes the model")
    told = "the file is the one that edge.json describes", "edge.json"
    yield _is_recorded("sha256", model, described["sha256"], *told, remedy="run the last step again")


def _rules(model: LiteModel, contract: Contract, steps: Sequence[Mapping[str, Any]]) -> Iterator[ContractCheck]:
    yield _flex(model, contract.allow_flex)
    yield _custom(model, contract.allow_custom)
    called = contract.precision if contract.precision in INTEGER_PRECISIONS else claims.called_integer(steps)
    if called:
        yield _islands(model, called)
    if contract.precision is not None:
        yield _precision(model, contract.precision)
    if contract.ops is not None:
        yield _ops(model, contract.ops)
    if contract.input_dtypes is not None:
        yield _edges("input_dtypes", model.inputs, contract.input_dtypes)
    if contract.output_dtypes is not None:
        yield _edges("output_dtypes", model.outputs, contract.output_dtypes)
    if contract.weight_dtypes is not None:
        yield _weights(model, contract.weight_dtypes)
    if contract.max_float_ops is not None:
        yield _float_ops(model, contract.max_float_ops)
    if contract.sparsity_min is not None:
        yield _sparsity(model, contract.sparsity_min)


def _flex(model: LiteModel, allowed: bool) -> ContractCheck:
    names = [op.name for op in model.flex_ops]
    if not names:
        return ContractCheck("flex_ops", True, "no operator needs TensorFlow's kernels", names)
    reason = f"{listed(model.flex_ops)} need{'s' * (len(names) == 1)} TensorFlow's kernels (the Flex delegate)"
    if allowed:
        return ContractCheck("flex_ops", True, f"{reason}, which the contract allows", names)
    remedy = "replace what it computes by TFLite's builtin operators, or set allow_flex if the target has the delegate"
    return ContractCheck("flex_ops", False, f"{reason}; {remedy}", names)


def _custom(model: LiteModel, allowed: Iterable[str]) -> ContractCheck:
    unknown = [op.name for op in model.custom_ops if op.name not in set(allowed)]
    if not unknown:
        return ContractCheck("custom_ops", True, "no custom operator that the contract does not name", unknown)
    reason = f"custom operator {listed(unknown)}: replace it, or name it in allow_custom if the target's runtime has it"
    return ContractCheck("custom_ops", False, reason, unknown)


def _islands(model: LiteModel, called: str) -> ContractCheck:
    floats = claims.computing_in_float(model)
    names = [op.name for op in (*model.float_ops, *model.hybrid_ops)]
    if not floats:
        return ContractCheck("float_islands", True, f"no operator of a model called {called} computes in float", names)
    reason = f"the model is called {called}, but {floats}; {claims.float_remedy(model)}"
    return ContractCheck("float_islands", False, reason, names)


def _precision(model: LiteModel, wanted: str) -> ContractCheck:
    if model.precision == wanted:
        return ContractCheck("precision", True, f"the model is {wanted}", model.precision)
    weights = ", ".join(f"{size:,} bytes of {dtype}" for dtype, size in model.weight_bytes_by_dtype.items())
    reason = f"the model is {model.precision} (constants: {weights}), not {wanted}; choose the Quantizer recipe for it"
    return ContractCheck("precision", False, reason, model.precision)


def _ops(model: LiteModel, allowed: Iterable[str]) -> ContractCheck:
    names = dict.fromkeys(op.name for graph in model.subgraphs for op in graph.ops if not op.custom)
    missing = [name for name in names if name not in set(allowed)]
    if not missing:
        return ContractCheck("ops", True, "the target has every builtin operator of the model", list(names))
    reason = f"the target has no {listed(missing)}: change the layers that become these, or name them in ops"
    return ContractCheck("ops", False, reason, list(names))


def _edges(rule: str, infos: Iterable[TensorInfo], allowed: Sequence[str]) -> ContractCheck:
    found = {info.name: info.dtype for info in infos}
    others = [f"{name} is {dtype}" for name, dtype in found.items() if dtype not in allowed]
    if not others:
        return ContractCheck(rule, True, f"all are {' or '.join(allowed)}", found)
    remedy = "choose another io_dtype in the recipe of Quantizer or LiteConverter"
    return ContractCheck(rule, False, f"{listed(others)}, not {' or '.join(allowed)}; {remedy}", found)


def _weights(model: LiteModel, allowed: Sequence[str]) -> ContractCheck:
    found = dict(model.weight_bytes_by_dtype)
    others = [f"{size:,} bytes in {dtype}" for dtype, size in found.items() if dtype not in allowed]
    if not others:
        return ContractCheck("weight_dtypes", True, f"all constants are {' or '.join(allowed)}", found)
    tensors = [
        f"{w.name} {w.shape}" for w in sorted(model.weights, key=lambda w: -w.size_bytes) if w.dtype not in allowed
    ]
    which = f" ({listed(tensors, 3)})" if tensors else " (biases, factors or shapes)"
    reason = f"{listed(others)}{which}, not {' or '.join(allowed)}; choose another Quantizer recipe, or allow the type"
    return ContractCheck("weight_dtypes", False, reason, found)


def _float_ops(model: LiteModel, most: int) -> ContractCheck:
    count = sum(op.count for op in (*model.float_ops, *model.hybrid_ops))
    if count <= most:
        return ContractCheck("max_float_ops", True, f"{count} operators compute in float, at most {most} may", count)
    reason = f"{count} operators compute in float, more than {most}: {claims.computing_in_float(model)}"
    return ContractCheck("max_float_ops", False, f"{reason}; {claims.float_remedy(model)}", count)


def _sparsity(model: LiteModel, least: float) -> ContractCheck:
    share = model.sparsity
    if share >= least:
        return ContractCheck("sparsity_min", True, f"{share:.1%} of the weights are zero, at least {least:.1%}", share)
    densest = listed((f"{w.name} has {w.sparsity:.0%}" for w in sorted(model.weights, key=lambda w: w.sparsity)), 3)
    reason = f"{share:.1%} of the weights are zero, less than {least:.1%} ({densest}); raise Pruner's final_sparsity"
    return ContractCheck("sparsity_min", False, reason, share)
