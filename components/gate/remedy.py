"""What to try next when a model is not blessed: one sentence for each constraint that binds.

The advice is a table by what was bounded and by what was already done, cheapest recipe first. Its figures come from
digits and MobileNet models measured with this package; they say where to look, not what will happen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfx_edge.gate.claims import listed, recipe_in
from tfx_edge.quantization.recipe import Recipe

Check = Mapping[str, Any]

_BITS_BY_PRESET = {"dynamic_int8": 8, "int4_weights": 4}  # weights after it, from the cheapest recipe on
_NOTE = {"dynamic_int8": "or 'int8', of the same size", "int4_weights": "with activations in float"}
_MILDER = {
    "int4_weights": "Quantizer recipe 'dynamic_int8' keeps 8 bits of each weight",
    "dynamic_int8": "Quantizer recipe 'float16' keeps nearly all of each weight, at twice the size",
    "int8": "Quantizer recipe 'qat_int8' before LiteConverter learns to live with the rounding; 'int16x8' keeps finer "
    "activations, but is 25 times slower on x86",
    "int16x8": "Quantizer recipe 'dynamic_int8' keeps activations in float",
    "qat_int8": "train the Quantizer with recipe 'qat_int8' for more epochs, or use 'int16x8', which is 25 times "
    "slower on x86",
    "float16": "float16 weights lose next to nothing, so look at the float model: retrain it",
}
_FASTER = {
    "float32": "Quantizer recipe 'int8' computes in integers",
    "float16 weights": "Quantizer recipe 'int8' computes in integers; float16 weights are computed with in float",
    "dynamic int8": "Quantizer recipe 'int8' spares the activations the way between float and integers",
    "int8 weights": "Quantizer recipe 'int8' computes in integers; int8 weights alone are computed with in float",
    "int4 weights": "Quantizer recipe 'int8' computes in integers; int4 weights alone are computed with in float",
    "int16x8": "Quantizer recipe 'int8' is 25 times faster on x86 than int16x8",
    "mixed": "make the whole model integer: operators in float cost conversions on both sides",
}
_CONTRACT = {
    "flex_ops": "replace {flex} by what TFLite's builtin operators can compute",
    "custom_ops": "replace {custom}, or name it in allow_custom if the target's runtime has it",
    "float_islands": "replace {floats} by operators with an integer kernel, or quantize with recipe 'int8' or "
    "'qat_int8'",
    "claimed_quantization": "choose a Quantizer recipe that the model's operators have kernels for, or leave it out",
    "precision": "choose the Quantizer recipe that gives the wanted precision",
    "ops": "change the layers that become operators which the target lacks",
    "edge_json": "make the model with LiteConverter or Quantizer, and keep edge.json beside it",
    "sha256": "run the last step again: the file was changed after it was made",
    "baseline_sha256": "give the baseline as it was made: its file was changed afterwards",
    "claimed_pruning": "let a 'qat_int8' Quantizer after Pruner preserve 'sparsity', or leave Pruner out",
    "sparsity_min": "raise Pruner's final_sparsity; zeros save bytes only after gzip, and no time",
}
_PRUNE_LESS = {
    "magnitude": "lower Pruner's final_sparsity from {final_sparsity}, prune with ranking 'global', or train it",
    "clusters": "raise Pruner's number of clusters from {number}, or train it",
    "structured": "lower Pruner's amount from {amount}, prune in more rounds, or train it",
}
_CONSEQUENCES = ("claimed_quantization", "precision")  # of operators in float, where there are any
_SAMPLED = {"latency": "a longer time budget", "quality": "more evaluation examples"}
_MOST_WIDTHS = 100  # an interval this much wider than its distance to the limit takes 10,000 times the samples
_NARROWER = (
    "remove channels (Pruner's method 'structured') or distill into a narrower student (Distiller), in widths that are "
    "multiples of 8 or 16, XNNPACK's steps"
)


@dataclass(frozen=True)
class _Known:
    """What is known about the model."""

    inspection: Mapping[str, Any]
    steps: Sequence[Mapping[str, Any]]
    operators: Sequence[Mapping[str, Any]] = field(default_factory=tuple)

    @property
    def precision(self) -> str:
        return str(self.inspection.get("precision", ""))

    def recipe(self, component: str) -> Mapping[str, Any] | None:
        """The recipe of the last step of a component; empty where it is not readable."""
        for step in reversed(self.steps):
            if isinstance(step, Mapping) and step.get("component") == component:
                recipe = step.get("recipe")
                return recipe if isinstance(recipe, Mapping) else {}
        return None

    @property
    def quantization(self) -> Recipe | None:
        """The recipe by which the model was quantized; None where it was not, or by one that is not known here."""
        configs = (self.recipe(component) for component in ("Quantizer", "LiteConverter"))
        return next((found for found in map(recipe_in, configs) if found), None)


def remedy(
    checks: Iterable[Check],
    inspection: Mapping[str, Any] | None = None,
    steps: Sequence[Mapping[str, Any]] = (),
    operators: Sequence[Mapping[str, Any]] | None = None,
) -> str | None:
    """Says what to try next.

    Args:
      checks: the checks of a verdict as in ``report.json``; those that passed do not count.
      inspection: ``LiteModel.to_dict()`` of the candidate.
      steps: the steps that made it, oldest first.
      operators: its operators with ``name`` and ``time_ms``, where they were profiled.

    Returns:
      Sentences, failures first, each topic once; None if there is nothing to advise.
    """
    known = _Known(inspection or {}, steps, operators or ())
    binding = sorted((c for c in checks if c["outcome"] != "pass"), key=lambda check: check["outcome"] != "fail")
    topics: dict[str, list[Check]] = {}
    for check in binding:
        topics.setdefault(_topic(check), []).append(check)
    if "contract float_islands" in topics:
        topics = {topic: group for topic, group in topics.items() if topic.split()[-1] not in _CONSEQUENCES}
    sentences = [_sentence(topic, group, known) for topic, group in topics.items()]
    return " ".join(dict.fromkeys(sentence for sentence in sentences if sentence)) or None


def _topic(check: Check) -> str:
    metric = str(check["metric"])
    if check["kind"] == "contract":
        return f"contract {'float_islands' if metric == 'max_float_ops' else metric}"
    if metric in ("size_bytes", "gzip_bytes"):
        return metric
    if metric.startswith("latency_"):
        return "latency"
    if metric == "output_difference":
        return metric
    return "memory" if metric.endswith("_bytes") else "quality"


def _sentence(topic: str, checks: Sequence[Check], known: _Known) -> str | None:
    if topic.startswith("contract "):
        return _contract(topic.removeprefix("contract "), known)
    checks = sorted(
        (check for check in checks if check.get("value") is not None),  # without a figure, its reason says why
        key=lambda check: (check["outcome"] == "fail", _overshoot(check)),
        reverse=True,
    )
    if not checks:
        return None
    worst = checks[0]
    label, advise = _ADVICE[topic]
    advice = f"{label}: {advise(checks, known)}."
    if worst["outcome"] == "fail":
        return advice
    more = _more_samples(topic, worst)
    return f"{more} {advice}" if more and _overshoot(worst) > 0 else more or advice


def _contract(rule: str, known: _Known) -> str | None:
    names = {
        key: listed(dict.fromkeys(str(op["name"]) for kind in kinds for op in known.inspection.get(kind, ())))
        for key, kinds in {
            "flex": ["flex_ops"],
            "custom": ["custom_ops"],
            "floats": ["float_ops", "hybrid_ops"],
        }.items()
    }
    if rule not in _CONTRACT:
        return None
    return f"Contract: {_CONTRACT[rule].format(**{key: text or 'the operators' for key, text in names.items()})}."


def _more_samples(topic: str, check: Check) -> str | None:
    """Asks for what decides; None where no number of samples does."""
    value, limit = float(check["value"]), check["limit"]
    if topic == "memory" and value <= limit:  # the figure is the most of all processes: more of them never lower it
        return f"{check['metric']}: give it a longer time budget, for more processes, to tell it from its limit."
    if topic not in _SAMPLED:
        return None
    bound = check.get("low") if value > limit else check.get("high")
    gap = abs(value - limit)
    widths = abs(bound - value) / gap if bound is not None and gap else math.inf
    if not widths < _MOST_WIDTHS:
        return f"{check['metric']}: the figure is too close to its limit for any number of samples; move the limit."
    # Where no example errs or differs (0 or 1 exactly), widths are those of the rule of three and shrink with 1 / n.
    power = 1 if topic == "quality" and value in (0, 1) else 2
    times = max(2, math.ceil(round(widths**power, 6)))
    return f"{check['metric']}: give it {_SAMPLED[topic]}, about {times:,} times as much, to tell it from its limit."


def _smaller(checks: Sequence[Check], known: _Known) -> str:
    check = checks[0]
    size, compressed = float(check["value"]), check["metric"] == "gzip_bytes"
    if check["kind"] == "max_ratio":
        size = float(known.inspection.get(check["metric"], math.nan))
        limit = size * check["limit"] / check["value"] if check["value"] else 0.0
    else:
        limit = check["limit"]
    weights = known.inspection.get("weights") or ()
    for preset, bits in _BITS_BY_PRESET.items():
        spared = sum(w["size_bytes"] - min(w["size_bytes"], math.ceil(w["elements"] * bits / 8)) for w in weights)
        if spared and size - spared <= limit:
            return f"Quantizer recipe '{preset}' ({_NOTE[preset]}) would spare about {spared:,} bytes, which is enough"
    if compressed and known.recipe("Pruner") is None:
        return "Pruner with final_sparsity 0.5 before conversion: zeros compress, and a 'qat_int8' Quantizer keeps them"
    quantized = any(w["quantized"] for w in weights)
    first = "" if quantized or not weights else "Quantizer alone is not enough; "
    return f"{first}{_NARROWER}"


def _milder(checks: Sequence[Check], known: _Known) -> str:
    advice = []
    pruner, recipe = known.recipe("Pruner"), known.quantization
    if pruner:
        method = pruner.get("method")
        method = method if isinstance(method, Mapping) else {}
        less = _PRUNE_LESS.get(str(method.get("kind")), _PRUNE_LESS["magnitude"])
        advice.append(
            f"{less.format(**{'final_sparsity': 0.5, 'number': 16, 'amount': 0.5, **method})}, for more epochs"
        )
    milder = recipe and _MILDER.get("qat_int8" if recipe.preset == "qat_int8" else recipe.precision)
    if milder:
        advice.append(milder)
    if not advice and known.recipe("Distiller") is not None:
        advice.append("distill into a wider student, or for more epochs")
    if not advice:
        advice.append("no step has cost any quality that a milder one could save: retrain the float model")
    where = next((check["slice"] for check in checks if check.get("slice")), None)
    if where:
        named = ", ".join(f"{feature}={value}" for feature, value in where.items())
        advice.append(f"the worst slice is {named}: more training examples of it, or calibration examples from it")
    return "; ".join(advice)


def _faster(_: Sequence[Check], known: _Known) -> str:
    advice = [_FASTER.get(known.precision, _NARROWER)]
    timed = [op for op in known.operators if op.get("time_ms")]
    if timed:
        slowest, total = max(timed, key=lambda op: op["time_ms"]), sum(op["time_ms"] for op in timed)
        share = slowest["time_ms"] / total
        advice.append(
            f"{slowest['name']} takes {share:.0%} of the time on this machine, so start with the layers that become it"
        )
    pruner = known.recipe("Pruner")
    if pruner is not None:
        method = pruner.get("method")
        structured = isinstance(method, Mapping) and method.get("kind") == "structured"
        advice.append(
            "raise Pruner's amount" if structured else "zeros give no speed: Pruner's method 'structured' does"
        )
    return "; ".join(advice)


def _closer(_: Sequence[Check], known: _Known) -> str:
    return (
        "the target's kernels compute otherwise than this machine's: see whether its delegate does (kernel 'builtin' "
        "has none), or bound the difference by a few steps of the output's scale"
    )


def _leaner(_: Sequence[Check], known: _Known) -> str:
    if known.precision in _FASTER and known.precision != "int16x8":
        return "Quantizer recipe 'int8' takes a quarter of the memory for activations"
    return f"narrow the first layers, whose activations are the largest, or {_NARROWER}"


def _overshoot(check: Check) -> float:
    value, limit = check.get("value"), check.get("limit")
    if value is None or limit is None or not math.isfinite(value):
        return 0.0
    excess = limit - value if check["kind"] == "min" else value - limit
    return excess / abs(limit) if limit else excess


_ADVICE: dict[str, tuple[str, Callable[[Sequence[Check], _Known], str]]] = {
    "size_bytes": ("Size", _smaller),
    "gzip_bytes": ("Compressed size", _smaller),
    "latency": ("Latency", _faster),
    "memory": ("Memory", _leaner),
    "quality": ("Quality", _milder),
    "output_difference": ("Outputs", _closer),
}
