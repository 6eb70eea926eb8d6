"""How often the latency gate is wrong: false alarms on an unchanged model, and slowdowns of about 5 % that it misses.

    python benchmarks/gate_latency.py [--trials 50] [--load quiet|busy] [--seconds 10] [--models speech vision]
                                       [--candidates copy slowed]

A trial judges, against one base model, a copy of its file (which must be blessed) and a model with an added layer that
really takes about 5 % longer (which must not). Only a pass blesses. The gate's limit is half-way, on the ratio of the
minima and on that of the medians. Beside it the usual rule is tried: the mean of 20 runs in one process, at most 1.05
times the baseline's. ``--load busy`` keeps every core busy meanwhile.

It ends with tables: the share of wrong verdicts of each rule, with Wilson's interval of 95 %; the standard deviation
between processes of what they measure of an unchanged model, and of its ratio to the base; and how long the slowed
model really took, over all processes of all trials. A trial of both candidates takes at most four times ``--seconds``
for each model, and about half of that where the verdict is clear.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import slowed_models
from slowed_models import ModelPair

from tfx_edge.devices.local import Local, fingerprint
from tfx_edge.devices.target import PairedRun, RunOptions
from tfx_edge.gate.latency import process_figure, process_ratio, relative
from tfx_edge.gate.sequential import Limit
from tfx_edge.gate.timing import measure

Log = Callable[[str], None]

CONFIDENCE = 0.95
SLOWER = 1.05
USUAL = "mean of 20 runs"
STATISTICS = ("min", "p50")

# A process for each core, and one that comes and goes: other people's jobs on a shared machine. They end with this one.
STEADY = """
import os, numpy as np
parent, a = os.getppid(), np.random.rand(256, 256)
while os.getppid() == parent:
    a @ a
"""
BURSTS = """
import os, random, time, numpy as np
parent, a = os.getppid(), np.random.rand(256, 256)
while os.getppid() == parent:
    time.sleep(random.uniform(0.05, 1))
    end = time.time() + random.uniform(0.05, 1)
    while time.time() < end:
        a @ a
"""
USUAL_WAY = """
import sys, time
import numpy as np
from ai_edge_litert.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
details = interpreter.get_input_details()[0]
interpreter.set_tensor(details["index"], np.zeros(details["shape"], details["dtype"]))
interpreter.invoke()
start = time.perf_counter()
for _ in range(20):
    interpreter.invoke()
print((time.perf_counter() - start) / 20)
"""


@dataclass
class Tally:
    """What one rule said of one kind of candidate."""

    blessed: int = 0
    failed: int = 0
    inconclusive: int = 0

    @property
    def trials(self) -> int:
        """How many verdicts there were."""
        return self.blessed + self.failed + self.inconclusive

    def add(self, outcome: str) -> None:
        """Counts a verdict: ``"pass"``, ``"fail"`` or ``"inconclusive"``."""
        self.blessed += outcome == "pass"
        self.failed += outcome == "fail"
        self.inconclusive += outcome == "inconclusive"


@dataclass
class Results:
    """The verdicts on one model: by rule, on its copy and on its slowed version."""

    copy: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    slowed: dict[str, Tally] = field(default_factory=lambda: defaultdict(Tally))
    copy_pairs: list[PairedRun] = field(default_factory=list)
    slowed_pairs: list[PairedRun] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    processes: list[int] = field(default_factory=list)


def run_trial(
    models: ModelPair, candidates: Iterable[str], max_ratio: float, seconds: float, results: Results, log: Log
) -> None:
    """Judges the copy, the slowed model or both against the base by every rule."""
    limits = {name: Limit(f"latency_{name}_ms", "max_ratio", max_ratio) for name in STATISTICS}
    kinds = {
        "copy": (models.copy, results.copy, results.copy_pairs),
        "slowed": (models.slowed, results.slowed, results.slowed_pairs),
    }
    for candidate, tallies, pairs in (kinds[kind] for kind in candidates):
        timing = measure(
            Local(),
            candidate,
            models.base,
            list(limits.values()),
            options=RunOptions(),
            budget_s=seconds,
            confidence=CONFIDENCE,
        )
        for name, limit in limits.items():
            rule = f"gate, {name}"
            found = timing.relative[limit.metric]
            outcome = limit.outcome(found)
            tallies[rule].add(outcome)
            if (outcome == "pass") == (candidate == models.slowed):
                ratios = " ".join(f"{process_ratio(pair, name):.3f}" for pair in timing.pairs)
                log(f"{rule}, {candidate.name}: {outcome}, {found.low:.4f} to {found.high:.4f} of {ratios}")
        slower = mean_of_20(candidate) > SLOWER * mean_of_20(models.base)
        tallies[USUAL].add("fail" if slower else "pass")
        results.seconds.append(timing.seconds)
        results.processes.append(len(timing.pairs))
        pairs += timing.pairs


def mean_of_20(model: Path) -> float:
    """Seconds of one invocation as it is usually measured."""
    command = [sys.executable, "-c", USUAL_WAY, str(model)]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


@contextlib.contextmanager
def load(busy: bool) -> Iterator[None]:
    """Keeps every core busy, if so wanted."""
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    scripts = [*[STEADY] * (os.cpu_count() or 1), BURSTS] if busy else []
    jobs = [subprocess.Popen([sys.executable, "-c", script], env=one_thread) for script in scripts]
    try:
        yield
    finally:
        for job in jobs:
            job.kill()
            job.wait()


def wilson(hits: int, trials: int) -> tuple[float, float]:
    """The interval of 95 % for a proportion (Wilson, 1927)."""
    z = 1.959964
    share, scale = hits / trials, 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    return max(0.0, middle - half), min(1.0, middle + half)


def share(hits: int, trials: int) -> str:
    """A share with its interval, for the table."""
    if not trials:
        return "not tried"
    low, high = wilson(hits, trials)
    return f"{hits}/{trials} = {hits / trials:.1%} ({low:.1%} to {high:.1%})"


def together(results: Iterable[Results]) -> Results:
    """The verdicts on all models."""
    total = Results()
    for one in results:
        for tallies, summed in ((one.copy, total.copy), (one.slowed, total.slowed)):
            for rule, tally in tallies.items():
                summed[rule].blessed += tally.blessed
                summed[rule].failed += tally.failed
                summed[rule].inconclusive += tally.inconclusive
    return total


def table(name: str, load_name: str, results: Results) -> str:
    """The rates of one model as lines of a Markdown table."""
    lines = []
    for rule in {**results.copy, **results.slowed}:
        unchanged, slowed = results.copy[rule], results.slowed[rule]
        alarms, caught = unchanged.trials - unchanged.blessed, slowed.trials - slowed.blessed
        lines.append(
            f"| {name} | {load_name} | {rule} | {share(alarms, unchanged.trials)} | {share(caught, slowed.trials)} "
            f"| {unchanged.inconclusive} + {slowed.inconclusive} |"
        )
    return "\n".join(lines)


def spreads(name: str, load_name: str, pairs: list[PairedRun]) -> str:
    """How much processes differ in what they measure of an unchanged model, as lines of a Markdown table."""
    lines = []
    for statistic in (*STATISTICS, "p90") if pairs else ():
        alone = np.std(np.log([process_figure(pair.baseline, statistic) or math.nan for pair in pairs]), ddof=1)
        ratio = np.std(np.log([process_ratio(pair, statistic) or math.nan for pair in pairs]), ddof=1)
        lines.append(f"| {name} | {load_name} | {statistic} | {alone:.2%} | {ratio:.2%} |")
    return "\n".join(lines)


def facts(name: str, models: ModelPair, results: Results) -> str:
    """How slow the slowed model really was, and what the trials took."""
    lines = []
    for statistic in STATISTICS:
        true = relative(results.slowed_pairs, statistic, 0.975)
        if true is not None:
            lines.append(f"{statistic} {true.value:.4f} ({true.low:.4f} to {true.high:.4f})")
    seconds, processes = np.array(results.seconds), np.array(results.processes)
    return (
        f"{name}: with {models.hidden_units} hidden units more it takes {', '.join(lines) or 'untried'} times as long "
        f"({len(results.slowed_pairs)} processes); a verdict took {np.median(seconds):.1f} s "
        f"(95 %: {np.percentile(seconds, 95):.1f} s) and {np.median(processes):.0f} processes"
    )


def main() -> None:
    """Runs the trials and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=50, help="trials for each model (default: 50)")
    parser.add_argument("--load", choices=("quiet", "busy"), default="quiet", help="keep every core busy or not")
    parser.add_argument("--seconds", type=float, default=10, help="budget for each model (default: 10)")
    parser.add_argument("--max-ratio", type=float, default=1.025, help="the gate's limit (default: 1.025)")
    parser.add_argument("--candidates", nargs="+", choices=("copy", "slowed"), default=["copy", "slowed"])
    parser.add_argument("--models", nargs="+", choices=slowed_models.MODELS, default=list(slowed_models.MODELS))
    args = parser.parse_args()

    begin = time.monotonic()

    def log(line: str) -> None:
        print(f"{time.monotonic() - begin:6.0f} s  {line}", file=sys.stderr, flush=True)

    models = {name: slowed_models.load(name, log) for name in args.models}
    results = {name: Results() for name in args.models}
    with load(args.load == "busy"):
        for number in range(args.trials):
            for name in args.models:
                run_trial(models[name], args.candidates, args.max_ratio, args.seconds, results[name], log)
                log(f"{name}, trial {number + 1} of {args.trials}: " + summary(results[name]))
    print(f"\n{fingerprint()}; {args.load}, max_ratio {args.max_ratio:g}, {args.seconds:g} s for each model\n")
    print("| model | load | rule | false alarms | slowdowns caught | inconclusive |\n|---|---|---|---|---|---|")
    print("\n".join(table(name, args.load, results[name]) for name in args.models))
    print(table("all", args.load, together(results.values())))
    print("\n| model | load | statistic | spread of processes | spread of their ratios |\n|---|---|---|---|---|")
    print("\n".join(spreads(name, args.load, results[name].copy_pairs) for name in args.models))
    print("\n" + "\n".join(facts(name, models[name], results[name]) for name in args.models))


def summary(results: Results) -> str:
    """The counts so far on one line."""
    return "; ".join(
        f"{rule}: {results.copy[rule].trials - results.copy[rule].blessed} false, {results.slowed[rule].blessed} missed"
        for rule in {**results.copy, **results.slowed}
    )


if __name__ == "__main__":
    main()
