"""How well latency and memory are known from a few processes.

Timings of one process are not independent of each other: the layout of its memory shifts them all, and a disturbance
lasts for many. So a process counts as one sample, namely the wanted statistic over its own timings, and an interval
says how far the mean over all processes may be from that over those that were run: a t interval on the logarithms,
since times are positive, disturbances multiply, and a ratio is a difference of logarithms.

Two models are compared by the ratio within each process that timed both in turns, which takes out all that the two have
in common: the state of the machine and the load on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
from scipy.special import stdtrit

from tfx_edge.devices.measurement import ProcessRun, SummarizedRun
from tfx_edge.devices.target import PairedRun
from tfx_edge.gate.estimate import Estimate

Statistic = Literal["min", "p50", "p90", "p99"]

NS_PER_MS = 1e6
# The percentile, and how many timings a process must have for it: with fewer than about ten beyond it, a percentile is
# little more than the largest one.
STATISTICS: dict[Statistic, tuple[float, int]] = {"min": (0, 1), "p50": (50, 1), "p90": (90, 100), "p99": (99, 1000)}
METRICS: dict[str, Statistic] = {f"latency_{statistic}_ms": statistic for statistic in STATISTICS}
MEMORY: dict[str, Callable[[ProcessRun], int]] = {
    "model_memory_bytes": lambda run: run.peak_memory_bytes - run.import_memory_bytes,
    "peak_memory_bytes": lambda run: run.peak_memory_bytes,
}

_LARGEST_LOG = 700.0  # beyond, floats end


def absolute(runs: Sequence[ProcessRun], statistic: Statistic, confidence: float) -> Estimate | None:
    """The statistic in milliseconds: its geometric mean over processes.

    Args:
      runs: processes that timed the model.
      statistic: ``"min"``, the median ``"p50"``, ``"p90"`` or ``"p99"`` over the timings of each process.
      confidence: of each of the two bounds, between 0.5 and 1.

    Returns:
      None from fewer than two processes, or when one has too few timings for the statistic.
    """
    values = [process_figure(run, statistic) for run in runs]
    if any(value is None for value in values):
        return None
    return _log_interval(np.array(values, float) / NS_PER_MS, confidence)


def relative(pairs: Sequence[PairedRun], statistic: Statistic, confidence: float) -> Estimate | None:
    """The candidate's statistic divided by the baseline's: the geometric mean of that ratio over processes.

    For ``"p50"`` that is the median of the ratios of timings taken side by side. On a loaded machine timings gather at
    two levels, and the medians of the two models may fall on different ones; side by side, the level is the same.

    Takes and returns the same as `absolute`.
    """
    values = [process_ratio(pair, statistic) for pair in pairs]
    if any(value is None for value in values):
        return None
    return _log_interval(np.array(values, float), confidence)


def memory(runs: Sequence[ProcessRun], metric: str, confidence: float) -> Estimate | None:
    """The most memory that a process took: a model needs what it needs at its worst.

    The bounds are those of a t interval for the mean over processes, the upper one not below the most that was seen.

    Args:
      runs: processes that held the model alone.
      metric: a key of `MEMORY`.
      confidence: of each of the two bounds.

    Returns:
      None from fewer than two processes.
    """
    if len(runs) < 2:
        return None
    values = np.array([MEMORY[metric](run) for run in runs], float)
    most, mean, margin = float(values.max()), float(values.mean()), _margin(values, confidence)
    return Estimate(most, min(most, mean - margin), max(most, mean + margin), len(values), "processes")


def memory_ratio(
    candidate: Sequence[ProcessRun], baseline: Sequence[ProcessRun], metric: str, confidence: float
) -> Estimate | None:
    """The candidate's memory divided by the baseline's, from processes that each held one of them.

    Returns:
      None when one of the two is unknown, or the baseline's is not above 0.
    """
    each = 1 - (1 - confidence) / 2
    above, below = memory(candidate, metric, each), memory(baseline, metric, each)
    if above is None or below is None or below.low <= 0:
        return None
    samples = min(above.samples, below.samples)
    return Estimate(
        above.value / below.value, above.low / below.high, above.high / below.low, samples, above.sample_unit
    )


def process_figure(run: ProcessRun, statistic: Statistic) -> float | None:
    """The statistic of one process in nanoseconds, or None when it has too few timings for it or does not tell it."""
    if isinstance(run, SummarizedRun):
        return run.statistics_ns.get(statistic)
    percent, needed = STATISTICS[statistic]
    return float(np.percentile(run.samples_ns, percent)) if len(run.samples_ns) >= needed else None


def process_ratio(pair: PairedRun, statistic: Statistic) -> float | None:
    """The ratio of the two models' statistics in one process, or None when one of them is unknown."""
    both = list(zip(pair.candidate.samples_ns, pair.baseline.samples_ns, strict=False))
    if statistic == "p50" and both:
        return math.exp(float(np.median(np.log([candidate / baseline for candidate, baseline in both]))))
    candidate, baseline = process_figure(pair.candidate, statistic), process_figure(pair.baseline, statistic)
    return None if candidate is None or baseline is None else candidate / baseline


def _log_interval(values: np.ndarray, confidence: float) -> Estimate | None:
    if len(values) < 2:
        return None
    logs = np.log(values)
    mean, margin = float(logs.mean()), _margin(logs, confidence)
    low, high = (math.exp(min(max(x, -_LARGEST_LOG), _LARGEST_LOG)) for x in (mean - margin, mean + margin))
    return Estimate(math.exp(mean), low, high, len(values), "processes")


def _margin(values: np.ndarray, confidence: float) -> float:
    """How far the true mean may be from the mean of the values, to one side."""
    return float(stdtrit(len(values) - 1, confidence) * values.std(ddof=1) / math.sqrt(len(values)))
