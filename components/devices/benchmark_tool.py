"""TFLite's own ``benchmark_model``: the flags that it gets and what its output says.

Nothing of it is in this package; people build it or download it for their phones. Its output is meant for people, and
was read from the sources of several versions (tflite/tools/benchmark/benchmark_model.cc and benchmark_tflite_model.cc):
a line with ``count=`` after the warm-up and another after the timed runs, then a summary. It times with a clock of
microseconds and tells statistics, never single runs; only newer versions tell percentiles.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

from tfx_edge.devices.measurement import SummarizedRun
from tfx_edge.devices.target import RunOptions
from tfx_edge.errors import ConfigError, DeviceError, ModelError

NS_PER_US = 1000
BYTES_PER_MB = 1024**2  # the tool divides kB by 1024 and calls it MB
DELEGATES = {"cpu": "XNNPACK", "gpu": "GPU", "nnapi": "NNAPI"}
# A second thread looks at the memory: so seldom that it does not disturb the timing, and once more at the end.
_MEMORY_FLAGS = ("--report_peak_memory_footprint=true", "--memory_footprint_check_interval_ms=1000")
_OWN_FLAGS = frozenset(
    {"graph", "num_runs", "min_secs", "max_secs", "warmup_runs", "warmup_min_secs", "num_threads", "dry_run"}
    | {"use_xnnpack", "use_gpu", "use_nnapi", "report_peak_memory_footprint", "memory_footprint_check_interval_ms"}
)

_NUMBER = r"([\d.]+(?:e[+-]?\d+)?)"
_STATISTICS = re.compile(r"\bcount=(\d+)(.*)")
_SUMMARY = re.compile(rf"Inference timings in us: Init: {_NUMBER}, First inference: {_NUMBER}, Warmup \(avg\): ")
_MEMORY_DELTA = re.compile(rf"Memory footprint delta from the start of the tool \(MB\): init=\S+ overall={_NUMBER}")
_MEMORY_PEAK = re.compile(rf"Overall peak memory footprint \(MB\) via periodic monitoring: {_NUMBER}")
_DELEGATED = re.compile(r"pplied (\w+) delegate, and the model graph will be (completely|partially) executed")
_NOT_DELEGATED = re.compile(r"Though (\w+) delegate is (?:explicitly )?applied, the model graph will not be")
_UNKNOWN_FLAGS = re.compile(r"Unconsumed cmdline flags: (.*)")


def check_flags(flags: Sequence[str]) -> None:
    """Refuses further flags that are none, or that would change what is measured behind the caller's back.

    Raises:
      ConfigError: naming the flag.
    """
    for flag in flags:
        match = re.fullmatch(r"--(\w+)(=.*)?", flag)
        if not match:
            raise ConfigError(f"{flag!r} is no flag of benchmark_model: write it as --name=value")
        if match[1] == "enable_op_profiling":
            raise ConfigError("--enable_op_profiling slows down what is timed: leave it out of flags")
        if match[1] in _OWN_FLAGS:
            raise ConfigError(
                f"--{match[1]} is set by this target: leave it out of flags, and use delegate, runs, warmup, "
                "num_threads, kernel and timeout_s"
            )


def arguments(model: str, options: RunOptions, delegate: str) -> list[str]:
    """The flags to time a model with; the tool limits the time of warm-up and of timed runs one by one."""
    flags = [
        f"--graph={model}",
        f"--num_runs={options.runs}",
        "--min_secs=0",
        f"--max_secs={options.seconds_of_running / 2:g}",
        f"--warmup_runs={options.warmup + 1}",  # the first invocation is reported apart
        "--warmup_min_secs=0",
        f"--num_threads={options.num_threads}",
        *_MEMORY_FLAGS,
    ]
    if options.kernel == "builtin":
        flags.append("--use_xnnpack=false")
    elif delegate == "cpu":
        flags.append("--use_xnnpack=true")
    return flags if delegate == "cpu" else [*flags, f"--use_{delegate}=true"]


def read_run(output: str, cores: Sequence[int]) -> SummarizedRun:
    """The figures of a run that ended well.

    Raises:
      DeviceError: the output lacks a figure, or holds something that no measurement can be.
    """
    lines = {
        "inference timings": _SUMMARY.search(output),
        "memory footprint delta": _MEMORY_DELTA.search(output),
        "overall peak memory": _MEMORY_PEAK.search(output),
    }
    found = _STATISTICS.findall(output.partition("Inference timings")[0])
    missing = [] if len(found) == 2 else ["count= of warm-up and runs"]
    missing += [name for name, match in lines.items() if not match]
    if missing:
        raise DeviceError(
            f"benchmark_model answered nonsense: its output has no line on {', '.join(missing)}; give TFLite's "
            f"benchmark_model, not benchmark_litert_model. It ended with: {output.strip()[-300:]!r}"
        )
    summary, delta, peak = (match for match in lines.values() if match)
    count, statistics = int(found[-1][0]), _statistics(found[-1][1])
    overall, peak_bytes = float(delta[1]) * BYTES_PER_MB, float(peak[1]) * BYTES_PER_MB
    low, high, median = statistics["min"], statistics["max"], statistics.get("p50", statistics["min"])
    # The tool rounds the mean to six digits.
    ordered = 0 < low <= median <= high and low * 0.99999 <= statistics["mean"] <= high * 1.00001
    if count == 0 or not ordered or not all(math.isfinite(value) for value in statistics.values()):
        raise DeviceError(
            "benchmark_model answered nonsense, or the model takes less than its clock's microsecond: "
            f"count={count}, and in ns: {statistics}"
        )
    if overall <= 0 or peak_bytes < overall:
        raise DeviceError(
            f"benchmark_model answered nonsense: a memory footprint of {overall:g} of {peak_bytes:g} bytes"
        )
    return SummarizedRun(
        samples_ns=(),
        first_invoke_ns=round(float(summary[2]) * NS_PER_US),
        load_ns=round(float(summary[1]) * NS_PER_US),
        peak_memory_bytes=round(peak_bytes),
        import_memory_bytes=round(peak_bytes - overall),
        cores=tuple(cores),
        statistics_ns=statistics,
        count=count,
    )


def environment(output: str, options: RunOptions, delegate: str) -> dict[str, Any]:
    """What the figures hold for, as far as the tool tells: the delegate, how much it took, and the clock.

    Raises:
      DeviceError: the tool ignored a flag, or ran without the delegate that was asked for.
      ModelError: the delegate takes nothing of the model.
    """
    unknown = _UNKNOWN_FLAGS.search(output)
    if unknown:
        raise DeviceError(f"this benchmark_model does not know {unknown[1].strip()}: use a newer or other build of it")
    wanted = DELEGATES[delegate]
    extents = dict(_DELEGATED.findall(output))
    if delegate != "cpu" and wanted not in extents:
        if wanted in _NOT_DELEGATED.findall(output):
            raise ModelError(f"the {wanted} delegate takes no operation of this model: measure it with delegate 'cpu'")
        raise DeviceError(
            f"benchmark_model ran without the {wanted} delegate, so its figures are the processor's; it said: "
            f"{complaints(output) or 'nothing'}. Measure with delegate 'cpu', or use a build for this device"
        )
    processor = "xnnpack" if wanted in extents else "builtin"
    return {
        "kernel": processor if delegate == "cpu" else delegate,
        "delegated": extents.get(wanted, "not"),
        "num_threads": options.num_threads,
        "clock_ns": NS_PER_US,
    }


def complaints(output: str) -> str:
    """The warnings and errors in an output, without what is only said of the tool itself, on one line."""
    marks = ("ERROR", "FATAL", "WARN", "CANNOT LINK", "not executable", "not found", "Permission denied", "taskset:")
    lines = [line.strip() for line in output.splitlines() if any(mark in line for mark in marks)]
    return "; ".join(line for line in lines if "Unconsumed" not in line)[:600]


def refuses_model(output: str) -> bool:
    """Whether the tool ended in good order because it could not load, prepare or run the model."""
    return "Benchmarking failed" in output and "Failed to parse flag" not in output


def _statistics(text: str) -> dict[str, float]:
    """Reads ``first=10 curr=8 min=8 max=12 avg=9.1 std=1 p5=8 median=9 p95=12``, or ``curr=8(all same)``.

    What is missing or no number is NaN.
    """
    values = dict(re.findall(r"(\w+)=([^\s(]+)", text))
    if "min" not in values:
        values = {name: values.get("curr", "nan") for name in ("min", "max", "avg", "median")} | values
    names = {"min": "min", "max": "max", "avg": "mean", "p5": "p5", "median": "p50", "p95": "p95"}
    statistics = {"min": math.nan, "max": math.nan, "mean": math.nan}
    for label, name in names.items():
        if label in values:
            try:
                statistics[name] = float(values[label]) * NS_PER_US
            except ValueError:
                statistics[name] = math.nan
    return statistics
