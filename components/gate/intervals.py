"""One-sided confidence bounds of what a sample of examples tells about all examples.

Every bound is one-sided: the true figure is above ``low`` with the confidence that is asked for, and below ``high``
with the same. Methods are chosen for small error rates and rare disagreement, where the usual ones pretend: an interval
never has width zero because a sample happened to hold no mistake.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from scipy import stats

from tfx_edge.errors import DataError
from tfx_edge.gate.estimate import Estimate

MIN_EXAMPLES = 30
MIN_RESAMPLES = 1000
MAX_RESAMPLES = 10_000
# A quantile needs about this many resamples beyond it.
TAIL_RESAMPLES = 20
_JACKKNIFE_GROUPS = 100

Statistic = Callable[[np.ndarray], float]


def proportion(hits: int, examples: int, confidence: float) -> Estimate:
    """The share of all examples that are hits: Clopper and Pearson (1934), which never covers less than it says.

    The score interval of Wilson is shorter, but one-sided, and near 0 and 1, it covers less than it says (Cai, 2005).

    Raises:
      DataError: there are no examples.
    """
    if examples < 1:
        raise DataError("there are no examples to estimate a proportion from")
    tail = 1 - confidence
    low = float(stats.beta.ppf(tail, hits, examples - hits + 1)) if hits > 0 else 0.0
    high = float(stats.beta.isf(tail, hits + 1, examples - hits)) if hits < examples else 1.0
    return Estimate(hits / examples, low, high, examples, "examples")


def paired_difference(only_first: int, only_second: int, examples: int, confidence: float) -> Estimate:
    """How much larger a share of all examples hits under a first treatment than under a second, on the same examples.

    The difference of the two shares is that of the two kinds of disagreement, so their Clopper-Pearson bounds are
    combined by the distances to the estimates (MOVER: Newcombe, 1998; Zou and Donner, 2008), with the correlation that
    two cells of one multinomial have. Without any disagreement the bounds are those of the rule of three.

    Args:
      only_first: examples that hit under the first treatment alone.
      only_second: examples that hit under the second alone.
      examples: all examples, those that agree included.
      confidence: of each bound.

    Raises:
      DataError: there are no examples.
    """
    first, second = (proportion(count, examples, confidence) for count in (only_first, only_second))
    p, q = first.value, second.value
    overlap = math.sqrt(p * q / ((1 - p) * (1 - q))) if p < 1 and q < 1 else 1.0

    def reach(up: float, down: float) -> float:
        return math.sqrt(up**2 + down**2 + 2 * overlap * up * down)

    low = p - q - reach(p - first.low, second.high - q)
    high = p - q + reach(first.high - p, q - second.low)
    return Estimate(p - q, max(low, -1.0), min(high, 1.0), examples, "examples")


def from_influences(
    value: float, influences: np.ndarray, confidence: float, *, reach: float, low: float, high: float
) -> Estimate:
    """A figure whose error is nearly the mean of what each example contributes to it.

    That is exact for means; for others (AUC, F1, RMSE) ``influences`` linearize the figure, as DeLong, DeLong and
    Clarke-Pearson (1988) do for AUC. The t interval of the mean is corrected for skewness, which is what one-sided
    bounds suffer from, by the transformation of Hall (1992). A kind of example so rare that the sample may hold none
    of it (rule of three) widens the interval by what it could contribute.

    Args:
      value: the figure of the sample.
      influences: shape (n,): by how much each example moves the figure, times n; their mean is 0.
      confidence: of each bound.
      reach: the most that ``influences`` could be for an example that the sample holds none like.
      low: the least possible figure.
      high: the greatest possible figure.

    Raises:
      DataError: there are fewer than 30 examples, something is not finite, or nothing varies and nothing could.
    """
    examples = len(influences)
    if examples < MIN_EXAMPLES:
        raise DataError(f"{examples} examples are too few for an interval; it takes at least {MIN_EXAMPLES}")
    if not (math.isfinite(value) and np.isfinite(influences).all()):
        raise DataError("the figure is not finite, or an example's contribution to it is not")
    unseen = reach * _unseen_share(examples, confidence)
    if unseen <= 0:
        raise DataError("the examples do not vary at all, so they do not tell how uncertain the figure is")
    quantile = float(stats.t.ppf(confidence, examples - 1))
    error = float(np.std(influences, ddof=1)) / math.sqrt(examples)
    skewness = float(stats.skew(influences)) / math.sqrt(examples) if error > 0 else 0.0
    below = max(error * _unskewed(quantile, skewness), unseen)
    above = max(-error * _unskewed(-quantile, skewness), unseen)
    return Estimate(value, max(value - below, low), min(value + above, high), examples, "examples")


def _unseen_share(examples: int, confidence: float) -> float:
    """The largest share that a kind of example may well have of which the sample holds none."""
    return -math.expm1(math.log1p(-confidence) / examples)


def _unskewed(quantile: float, skewness: float) -> float:
    """The quantile of a t statistic whose sample has this skewness, divided by the square root of its size."""
    if abs(skewness) < 1e-6:
        return quantile
    return 3 / skewness * (float(np.cbrt(1 + skewness * (quantile - skewness / 6))) - 1)


def bootstrap(
    statistic: Statistic, examples: int, confidence: float, *, seed: int, reach: float, low: float, high: float
) -> Estimate:
    """Any figure, by drawing the examples anew with replacement: the BCa bootstrap of Efron (1987).

    Acceleration comes from a jackknife over up to 100 groups of examples. Where the confidence is so high that fewer
    than 20 resamples would lie beyond a bound, bounds are t quantiles of the resamples' standard deviation.

    Args:
      statistic: the figure of the examples at an array of indices.
      examples: how many examples there are.
      confidence: of each bound.
      seed: of the drawing; the same seed gives the same bounds.
      reach: as `from_influences` takes it; 0 if it is not known.
      low: the least possible figure.
      high: the greatest possible figure.

    Raises:
      DataError: there are too few examples, the figure is not finite, it often cannot be computed on resamples, or it
        is the same on all of them and ``reach`` is 0.
    """
    if examples < MIN_EXAMPLES:
        raise DataError(f"{examples} examples are too few for an interval; it takes at least {MIN_EXAMPLES}")
    value = statistic(np.arange(examples))
    if not math.isfinite(value):
        raise DataError(f"the figure is {value}, which is no measurement")
    tail = 1 - confidence
    count = min(max(MIN_RESAMPLES, math.ceil(TAIL_RESAMPLES / tail)), MAX_RESAMPLES)
    rng = np.random.default_rng(seed)
    resampled = _defined(statistic, (rng.integers(0, examples, examples) for _ in range(count)), count)
    spread = float(np.std(resampled, ddof=1))
    unseen = reach * _unseen_share(examples, confidence)
    constant = spread <= 1e-12 * max(1.0, abs(value))
    if constant and unseen <= 0:
        raise DataError("the figure is the same on all resamples, so they do not tell how uncertain it is")
    if constant or len(resampled) * tail < TAIL_RESAMPLES - 1:
        margin = float(stats.t.ppf(confidence, examples - 1)) * spread
        bounds = [value - margin, value + margin]
    else:
        groups = np.array_split(rng.permutation(examples), min(_JACKKNIFE_GROUPS, examples))
        kept = (np.setdiff1d(np.arange(examples), group) for group in groups)
        acceleration = _acceleration(_defined(statistic, kept, len(groups)))
        bounds = [_bca(resampled, value, acceleration, level) for level in (tail, confidence)]
    below, above = max(value - bounds[0], unseen), max(bounds[1] - value, unseen)
    if (below <= 0 and value > low) or (above <= 0 and value < high):
        raise DataError("the figure hardly varies between resamples, so they do not tell how uncertain it is")
    return Estimate(value, max(value - below, low), min(value + above, high), examples, "examples")


def _defined(statistic: Statistic, samples: Iterable[np.ndarray], count: int) -> np.ndarray:
    """The statistic of each sample; up to one in a hundred may have none, for example for lack of a class."""
    values: list[float] = []
    problem = ""
    for sample in samples:
        try:
            found = statistic(sample)
        except (DataError, ValueError) as error:
            problem = f" ({error})"
            continue
        if math.isfinite(found):
            values.append(found)
    if len(values) < 0.99 * count:
        raise DataError(
            f"the figure could not be computed on {count - len(values)} of {count} resamples{problem}; "
            "it takes more examples"
        )
    return np.asarray(values)


def _acceleration(left_out: np.ndarray) -> float:
    deviations = left_out.mean() - left_out
    scale = float(np.sum(deviations**2)) ** 1.5
    return float(np.sum(deviations**3)) / (6 * scale) if scale > 0 else 0.0


def _bca(resampled: np.ndarray, value: float, acceleration: float, level: float) -> float:
    below = (np.sum(resampled < value) + np.sum(resampled <= value)) / 2
    bias = float(stats.norm.ppf(np.clip(below, 0.5, len(resampled) - 0.5) / len(resampled)))
    shifted = bias + float(stats.norm.ppf(level))
    corrected = float(stats.norm.cdf(bias + shifted / max(1 - acceleration * shifted, 1e-3)))
    return float(np.quantile(resampled, corrected))
