from __future__ import annotations

import json
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.errors import ConfigError
from tfx_edge.gate.estimate import Estimate
from tfx_edge.gate.thresholds import Thresholds
from tfx_edge.gate.verdict import Check, Evidence, Verdict, check_bounds

EXAMPLE = {"accuracy": {"min": 0.95, "max_drop": 0.01}, "size_bytes": {"max": 60000, "max_ratio": 0.35}}
BASELINE = {"accuracy": 0.965, "size_bytes": 157000}


def judge(thresholds, candidate, baseline, problems=()):
    """The verdict on exact figures."""

    def exact(figures):
        return {name: Estimate.exact(value) for name, value in figures.items() if value is not None}

    evidence = Evidence(exact(candidate), None if baseline is None else exact(baseline))
    return Verdict.of(check_bounds(thresholds.bounds, evidence), problems)


class TestThresholds:
    def test_plain_json_round_trips(self):
        thresholds = Thresholds.parse(json.dumps(EXAMPLE))

        assert thresholds.bounds["accuracy"].limits == {"min": 0.95, "max_drop": 0.01}
        assert thresholds.bounds["size_bytes"].limits == {"max": 60000, "max_ratio": 0.35}
        assert Thresholds.parse(thresholds.to_json()) == thresholds == Thresholds.parse(EXAMPLE)

    @pytest.mark.parametrize(
        ("bounds", "needed"),
        [
            ({"accuracy": {"min": 0.9}, "size_bytes": {"max": 9}}, False),
            ({"accuracy": {"max_drop": 0.0}}, True),
            ({"size_bytes": {"max": 9}, "gzip_bytes": {"max_ratio": 0.5}}, True),
        ],
    )
    def test_only_comparing_bounds_need_a_baseline(self, bounds, needed):
        assert bool(Thresholds.parse(bounds).relative) is needed

    @pytest.mark.parametrize(
        ("bounds", "message"),
        [
            (
                {"acuracy": {"min": 0.9}},
                r"acuracy: unknown metric \(did you mean 'accuracy'\?\).*gzip_bytes",
            ),
            ({"zzz": {"min": 0.9}}, r"zzz: unknown metric; known metrics: size_bytes"),
            ({"accuracy": {}}, "accuracy: no bound is given; a bound takes min, max, max_drop and max_ratio"),
            ({"accuracy": {"min": None}}, "accuracy: no bound is given"),
            ({"accuracy": 0.9}, r'accuracy: write an object such as {"max": 5}; a bound takes .* \(value 0.9\)'),
            ({"accuracy": {"minn": 0.9}}, r"accuracy: unknown key 'minn' \(did you mean 'min'\?\)"),
            ({"accuracy": {"min": 0.9, "max": 0.8}}, r"accuracy.min: is above max 0.8.*\(value 0.9\)"),
            ({"size_bytes": {"min": 10, "max": 9}}, "size_bytes.min: is above max 9"),
            ({"accuracy": {"min": 95}}, r"accuracy.min: must be at most 1.*\(value 95.0\)"),
            ({"accuracy": {"max_drop": 1.5}}, "accuracy.max_drop: must be at most 1"),
            ({"accuracy": {"max_drop": -0.1}}, "accuracy.max_drop: must not be negative.*use min"),
            ({"accuracy": {"min": -0.1}}, "accuracy.min: must be at least 0"),
            ({"size_bytes": {"max": -1}}, "size_bytes.max: must be at least 0"),
            ({"size_bytes": {"max_ratio": 0}}, "size_bytes.max_ratio: must be above 0"),
            ({"size_bytes": {"max_drop": 5}}, "size_bytes.max_drop: .* bound its growth by max_ratio instead"),
            ({"accuracy": {"max_ratio": 0.9}}, "accuracy.max_ratio: .* bound its loss by max_drop instead"),
            ({"accuracy": {"min": math.nan}}, "accuracy.min: .*finite"),
            ({"latency_p50_ms": {"max": math.inf}}, "latency_p50_ms.max: .*finite"),
            ('{"latency_p50_ms": {"max": Infinity}}', "latency_p50_ms.max: .*finite"),
            ({"accuracy": {"min": "0.9"}}, "accuracy.min: .*valid number"),
            ({"accuracy": {"min": True}}, "accuracy.min: .*valid number"),
            ({"accuracy": {"min": 0}}, "accuracy.min: would bless every model"),
            ({"accuracy": {"max_drop": 1}}, "accuracy.max_drop: would bless every model"),
            ({"size_bytes": {"min": 0, "max": 9}}, "size_bytes.min: would bless every model"),
            ({"accuracy": {"max": 0.9}}, "accuracy.max: a worse accuracy keeps it, too; give min or max_drop as well"),
            ({"size_bytes": {"min": 1}}, "size_bytes.min: a worse size_bytes keeps it, too; give max or max_ratio"),
        ],
    )
    def test_what_cannot_work_fails_when_the_pipeline_is_built(self, bounds, message):
        with pytest.raises(ConfigError, match=message):
            Thresholds.parse(bounds)

    def test_a_single_point_may_be_demanded(self):
        thresholds = Thresholds.parse({"size_bytes": {"min": 9, "max": 9}})
        assert [judge(thresholds, {"size_bytes": size}, None).blessed for size in (8, 9, 10)] == [False, True, False]

    def test_every_mistake_is_named_at_once(self):
        with pytest.raises(ConfigError, match=r"accuracy\.min.*size_bytes\.max_drop.*latency: unknown metric"):
            Thresholds.parse(
                {"accuracy": {"min": 2}, "size_bytes": {"max_drop": 1}, "latency": {"max": 1}},
            )


class TestReasons:
    def reason(self, bounds, candidate, baseline=None, problems=()):
        return judge(Thresholds.parse(bounds), candidate, baseline, problems).reason

    @pytest.mark.parametrize(
        ("bounds", "candidate", "reason"),
        [
            (
                {"accuracy": {"min": 0.95}},
                {"accuracy": 0.912},
                "accuracy 0.912 is below the minimum 0.950 (short by 0.038)",
            ),
            (
                {"accuracy": {"min": 0.95}},
                {"accuracy": 0.94999},
                "accuracy 0.94999 is below the minimum 0.95000 (short by 0.00001)",
            ),
            (
                {"size_bytes": {"max": 60000}},
                {"size_bytes": 61234},
                "size_bytes 61,234 bytes is above the maximum 60,000 bytes (over by 1,234 bytes)",
            ),
            (
                {"size_bytes": {"max_ratio": 0.35}},
                {"size_bytes": 61234},
                "size_bytes 61,234 bytes is 0.390 times the baseline's 157,000 bytes, above the allowed 0.350",
            ),
            (
                {"accuracy": {"max_drop": 0.01}},
                {"accuracy": 0.94},
                "accuracy 0.940 is 0.025 below the baseline's 0.965, beyond the allowed drop of 0.010",
            ),
            (
                {"latency_p90_ms": {"max": 5}},
                {"latency_p90_ms": None},
                "the candidate has no figure for latency_p90_ms: it was not measured or could not be",
            ),
            (
                {"accuracy": {"min": 0.9, "max_drop": 0.1}},
                {"accuracy": math.nan},
                "accuracy of the candidate is nan, which is no measurement",
            ),
            ({"accuracy": {"min": 0.9}}, {"accuracy": 1.2}, "accuracy of the candidate is 1.2, outside 0 to 1"),
        ],
    )
    def test_a_failure_is_said_with_its_figures(self, bounds, candidate, reason):
        assert self.reason(bounds, candidate, BASELINE) == reason

    def test_a_missing_baseline_or_figure_of_it_is_named(self):
        bounds, candidate = {"accuracy": {"max_drop": 0.01}}, {"accuracy": 0.99}
        assert "there is no baseline model" in self.reason(bounds, candidate)
        assert "the baseline has no figure for accuracy" in self.reason(bounds, candidate, {"accuracy": None})
        assert "accuracy of the baseline is inf" in self.reason(bounds, candidate, {"accuracy": math.inf})
        assert "baseline is 0" in self.reason({"size_bytes": {"max_ratio": 2}}, {"size_bytes": 1}, {"size_bytes": 0})

    def test_a_pass_counts_its_checks_and_gives_their_figures(self):
        reason = self.reason(EXAMPLE, {"accuracy": 0.97, "size_bytes": 50000}, BASELINE)
        assert reason.startswith("all 4 checks passed: accuracy 0.970 is at least the minimum 0.950; ")
        assert self.reason({"accuracy": {"min": 0.5}}, {"accuracy": 0.5}).startswith("the only check passed: ")

    def test_a_problem_withholds_the_blessing_whatever_the_figures(self):
        verdict = judge(Thresholds.parse({"accuracy": {"min": 0.5}}), {"accuracy": 1.0}, None, ["3 examples were lost"])
        assert (verdict.blessed, verdict.reason) == (False, "3 examples were lost")

    def test_the_verdict_is_strict_json(self):
        verdict = judge(Thresholds.parse(EXAMPLE), {"accuracy": math.nan, "size_bytes": 1}, BASELINE)
        data = json.loads(json.dumps(verdict.to_dict(), allow_nan=False))
        assert data["blessed"] is False
        assert [(check["metric"], check["kind"], check["outcome"]) for check in data["checks"]] == [
            ("accuracy", "min", "fail"),
            ("accuracy", "max_drop", "fail"),
            ("size_bytes", "max", "pass"),
            ("size_bytes", "max_ratio", "pass"),
        ]
        assert data["checks"][0]["value"] is None
        assert data["checks"][2]["value"] == 1


# Figures on a decimal grid, so that exact fractions can say what ought to hold, ties included.
shares = st.integers(0, 1000).map(lambda n: Fraction(n, 1000))
sizes = st.integers(1, 10**6).map(Fraction)
ratios = st.integers(1, 2000).map(lambda n: Fraction(n, 1000))


@st.composite
def accuracy_cases(draw):
    kinds = draw(st.sets(st.sampled_from(["min", "max_drop"]), min_size=1))
    candidate, baseline = draw(shares), draw(shares)
    near = st.sampled_from([candidate, max(baseline - candidate, Fraction(0))])
    vacuous = {"min": Fraction(0), "max_drop": Fraction(1)}
    limits = {kind: st.one_of(shares, near).filter(vacuous[kind].__ne__) for kind in sorted(kinds)}
    return candidate, baseline, {kind: draw(limit) for kind, limit in limits.items()}


@st.composite
def size_cases(draw):
    kinds = draw(st.sets(st.sampled_from(["max", "max_ratio"]), min_size=1))
    baseline = draw(sizes)
    ratio = draw(ratios)
    candidate = draw(st.one_of(sizes, st.just(baseline * ratio)))
    strategies = {"max": st.one_of(sizes, st.just(candidate)), "max_ratio": st.one_of(ratios, st.just(ratio))}
    return candidate, baseline, {kind: draw(strategies[kind]) for kind in sorted(kinds)}


def holds(kind, limit, candidate, baseline):
    return {
        "min": candidate >= limit,
        "max": candidate <= limit,
        "max_drop": baseline - candidate <= limit,
        "max_ratio": candidate <= limit * baseline,
    }[kind]


def as_floats(figures):
    return {key: float(value) for key, value in figures.items()}


@given(accuracy_cases(), size_cases())
def test_blessed_exactly_when_every_bound_holds(by_accuracy, by_size):
    (accurate, accurate_base, accuracy_bounds), (small, small_base, size_bounds) = by_accuracy, by_size
    thresholds = Thresholds.parse({"accuracy": as_floats(accuracy_bounds), "size_bytes": as_floats(size_bounds)})

    verdict = judge(
        thresholds,
        as_floats({"accuracy": accurate, "size_bytes": small}),
        as_floats({"accuracy": accurate_base, "size_bytes": small_base}),
    )

    expected = [holds(kind, limit, accurate, accurate_base) for kind, limit in accuracy_bounds.items()]
    expected += [holds(kind, limit, small, small_base) for kind, limit in size_bounds.items()]
    assert sorted(check.outcome == "pass" for check in verdict.checks) == sorted(expected)
    assert verdict.blessed is all(expected)


PASSING = {"accuracy": 0.97, "size_bytes": 50000.0}


@given(
    st.sampled_from(["candidate", "baseline"]),
    st.sampled_from(sorted(PASSING)),
    st.sampled_from([None, math.nan, math.inf, -math.inf, -1.0, "absent"]),
)
def test_a_figure_that_is_not_known_is_never_blessed(whose, metric, value):
    figures = {"candidate": dict(PASSING), "baseline": dict(BASELINE)}
    thresholds = Thresholds.parse(EXAMPLE)
    assert judge(thresholds, figures["candidate"], figures["baseline"]).blessed

    if value == "absent":
        del figures[whose][metric]
    else:
        figures[whose][metric] = value

    verdict = judge(thresholds, figures["candidate"], figures["baseline"])
    assert not verdict.blessed
    assert metric in verdict.reason


@given(st.floats(0.94, 1), st.floats(0, 0.1), st.floats(0, 7e4), st.floats(0, 1))
def test_improving_a_metric_never_unblesses(accuracy_before, gain, size_before, shrink):
    thresholds = Thresholds.parse(EXAMPLE)
    before = {"accuracy": accuracy_before, "size_bytes": size_before}
    after = {"accuracy": min(1.0, accuracy_before + gain), "size_bytes": size_before * shrink}

    if judge(thresholds, before, BASELINE).blessed:
        assert judge(thresholds, after, BASELINE).blessed


class TestUncertainFigures:
    """A figure is only known to lie between two bounds."""

    LATENCY = Thresholds.parse({"latency_p50_ms": {"max": 2.0, "max_ratio": 1.1}})

    def check(self, figure, ratio, shortfalls=()):
        evidence = Evidence(
            {"latency_p50_ms": figure},
            {"latency_p50_ms": Estimate(1.5, 1.4, 1.6, 8, "processes")},
            {"latency_p50_ms": ratio},
            shortfalls=dict(shortfalls),
        )
        return check_bounds(self.LATENCY.bounds, evidence)

    @given(st.floats(0.1, 5), st.floats(0, 2), st.floats(0, 2), st.floats(0.1, 5))
    def test_pass_and_fail_need_both_bounds_on_one_side(self, value, below, above, limit):
        estimate = Estimate(value, value - below, value + above, 8, "processes")
        bounds = Thresholds.parse({"latency_p50_ms": {"max": limit}}).bounds
        (check,) = check_bounds(bounds, Evidence({"latency_p50_ms": estimate}))
        if check.outcome == "pass":
            assert estimate.high <= limit * (1 + 1e-8)
        elif check.outcome == "fail":
            assert estimate.low > limit
        else:
            assert estimate.low <= limit * (1 + 1e-8)
            assert estimate.high > limit

    def test_a_figure_that_cannot_be_told_from_its_limit_is_inconclusive_and_not_blessed(self):
        (level, ratio) = self.check(Estimate(1.9, 1.7, 2.1, 8, "processes"), Estimate(1.0, 0.9, 1.09, 8, "processes"))
        verdict = Verdict.of([level, ratio])
        assert (verdict.outcome, verdict.blessed) == ("inconclusive", False)
        assert verdict.reason == (
            "latency_p50_ms 1.900 ms (1.700 ms to 2.100 ms) cannot be told from the maximum 2.000 ms: "
            "about 24 more processes beside the 8 would tell"
        )
        assert verdict.binding is level

    def test_what_sampling_says_it_would_take_is_passed_on(self):
        told = {("latency_p50_ms", "max_ratio"): "about 3 more processes (2 s) would tell it from the limit"}
        (_, ratio) = self.check(
            Estimate(1.0, 0.9, 1.1, 8, "processes"), Estimate(1.08, 1.0, 1.16, 8, "processes"), told.items()
        )
        assert ratio.reason == (
            "latency_p50_ms 1.000 ms is 1.080 (1.000 to 1.160) times the baseline's 1.500 ms, which cannot be told "
            "from the allowed 1.100: about 3 more processes (2 s) would tell it from the limit"
        )

    def test_a_figure_at_its_limit_is_said_to_be_out_of_reach(self):
        (level, _) = self.check(Estimate(2.0, 1.8, 2.2, 8, "processes"), Estimate(1.0, 1.0, 1.0, 8, "processes"))
        assert "no number of samples could tell" in level.reason

    def test_one_failure_makes_the_verdict_a_failure_whatever_stays_open(self):
        checks = self.check(Estimate(1.9, 1.7, 2.1, 8, "processes"), Estimate(1.3, 1.2, 1.4, 8, "processes"))
        verdict = Verdict.of(checks)
        assert (verdict.outcome, verdict.binding) == ("fail", checks[1])
        assert verdict.reason.startswith("latency_p50_ms 1.900 ms is 1.300 (1.200 to 1.400) times")

    def test_figures_that_were_not_measured_together_are_not_compared(self):
        measured = {"latency_p50_ms": Estimate(1.5, 1.4, 1.6, 8, "processes")}
        (_, ratio) = check_bounds(self.LATENCY.bounds, Evidence(measured, measured))
        assert (ratio.outcome, ratio.value) == ("fail", None)
        assert "cannot be compared: they were not measured together" in ratio.reason

    def test_a_slice_is_named(self):
        bounds = Thresholds.parse({"accuracy": {"max_drop": 0.05}}).bounds
        share, drop = Estimate(0.8, 0.7, 0.9, 200, "examples"), Estimate(0.1, 0.06, 0.2, 200, "examples")
        evidence = Evidence({"accuracy": share}, {"accuracy": share}, {"accuracy": drop})
        (check,) = check_bounds(bounds, evidence, where={"digit": 8})
        assert (check.outcome, check.slice) == ("fail", {"digit": 8})
        assert check.reason.startswith("accuracy of digit=8 0.800 is 0.100 below")

    def test_short_times_keep_three_digits(self):
        bounds = Thresholds.parse({"latency_p50_ms": {"max": 0.005}}).bounds
        (check,) = check_bounds(bounds, Evidence({"latency_p50_ms": Estimate.exact(0.002236)}))
        assert check.reason == "latency_p50_ms 0.00224 ms is at most the maximum 0.00500 ms"

    def test_nothing_checked_is_not_blessed(self):
        assert Verdict.of([]).reason == "no bound was checked"
        assert not Verdict.of([]).blessed
        assert not Verdict.of([Check("flex_ops", "contract", "pass", "no operator needs TensorFlow")]).blessed

    def test_a_figure_that_is_not_a_number_never_passes(self):
        nan = Estimate(math.nan, math.nan, math.nan)
        assert nan.outcome(1.0) == nan.outcome(1.0, at_least=True) == "fail"
        assert json.loads(json.dumps(nan.to_dict(), allow_nan=False))["value"] is None


def test_a_limit_on_small_numbers_holds():
    """Figures in SI units may be far below 1."""
    assert Estimate(9e-13, 8.9e-13, 9.1e-13, 100, "examples").outcome(1e-13) == "fail"
    assert Estimate.exact(1e-17).outcome(0.0) == "pass"
