"""Bounds against exact formulas, exact enumeration and simulated coverage."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tfx_edge.errors import DataError
from tfx_edge.gate import intervals


def means(value: float, influences: np.ndarray, confidence: float, reach: float = 1e-9) -> intervals.Estimate:
    return intervals.from_influences(value, influences, confidence, reach=reach, low=-math.inf, high=math.inf)


class TestProportion:
    @given(st.integers(1, 500), st.data(), st.sampled_from([0.9, 0.95, 0.999]))
    def test_agrees_with_scipys_exact_interval(self, examples, data, confidence):
        hits = data.draw(st.integers(0, examples))
        exact = stats.binomtest(hits, examples).proportion_ci(1 - 2 * (1 - confidence), method="exact")
        found = intervals.proportion(hits, examples, confidence)
        assert found.low == pytest.approx(exact.low, abs=1e-9)
        assert found.high == pytest.approx(exact.high, abs=1e-9)
        assert found.value == hits / examples
        assert (found.samples, found.sample_unit) == (examples, "examples")

    @pytest.mark.parametrize("examples", [1, 20, 1000])
    def test_no_mistake_in_a_sample_is_the_rule_of_three_and_never_certainty(self, examples):
        assert intervals.proportion(0, examples, 0.95).high == pytest.approx(1 - 0.05 ** (1 / examples))
        assert intervals.proportion(examples, examples, 0.95).low == pytest.approx(0.05 ** (1 / examples))

    def test_no_examples_are_refused(self):
        with pytest.raises(DataError, match="no examples"):
            intervals.proportion(0, 0, 0.95)


class TestPairedDifference:
    @given(st.integers(0, 40), st.integers(0, 40), st.integers(80, 5000), st.sampled_from([0.95, 0.9995]))
    def test_holds_the_estimate_and_mirrors(self, lost, won, examples, confidence):
        found = intervals.paired_difference(lost, won, examples, confidence)
        mirrored = intervals.paired_difference(won, lost, examples, confidence)
        assert found.low < found.value < found.high
        assert found.value == pytest.approx((lost - won) / examples)
        assert (found.low, found.high) == pytest.approx((-mirrored.high, -mirrored.low))

    def test_no_disagreement_leaves_what_a_sample_may_have_missed(self):
        found = intervals.paired_difference(0, 0, 300, 0.95)
        assert (found.low, found.high) == pytest.approx((-(1 - 0.05 ** (1 / 300)), 1 - 0.05 ** (1 / 300)))

    def test_many_disagreements_give_the_usual_interval(self):
        lost, won, examples = 3000, 2500, 100_000
        found = intervals.paired_difference(lost, won, examples, 0.95)
        difference = (lost - won) / examples
        error = math.sqrt(((lost + won) / examples - difference**2) / examples)
        assert found.high - difference == pytest.approx(1.645 * error, rel=0.02)

    @pytest.mark.parametrize("confidence", [0.95, 0.999])
    @pytest.mark.parametrize("rates", [(0.002, 0.0), (0.01, 0.01), (0.03, 0.005), (0.1, 0.05)])
    def test_covers_what_it_says_by_exact_enumeration(self, rates, confidence):
        examples, (lose, win) = 200, rates
        covered = {"low": 0.0, "high": 0.0}
        for lost, won in itertools.product(range(60), range(45)):
            chance = stats.binom.pmf(lost, examples, lose) * stats.binom.pmf(won, examples - lost, win / (1 - lose))
            if chance < 1e-10:
                continue
            found = intervals.paired_difference(lost, won, examples, confidence)
            covered["low"] += chance * (found.low <= lose - win + 1e-12)
            covered["high"] += chance * (found.high >= lose - win - 1e-12)
        assert min(covered.values()) >= confidence - 1e-6


class TestInfluences:
    def test_symmetric_data_give_the_t_interval(self):
        values = np.concatenate([np.linspace(-1, 1, 101)])
        found = means(5.0, values, 0.95)
        margin = stats.t.ppf(0.95, 100) * values.std(ddof=1) / math.sqrt(101)
        assert (found.low, found.high) == pytest.approx((5 - margin, 5 + margin))

    @pytest.mark.parametrize("confidence", [0.95, 0.99])
    def test_bounds_of_a_skewed_mean_cover_better_than_t(self, confidence):
        rng = np.random.default_rng(1)
        samples = rng.exponential(size=(4000, 50))
        t = stats.t.ppf(confidence, 49)
        error = samples.std(axis=1, ddof=1) / math.sqrt(50)
        plain = np.mean(samples.mean(axis=1) + t * error >= 1)
        ours = np.mean([means(row.mean(), row - row.mean(), confidence).high >= 1 for row in samples])
        assert plain < confidence - 0.01
        assert plain < ours <= 1
        assert ours == pytest.approx(confidence, abs=0.017)

    @given(st.integers(30, 300), st.floats(0.9, 0.9999), st.integers(0, 2**32 - 1))
    @settings(max_examples=50)
    def test_the_figure_lies_strictly_between(self, examples, confidence, seed):
        values = np.random.default_rng(seed).pareto(1.5, examples)
        found = means(values.mean(), values - values.mean(), confidence, reach=float(values.max()))
        assert found.low < found.value < found.high

    def test_equal_examples_are_widened_by_what_may_be_unseen_or_refused(self):
        found = means(0.0, np.zeros(100), 0.95, reach=2.0)
        assert found.high == pytest.approx(2 * (1 - 0.05 ** (1 / 100)))
        with pytest.raises(DataError, match="do not vary"):
            means(0.0, np.zeros(100), 0.95, reach=0.0)

    @pytest.mark.parametrize(
        ("value", "influences", "told"),
        [
            (1.0, np.zeros(29), "29 examples are too few"),
            (math.nan, np.zeros(50), "not finite"),
            (1.0, np.full(50, math.inf), "not finite"),
        ],
    )
    def test_what_cannot_be_estimated_is_refused(self, value, influences, told):
        with pytest.raises(DataError, match=told):
            means(value, influences, 0.95, reach=1.0)


class TestBootstrap:
    def bounds(self, statistic, examples, confidence=0.95, seed=0):
        return intervals.bootstrap(statistic, examples, confidence, seed=seed, reach=0.0, low=-math.inf, high=math.inf)

    def test_of_a_mean_agrees_with_the_influences(self):
        values = np.random.default_rng(3).exponential(size=400)
        found = self.bounds(lambda indices: float(values[indices].mean()), 400)
        expected = means(values.mean(), values - values.mean(), 0.95)
        assert found.low == pytest.approx(expected.low, abs=0.15 * (expected.high - expected.low))
        assert found.high == pytest.approx(expected.high, abs=0.15 * (expected.high - expected.low))

    def test_the_same_seed_gives_the_same_bounds(self):
        values = np.random.default_rng(3).normal(size=100)

        def statistic(indices):
            return float(np.median(values[indices]))

        assert self.bounds(statistic, 100) == self.bounds(statistic, 100)
        assert self.bounds(statistic, 100) != self.bounds(statistic, 100, seed=1)

    def test_a_confidence_beyond_the_resamples_widens(self):
        values = np.random.default_rng(3).normal(size=100)

        def statistic(indices):
            return float(values[indices].mean())

        usual, strict = self.bounds(statistic, 100), self.bounds(statistic, 100, 0.99999)
        assert strict.high - strict.value > 2 * (usual.high - usual.value)

    @pytest.mark.parametrize(
        ("statistic", "examples", "told"),
        [
            (lambda indices: 1.0, 100, "the same on all resamples"),
            (lambda indices: float(indices.mean()), 10, "10 examples are too few"),
            (lambda indices: math.nan, 100, "nan, which is no measurement"),
            (lambda indices: float(indices[0]) if len(set(indices)) == 100 else math.nan, 100, "could not be computed"),
        ],
    )
    def test_what_cannot_be_estimated_is_refused(self, statistic, examples, told):
        with pytest.raises(DataError, match=told):
            self.bounds(statistic, examples)
