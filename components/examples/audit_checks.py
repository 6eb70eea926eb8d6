"""Each check of calibration data: copies, classes, range, scale, leakage from the eval split, stability.

A finding is made only where the data can tell: nothing is said of classes without labels, of the eval split where there
is none, or of a scale that is unusual but the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from tfx_edge.examples.audit_facts import Facts, Finding, with_zero
from tfx_edge.examples.eval_split import FeatureValues
from tfx_edge.quantization.calibration import Range

_MANY_COPIES = 0.05
_DATA_REPEATS = 0.2  # with so many copies among the drawn, the same example in both splits proves nothing
_SMALL_SHARE = 0.1  # of an even share of the sample
_FEW_OUTSIDE, _MANY_OUTSIDE = 0.001, 0.01
_OTHER_SCALE = 20.0
_SQUEEZED = 0.1  # any feature that was normalised or brought to [0, 1] spans more
_UNSTABLE_RATIO, _VERY_UNSTABLE_RATIO = 1.2, 2.0
_MANY_UNSTABLE, _MOST_UNSTABLE = 0.25, 0.5
_LISTED = 10


def _duplicates(facts: Facts) -> Iterator[Finding]:
    total = len(facts.prints)
    facts.figures["duplicates"] = facts.copies
    if facts.copies:
        yield Finding(
            "duplicates",
            "warning" if facts.copies >= _MANY_COPIES * total else "info",
            f"{facts.copies} of {total} calibration examples are copies of others, so that the ranges rest on "
            f"{total - facts.copies}: remove repeated examples from the training split, or draw more",
        )


def _classes(facts: Facts) -> Iterator[Finding]:
    seen, taken = facts.sample.seen, facts.sample.taken
    if not seen:
        return
    missing = sorted(set(seen) - set(taken))
    facts.figures["classes_missing"] = len(missing)
    if missing:
        yield Finding(
            "classes_missing",
            "warning",
            f"{len(missing)} of the {len(seen)} classes of the training split are not among the calibration examples "
            f"({_list(missing)}): draw at least {len(seen)} examples",
        )
    share = sum(taken.values()) / len(seen)
    rare = sorted((kind for kind in taken if taken[kind] < _SMALL_SHARE * share), key=lambda kind: taken[kind])
    if rare:
        yield Finding(
            "classes_rare",
            "info",
            f"{len(rare)} of {len(seen)} classes have fewer than a tenth of an even share of {share:.3g} calibration "
            f"examples, which is all that the training split has ({_list(f'{kind}: {taken[kind]}' for kind in rare)}): "
            "their activations may lie outside the ranges; add examples of them",
        )
    unknown = sorted(facts.split.classes - set(seen))
    if unknown:
        yield Finding(
            "classes_unknown",
            "warning",
            f"the eval split has {len(unknown)} classes that the training split lacks ({_list(unknown)}): nothing was "
            "calibrated for them; split the examples so that each class is in both",
        )


def _outside(facts: Facts) -> Iterator[Finding]:
    values = {name: values for name, values in facts.split.values.items() if values.count or values.not_finite}
    shares = {name: values.outside / max(values.count, 1) for name, values in values.items()}
    if shares:
        facts.figures["outside_range"] = max(shares.values())
    for name, share in shares.items():
        (low, high), found = facts.ranges[name], values[name]
        if share >= _FEW_OUTSIDE:
            yield Finding(
                "outside_range",
                "warning" if share >= _MANY_OUTSIDE else "info",
                f"{share:.2%} of the values of {name!r} in the eval split lie outside the calibrated range of "
                f"{low:.4g} to {high:.4g} and will be clipped (they go from {found.low:.4g} to {found.high:.4g}): draw "
                "more calibration examples, or take method 'min_max' if another one cut the range",
            )
        if found.not_finite:
            yield Finding(
                "not_finite",
                "warning",
                f"{found.not_finite} values of {name!r} in the eval split are NaN or infinite, for which there is no "
                "integer: give missing values a number in Transform",
            )


def _scale(facts: Facts) -> Iterator[Finding]:
    for name, own in facts.values.items():
        other = facts.split.values[name]
        if own.low == own.high and own.count > 1:
            varies = other.count and (other.low, other.high) != (own.low, own.high)
            yield Finding(
                "constant",
                "warning" if varies else "info",
                f"every value of {name!r} in the calibration examples is {own.low:.4g}"
                + (f", while in the eval split they go from {other.low:.4g} to {other.high:.4g}" if varies else "")
                + ": check what fills it, or leave the feature out of the model",
            )
            continue
        ratio = _ratio(own.mean_magnitude, other.mean_magnitude) if other.count else 1.0
        if ratio >= _OTHER_SCALE:
            yield Finding(
                "scale_differs",
                "warning",
                f"without their sign, the values of {name!r} average {own.mean_magnitude:.4g} in the calibration "
                f"examples and {other.mean_magnitude:.4g} in the eval split: one of these was scaled twice, or not at "
                "all; scale in Transform, which treats every split the same",
            )
        yield from _scaled_twice(name, own, facts)


def _scaled_twice(name: str, own: FeatureValues, facts: Facts) -> Iterator[Finding]:
    scaled = facts.calibrated.inputs[name].scaled
    if scaled and scaled[1] - scaled[0] <= _SQUEEZED * min(1.0, own.high - own.low):
        yield Finding(
            "scaled_twice",
            "warning",
            f"{name!r} goes from {own.low:.4g} to {own.high:.4g}, and the model's own scaling turns that into "
            f"{scaled[0]:.4g} to {scaled[1]:.4g}: it was probably scaled before; scale in Transform or in the model, "
            "not in both",
        )
    elif own.low >= 0 and 0.5 / 255 < own.high <= 1.001 / 255 and _all_whole(name, 255 * 255, facts):
        yield Finding(
            "scaled_twice",
            "warning",
            f"{name!r} goes from {own.low:.4g} to {own.high:.4g} in multiples of 1/255²: bytes were divided by "
            "255 twice; do so once",
        )


def _all_whole(name: str, factor: int, facts: Facts) -> bool:
    values = np.concatenate([features[name].reshape(-1) for features in facts.sample.examples]).astype(np.float64)
    return bool(np.all(np.abs(values * factor - np.rint(values * factor)) < 0.02))


def _leakage(facts: Facts) -> Iterator[Finding]:
    if not facts.split.examples:
        return
    found = facts.split.repeated
    leaked = sum(fingerprint in found for fingerprint in facts.prints)
    facts.figures["leaked"] = leaked
    if leaked:
        total = len(facts.prints)
        other = sum(not found.get(fingerprint, True) for fingerprint in facts.prints)
        yield Finding(
            "leaked",
            "info" if facts.copies >= _DATA_REPEATS * total else "warning",
            f"{leaked} of {total} calibration examples are also in the eval split"
            + (f", {other} of them with another label" if other else "")
            + ": the accuracy measured there is no evidence of new data; split the examples by a key that such "
            "examples share",
        )


def _stability(facts: Facts) -> Iterator[Finding]:
    first, second = facts.calibrated.halves
    ratios = {name: _ratio(_width(first[name]), _width(second[name])) for name in first if name in second}
    if not ratios:
        return
    unstable = [name for name, ratio in ratios.items() if ratio > _UNSTABLE_RATIO]
    worst = max(ratios, key=lambda name: ratios[name])
    share = len(unstable) / len(ratios)
    facts.figures["unstable"] = share
    if np.isfinite(ratios[worst]):
        facts.figures["unstable_worst"] = ratios[worst]
    if share >= _MANY_UNSTABLE or ratios[worst] >= _VERY_UNSTABLE_RATIO:
        yield Finding(
            "unstable",
            "warning" if share >= _MOST_UNSTABLE else "info",
            f"calibrated on either half of the examples, the ranges of {len(unstable)} of {len(ratios)} tensors differ "
            f"by more than {_UNSTABLE_RATIO - 1:.0%}, most that of {worst!r} ({_text(first[worst])} and "
            f"{_text(second[worst])}): draw more examples, or take method 'percentile' where rare values decide",
        )


def _width(ends: Range) -> float:
    low, high = with_zero(ends)
    return high - low


def _ratio(one: float, other: float) -> float:
    """The greater by the lesser; infinity where one alone is 0."""
    low, high = sorted((one, other))
    return high / low if low else float("inf") if high else 1.0


def _text(ends: Range) -> str:
    return f"{ends[0]:.4g} to {ends[1]:.4g}"


def _list(items: Iterable[Any]) -> str:
    texts = [str(item) for item in items]
    more = f" and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return ", ".join(texts[:_LISTED]) + more


CHECKS = (_duplicates, _classes, _outside, _scale, _leakage, _stability)
