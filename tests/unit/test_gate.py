from __future__ import annotations

import json
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.errors import ConfigError, DataError
from tfx_edge.gate.metrics import METRICS, accuracy
from tfx_edge.gate.thresholds import Thresholds
from tfx_edge.gate.verdict import judge

EXAMPLE = {"accuracy": {"min": 0.95, "max_drop": 0.01}, "size_bytes": {"max": 60000, "max_ratio": 0.35}}
BASELINE = {"accuracy": 0.965, "size_bytes": 157000}


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
            ({}, "no thresholds are given, and a gate without any would bless every model"),
            (None, "no thresholds are given"),
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


class TestAccuracy:
    SCORES = np.array([[0.1, 0.9, 0.0], [0.8, 0.1, 0.1], [0.3, 0.3, 0.4], [0.2, 0.5, 0.3]], np.float32)

    @pytest.mark.parametrize(
        "labels",
        [
            [1, 0, 0, 2],
            [[1], [0], [0], [2]],
            [[0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]],
            np.array([1.0, 0.0, 0.0, 2.0], np.float32),
        ],
        ids=["numbers", "column", "one-hot", "whole floats"],
    )
    def test_counts_right_answers_in_every_form_of_labels(self, labels):
        assert accuracy(labels, self.SCORES) == 0.5

    @given(st.integers(1, 30), st.integers(2, 5), st.data())
    def test_is_the_share_of_rows_whose_label_won(self, examples, classes, data):
        labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=examples, max_size=examples)))
        winners = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=examples, max_size=examples)))

        expected = sum(int(a == b) for a, b in zip(labels, winners, strict=True)) / examples

        assert accuracy(labels, np.eye(classes)[winners]) == pytest.approx(expected)
        assert accuracy(np.eye(classes)[labels], np.eye(classes)[winners]) == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("labels", "scores", "message"),
        [
            ([], np.zeros((0, 3)), "no examples"),
            ([1, 0], [0.2, 0.8], "binary models.*give two class scores"),
            ([1, 0], [[0.2], [0.8]], "binary models.*give two class scores"),
            ([1], np.zeros((1, 2, 2)), r"shape \(1, 2, 2\)"),
            ([1, 0, 1], np.zeros((2, 3)), "3 labels but 2 rows"),
            (1, np.zeros((1, 3)), "0 labels but 1 rows"),
            ([1, 3], np.zeros((2, 3)), "1 of 2 labels name no class, for example 3.*from 0 to 2"),
            ([1, -1], np.zeros((2, 3)), "for example -1"),
            ([0.5, 1.0], np.zeros((2, 3)), "for example 0.5"),
            ([[1, 1, 0], [0, 0, 1]], np.zeros((2, 3)), r"1 of 2 label rows of shape \(2, 3\) are not one-hot"),
            ([[0.9, 0.1, 0.0]], np.zeros((1, 3)), "not one-hot"),
            ([[1, 0], [0, 1]], np.zeros((2, 3)), r"labels have the shape \(2, 2\)"),
            (["cat", "dog"], np.zeros((2, 3)), "class numbers are needed"),
            ([0, 1, 2], [[0, 1], [math.nan, 0], [0, math.inf]], "2 of 3 rows of scores hold NaN or infinity"),
        ],
    )
    def test_data_that_cannot_be_scored_is_refused(self, labels, scores, message):
        with pytest.raises(DataError, match=message):
            accuracy(labels, scores)

    def test_a_quality_metric_can_be_bounded_like_a_measured_one(self):
        assert METRICS["accuracy"].compute is accuracy
        assert Thresholds.parse({"accuracy": {"min": 0.5}}).bounds.keys() == {"accuracy"}


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
        assert [(check["metric"], check["kind"], check["passed"]) for check in data["checks"]] == [
            ("accuracy", "min", False),
            ("accuracy", "max_drop", False),
            ("size_bytes", "max", True),
            ("size_bytes", "max_ratio", True),
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
    return candidate, baseline, {kind: draw(st.one_of(shares, near)) for kind in sorted(kinds)}


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
    assert sorted(check.passed for check in verdict.checks) == sorted(expected)
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
