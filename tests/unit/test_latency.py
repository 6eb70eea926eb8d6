"""The statistics are tried on simulated processes, whose true figures are known; real ones are in test_devices.py."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfx_edge.devices.measurement import ProcessRun, SummarizedRun
from tfx_edge.devices.target import PairedRun, RunOptions, Target
from tfx_edge.errors import DeviceError
from tfx_edge.gate.estimate import Estimate
from tfx_edge.gate.latency import MEMORY, METRICS, absolute, memory, memory_ratio, relative
from tfx_edge.gate.sequential import Limit, sample
from tfx_edge.gate.timing import PROCESSES, measure

CANDIDATE, BASELINE = Path("candidate.tflite"), Path("baseline.tflite")


def process(*samples_ns, peak=60_000_000, imported=50_000_000):
    return ProcessRun(tuple(int(x) for x in samples_ns), 9, 9, peak, imported, (0,))


def summarized(**statistics_ns):
    return SummarizedRun((), 9, 9, 60_000_000, 50_000_000, (0,), statistics_ns, 50)


def pair(candidate_ns, baseline_ns):
    return PairedRun(process(candidate_ns), process(baseline_ns))


timings = st.lists(st.integers(10**3, 10**9), min_size=1, max_size=5)
several_processes = st.lists(timings.map(lambda samples: process(*samples)), min_size=2, max_size=6)
several_pairs = st.lists(
    st.tuples(st.integers(10**3, 10**9), st.integers(10**3, 10**9)).map(lambda both: pair(*both)),
    min_size=2,
    max_size=6,
)
confidences = st.floats(0.6, 0.999)


class TestAbsolute:
    def test_a_process_counts_once_however_many_timings_it_has(self):
        few, many = ([process(*[n] * count) for n in (1_000_000, 4_000_000)] for count in (1, 50))

        estimate = absolute(many, "p50", 0.95)

        assert estimate == absolute(few, "p50", 0.95)
        assert (estimate.value, estimate.samples, estimate.sample_unit) == (pytest.approx(2.0), 2, "processes")

    @pytest.mark.parametrize(("statistic", "expected_ms"), [("min", 1), ("p50", 501), ("p90", 901), ("p99", 991)])
    def test_the_statistic_is_taken_within_each_process(self, statistic, expected_ms):
        runs = [process(*[n * 1_000_000 for n in range(1, 1002)])] * 2
        assert absolute(runs, statistic, 0.95).value == pytest.approx(expected_ms)

    def test_by_hand(self):
        runs = [process(round(1e6 * math.exp(x))) for x in (0.1, 0.2, 0.3)]
        margin = 2.91999 * 0.1 / math.sqrt(3)  # the 95 % quantile of t with 2 degrees of freedom

        estimate = absolute(runs, "p50", 0.95)

        logs = np.log([estimate.low, estimate.value, estimate.high])
        np.testing.assert_allclose(logs, [0.2 - margin, 0.2, 0.2 + margin], atol=1e-5)

    @pytest.mark.parametrize(("statistic", "needed"), [("p90", 100), ("p99", 1000)])
    def test_a_tail_needs_timings_in_every_process(self, statistic, needed):
        enough, short = process(*range(1, needed + 1)), process(*range(1, needed))
        assert absolute([enough, enough], statistic, 0.95) is not None
        assert absolute([enough, short], statistic, 0.95) is None

    def test_one_process_tells_nothing_about_others(self):
        assert absolute([process(5, 6, 7)], "min", 0.95) is None
        assert absolute([], "min", 0.95) is None

    @given(several_processes, confidences)
    def test_more_confidence_never_narrows(self, runs, confidence):
        narrow, wide = absolute(runs, "min", confidence), absolute(runs, "min", (1 + confidence) / 2)
        assert wide.low <= narrow.low <= narrow.value <= narrow.high <= wide.high

    @given(several_processes, st.integers(2, 1000))
    def test_the_unit_of_time_does_not_matter(self, runs, factor):
        slower = [process(*(factor * x for x in run.samples_ns)) for run in runs]
        before, after = absolute(runs, "min", 0.95), absolute(slower, "min", 0.95)
        np.testing.assert_allclose(
            [after.low, after.value, after.high],
            [factor * before.low, factor * before.value, factor * before.high],
            rtol=1e-9,
        )

    @pytest.mark.parametrize("processes", [4, 8])
    @pytest.mark.parametrize(("disturbed", "at_most"), [(0.0, 0.065), (0.2, 0.085)])
    def test_the_upper_bound_is_too_low_hardly_more_often_than_it_says(self, processes, disturbed, at_most):
        generator = np.random.default_rng(processes)
        trials, confidence = 1500, 0.95
        truth = math.exp(disturbed * 0.03)  # the geometric mean over all processes
        too_low = 0
        for _ in range(trials):
            slowed = 0.03 * (generator.random(processes) < disturbed)
            times = np.exp(generator.normal(0, 0.02, processes) + slowed)
            too_low += absolute([process(t * 1e9) for t in times], "p50", confidence).high < truth * 1e3
        assert 0.03 < too_low / trials < at_most


class TestRelative:
    def test_what_disturbs_both_models_of_a_process_cancels(self):
        pairs = [pair(1100 * scale, 1000 * scale) for scale in (1000, 7000, 300_000)]
        estimate = relative(pairs, "p50", 0.95)
        assert estimate.low == pytest.approx(1.1) == estimate.high

    def test_medians_on_different_levels_of_the_load_do_not_mislead(self):
        quiet, loaded = [1000] * 9, [2000] * 10
        candidate, baseline = process(*quiet, *loaded), process(*quiet, 1000, *loaded[1:])
        assert np.median(candidate.samples_ns) == 2 * np.median(baseline.samples_ns)
        estimate = relative([PairedRun(candidate, baseline)] * 2, "p50", 0.95)
        assert estimate.value == pytest.approx(1.0)

    @given(several_pairs, confidences)
    def test_the_ratio_turned_round_has_the_bounds_turned_round(self, pairs, confidence):
        there = relative(pairs, "min", confidence)
        back = relative([PairedRun(p.baseline, p.candidate) for p in pairs], "min", confidence)
        np.testing.assert_allclose([back.low, back.high], [1 / there.high, 1 / there.low], rtol=1e-9)

    def test_bounds_stay_finite_however_wild_the_processes(self):
        estimate = relative([pair(1000, 9172), pair(10**12, 1000)], "min", 0.999)
        assert 0 < estimate.low < 1e-100
        assert 1e100 < estimate.high < math.inf

    def test_a_tail_needs_timings_of_both_models(self):
        many, few = process(*range(1, 101)), process(*range(1, 100))
        assert relative([PairedRun(many, many)] * 2, "p90", 0.95) is not None
        assert relative([PairedRun(many, few)] * 2, "p90", 0.95) is None
        assert relative([PairedRun(few, many)] * 2, "p90", 0.95) is None


class TestStatisticsWithoutTimings:
    """Some devices tell statistics of each process and no timings."""

    def test_they_are_judged_as_if_taken_from_timings(self):
        timed = [process(1_000_000, 2_000_000, 3_000_000), process(2_000_000, 2_000_000, 2_000_000)]
        told = [summarized(min=1e6, p50=2e6, max=3e6), summarized(min=2e6, p50=2e6, max=2e6)]
        for statistic in ("min", "p50"):
            assert absolute(told, statistic, 0.95) == absolute(timed, statistic, 0.95)

    @pytest.mark.parametrize("statistic", ["p50", "p90", "p99"])
    def test_what_is_not_told_is_unknown(self, statistic):
        runs = [summarized(min=1e6, p95=2e6, max=3e6)] * 2
        assert absolute(runs, statistic, 0.95) is None
        assert relative([PairedRun(*runs)] * 2, statistic, 0.95) is None

    @pytest.mark.parametrize("statistic", ["min", "p50"])
    def test_a_ratio_is_that_of_the_figures(self, statistic):
        pairs = [
            PairedRun(summarized(min=3e6 * scale, p50=3e6 * scale), summarized(min=2e6 * scale, p50=2e6 * scale))
            for scale in (1, 7)
        ]
        assert relative(pairs, statistic, 0.95).value == pytest.approx(1.5)


class TestMemory:
    RUNS = (process(1, peak=60_000_000), process(1, peak=62_000_000), process(1, peak=61_000_000))

    def test_the_figure_is_the_worst_and_the_upper_bound_never_below(self):
        estimate = memory(self.RUNS, "peak_memory_bytes", 0.6)
        assert estimate.value == 62_000_000
        assert estimate.low < 61_000_000 < estimate.high
        assert estimate.high >= estimate.value

    def test_what_was_there_before_the_model_does_not_count(self):
        assert memory(self.RUNS, "model_memory_bytes", 0.95).value == 12_000_000

    def test_a_ratio_is_as_unsure_as_its_parts(self):
        steady = [process(1, peak=30_000_000)] * 2
        estimate = memory_ratio(self.RUNS, steady, "peak_memory_bytes", 0.95)
        top = memory(self.RUNS, "peak_memory_bytes", 0.975)
        assert estimate.value == pytest.approx(62 / 30)
        assert (estimate.low, estimate.high) == pytest.approx((top.low / 30e6, top.high / 30e6))

    def test_it_is_unknown_where_it_cannot_be_had(self):
        nothing = [process(1, peak=50_000_000)] * 2
        assert memory(self.RUNS[:1], "peak_memory_bytes", 0.95) is None
        assert memory_ratio(self.RUNS, nothing, "model_memory_bytes", 0.95) is None


def mean_of(values, confidence):
    """A mean with bounds that are right for draws of a standard deviation of 1."""
    from scipy.special import ndtri

    mean, margin = float(np.mean(values)), float(ndtri(confidence)) / math.sqrt(len(values))
    return {"x": Estimate(mean, mean - margin, mean + margin, len(values), "processes")}


class SimulatedDraws:
    """Draws around a mean, each of which takes a second of a clock that only they move."""

    def __init__(self, mean=0.0, seed=0):
        self.mean, self.now = mean, 0.0
        self._generator = np.random.default_rng(seed)

    def take(self):
        self.now += 1
        return self._generator.normal(self.mean)

    def sample(self, *limits, estimate=mean_of, budget_s=30.0, confidence=0.95, at_least=4):
        return sample(
            self.take,
            estimate,
            limits,
            budget_s=budget_s,
            confidence=confidence,
            at_least=at_least,
            clock=lambda: self.now,
        )


class TestSampling:
    @pytest.mark.parametrize(
        ("kind", "mean", "outcome"), [("max", -9, "pass"), ("max", 9, "fail"), ("min", -9, "fail"), ("min", 9, "pass")]
    )
    def test_what_is_clear_is_decided_at_the_first_look(self, kind, mean, outcome):
        limit = Limit("x", kind, 0.0)
        sampled = SimulatedDraws(mean).sample(limit)
        assert limit.outcome(sampled.estimates["x"]) == outcome
        assert (len(sampled.samples), sampled.seconds, sampled.shortfalls) == (4, 4.0, ())

    def test_what_is_close_uses_the_whole_budget_and_says_what_is_missing(self):
        limit = Limit("x", "max", 0.0)
        sampled = SimulatedDraws(0.05, seed=3).sample(limit)
        (shortfall,) = sampled.shortfalls
        assert limit.outcome(sampled.estimates["x"]) == "inconclusive"
        assert len(sampled.samples) == sampled.seconds == 30
        assert shortfall.limit == limit
        assert shortfall.samples + 30 == sampled.estimates["x"].samples_to_tell_from(0.0)
        assert shortfall.seconds == shortfall.samples
        assert str(shortfall).startswith(f"about {shortfall.samples} more processes")

    def test_a_figure_at_the_limit_itself_is_never_told_from_it(self):
        sampled = SimulatedDraws().sample(Limit("x", "max", 0.0), estimate=lambda s, c: {"x": Estimate(0, -1, 1, 4)})
        assert str(sampled.shortfalls[0]) == "no number of processes could tell it from the limit"

    @pytest.mark.parametrize("budget_s", [0.0, 1.0])
    def test_a_few_samples_are_taken_whatever_the_budget(self, budget_s):
        assert len(SimulatedDraws().sample(Limit("x", "max", 0.0), budget_s=budget_s).samples) == 4

    def test_without_limits_the_least_is_enough(self):
        sampled = SimulatedDraws().sample()
        assert len(sampled.samples) == 4
        assert "x" in sampled.estimates

    @pytest.mark.parametrize(("limits", "looks"), [([], 0), ([Limit("x", "max", 99.0)], 1)])
    def test_people_are_told_of_limits_and_of_nothing_else(self, limits, looks):
        draws, lines = SimulatedDraws(), []
        sample(
            draws.take,
            mean_of,
            limits,
            budget_s=30.0,
            confidence=0.95,
            at_least=4,
            clock=lambda: draws.now,
            progress=lines.append,
        )
        assert len(lines) == looks
        assert all(line.startswith("4 processes, 4.0 s: x ") for line in lines)

    def test_a_bound_that_only_float_arithmetic_puts_beyond_the_limit_keeps_to_it(self):
        assert Limit("accuracy", "max_drop", 0.01).outcome(Estimate.exact(0.98 - 0.97)) == "pass"

    def test_a_figure_that_cannot_be_had_is_not_waited_for(self):
        sampled = SimulatedDraws().sample(Limit("x", "max", 0.0), estimate=lambda s, c: {"x": None})
        assert (len(sampled.samples), sampled.estimates, sampled.shortfalls) == (4, {}, ())

    def test_a_decision_stands_while_others_are_awaited(self):
        looks = []

        def estimate(samples, confidence):
            looks.append(len(samples))
            clear = Estimate(-1, -2, -1, 4) if len(looks) == 1 else Estimate(0, -1, 1, len(samples))
            return {"clear": clear, "close": Estimate(0.1, -1, 1, len(samples))}

        sampled = SimulatedDraws().sample(Limit("clear", "max", 0.0), Limit("close", "max", 0.0), estimate=estimate)

        assert len(looks) > 1
        assert sampled.estimates["clear"].high == -1
        assert [shortfall.limit.metric for shortfall in sampled.shortfalls] == ["close"]

    @given(st.floats(4.0, 500.0), st.integers(2, 8), st.floats(0.8, 0.99))
    @settings(max_examples=30)
    def test_the_looks_share_the_allowed_error(self, budget_s, at_least, confidence):
        errors = []

        def undecided(samples, at):
            errors.append(1 - at)
            return {"x": Estimate(0.1, -1, 1, len(samples))}

        SimulatedDraws().sample(
            Limit("x", "max", 0.0), estimate=undecided, budget_s=budget_s, at_least=at_least, confidence=confidence
        )

        assert sum(errors) == pytest.approx(1 - confidence)
        assert len(errors) <= 14

    def test_repeated_looks_do_not_pass_what_is_at_the_limit_too_often(self):
        limit = Limit("x", "max", 0.0)
        wrong = sum(
            limit.outcome(SimulatedDraws(0.0, seed).sample(limit, budget_s=60).estimates["x"]) == "pass"
            for seed in range(1500)
        )
        # At 5 % for each look it would be about 12 %.
        assert 0.01 < wrong / 1500 < 0.055


class SimulatedTarget(Target):
    """A device whose latencies are drawn: a process shifts all of its timings, and may disturb both models alike."""

    OFFERS = frozenset({"latency", "memory", "compare"})

    def __init__(self, slowdown=1.0, disturbance=0.0, start_s=0.5):
        self.now, self.options = 0.0, set()
        self._slowdown, self._disturbance, self._start_s = slowdown, disturbance, start_s
        self._generator = np.random.default_rng(0)

    def fingerprint(self):
        return "simulated"

    def latency(self, model, options):
        return self._process([model], options)[0], {"kernel": "simulated"}

    def compare(self, candidate, baseline, options):
        return PairedRun(*self._process([candidate, baseline], options)), {"kernel": "simulated"}

    def _process(self, models, options):
        self.options.add(options)
        common = math.exp(self._generator.normal(0, self._disturbance))
        runs = []
        for model in models:
            layout = math.exp(self._generator.normal(0, 0.004))
            typical = 1e6 * (self._slowdown if model == CANDIDATE else 1) * common * layout
            count = min(options.runs, max(1, int(options.max_seconds / len(models) / (typical / 1e9))))
            samples = typical * np.exp(self._generator.exponential(0.01, count))
            self.now += samples.sum() / 1e9
            runs.append(process(*samples, peak=60_000_000 + 1_000_000 * (model == CANDIDATE)))
        self.now += self._start_s
        return runs


class SimulatedPhone(SimulatedTarget):
    """A target that can only measure one model in a process."""

    OFFERS = frozenset({"latency"})

    def compare(self, candidate, baseline, options):
        return Target.compare(self, candidate, baseline, options)


P50 = Limit("latency_p50_ms", "max_ratio", 1.025)


def judge(target, *limits, baseline=BASELINE, budget_s=10.0, options=RunOptions()):  # noqa: B008
    return measure(
        target,
        CANDIDATE,
        baseline,
        limits,
        options=options,
        budget_s=budget_s,
        confidence=0.95,
        clock=lambda: target.now,
    )


def test_every_figure_has_a_metric_that_a_gate_can_bound():
    from tfx_edge.gate import metrics

    timed = {metric.name for metric in metrics.METRICS.values() if metric.source in ("latency", "memory")}
    assert METRICS.keys() | MEMORY.keys() == timed


class TestMeasuring:
    @pytest.mark.parametrize(("slowdown", "outcome"), [(1.0, "pass"), (1.05, "fail"), (1.024, "inconclusive")])
    def test_a_ratio_is_judged_by_processes_that_hold_both(self, slowdown, outcome):
        timing = judge(SimulatedTarget(slowdown, disturbance=0.2), P50)
        assert P50.outcome(timing.relative["latency_p50_ms"]) == outcome
        assert [x.limit for x in timing.shortfalls] == ([P50] if outcome == "inconclusive" else [])
        assert timing.seconds <= 20
        assert timing.environment == {"kernel": "simulated"}

    def test_a_disturbed_target_that_cannot_compare_leaves_it_open(self):
        timing = judge(SimulatedPhone(1.0, disturbance=0.2), P50)
        assert P50.outcome(timing.relative["latency_p50_ms"]) == "inconclusive"
        assert timing.shortfalls[0].samples > 0

    def test_a_calm_target_that_cannot_compare_is_judged_all_the_same(self):
        timing = judge(SimulatedPhone(1.1), P50)
        assert P50.outcome(timing.relative["latency_p50_ms"]) == "fail"

    def test_a_budget_of_the_candidate_is_judged_by_processes_of_its_own(self):
        limit = Limit("latency_min_ms", "max", 1.5)
        timing = judge(SimulatedTarget(), limit, baseline=None)
        assert limit.outcome(timing.candidate["latency_min_ms"]) == "pass"
        assert (timing.baseline, timing.relative, timing.pairs, timing.baseline_runs) == (None, {}, (), ())
        assert len(timing.candidate_runs) == timing.candidate["latency_min_ms"].samples == PROCESSES

    def test_without_such_a_limit_latencies_come_from_the_comparison(self):
        timing = judge(SimulatedTarget(slowdown=2), P50)
        assert timing.candidate["latency_p50_ms"].samples == len(timing.pairs) > len(timing.candidate_runs)
        assert timing.candidate["latency_p50_ms"].value > 1.8 * timing.baseline["latency_p50_ms"].value

    def test_memory_is_that_of_processes_that_hold_one_model(self):
        timing = judge(SimulatedTarget(), Limit("peak_memory_bytes", "max_ratio", 1.1))
        assert timing.candidate["peak_memory_bytes"].value == 61_000_000
        assert timing.baseline["peak_memory_bytes"].value == 60_000_000
        assert timing.relative["peak_memory_bytes"].high == pytest.approx(61 / 60)
        assert timing.relative["peak_memory_bytes"].samples == PROCESSES

    @pytest.mark.parametrize(("metric", "runs"), [("latency_p99_ms", 1000), ("latency_p50_ms", 200)])
    def test_a_limited_tail_gets_the_timings_that_it_needs(self, metric, runs):
        target = SimulatedTarget()
        timing = judge(target, Limit(metric, "max", 3.0), baseline=None)
        assert {options.runs for options in target.options} == {runs}
        assert metric in timing.candidate

    def test_processes_of_a_slow_model_are_cut_short_to_fit_the_budget(self):
        target = SimulatedTarget(slowdown=50)
        timing = judge(target, Limit("latency_p50_ms", "max", 60.0), baseline=None)
        assert timing.seconds <= 10
        assert 1 < len(timing.candidate_runs[0].samples_ns) < 200

    def test_max_seconds_of_the_options_is_kept_to(self):
        target = SimulatedTarget()
        judge(target, P50, options=RunOptions(max_seconds=0.1))
        assert {options.max_seconds for options in target.options} == {0.1}

    def test_a_tail_out_of_reach_is_unknown(self):
        timing = judge(SimulatedTarget(slowdown=200), Limit("latency_p90_ms", "max", 1000.0), baseline=None)
        assert "latency_p90_ms" not in timing.candidate

    def test_a_device_that_fails_is_not_passed_over(self):
        class Dead(SimulatedTarget):
            def compare(self, candidate, baseline, options):
                raise DeviceError("it died")

        with pytest.raises(DeviceError, match="it died"):
            judge(Dead(), P50)
