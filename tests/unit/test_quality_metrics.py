"""Metrics against scikit-learn and numerical derivatives, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn

from tfx_edge.errors import DataError, UserCodeError
from tfx_edge.gate.comparison import compare
from tfx_edge.gate.metric_kinds import Columns, Outputs, QualityMetric
from tfx_edge.gate.own_metrics import own_metrics
from tfx_edge.gate.quality_metrics import QUALITY_METRICS

ANALYTIC = [name for name, metric in QUALITY_METRICS.items() if metric.influences is not None]


def outputs(labels, values, inputs=None, probabilities=False) -> Outputs:
    return Outputs(np.asarray(labels), np.asarray(values), inputs or {}, probabilities)


def figure(name: str, answered: Outputs) -> float:
    metric = QUALITY_METRICS[name]
    return metric.value(metric.keep(answered))


def classification(seed: int, examples: int = 300, classes: int = 4) -> Outputs:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, examples)
    return outputs(labels, rng.normal(size=(examples, classes)) + 1.5 * np.eye(classes)[labels])


def binary(seed: int, examples: int = 300, share: float = 0.3) -> Outputs:
    rng = np.random.default_rng(seed)
    labels = rng.random(examples) < share
    return outputs(labels.astype(np.int64), (rng.normal(size=examples) + 1.2 * labels)[:, None])


def regression(seed: int, examples: int = 300) -> Outputs:
    rng = np.random.default_rng(seed)
    labels = rng.normal(size=examples)
    return outputs(labels, (labels + 0.4 * rng.normal(size=examples))[:, None])


MAKERS = {
    **dict.fromkeys(["accuracy", "macro_f1", "macro_recall", "log_loss"], classification),
    **dict.fromkeys(["auc", "average_precision", "anomaly_auc", "anomaly_average_precision"], binary),
    **dict.fromkeys(["mean_absolute_error", "rmse", "r2"], regression),
}


def test_every_metric_is_made_up_here():
    assert MAKERS.keys() == QUALITY_METRICS.keys()


class TestFigures:
    @given(st.integers(0, 2**32 - 1), st.integers(2, 6))
    @settings(max_examples=25)
    def test_classes_agree_with_scikit_learn(self, seed, classes):
        answered = classification(seed, classes=classes)
        predicted = answered.values.argmax(axis=1)
        odds = np.exp(answered.values)
        shares = odds / odds.sum(axis=1, keepdims=True)
        assert figure("accuracy", answered) == pytest.approx(sklearn.accuracy_score(answered.labels, predicted))
        assert figure("macro_f1", answered) == pytest.approx(
            sklearn.f1_score(answered.labels, predicted, average="macro")
        )
        assert figure("macro_recall", answered) == pytest.approx(
            sklearn.balanced_accuracy_score(answered.labels, predicted)
        )
        expected = sklearn.log_loss(answered.labels, shares)
        assert figure("log_loss", answered) == pytest.approx(expected)
        assert figure("log_loss", outputs(answered.labels, shares, probabilities=True)) == pytest.approx(expected)

    @given(st.integers(0, 2**32 - 1))
    @settings(max_examples=25)
    def test_ranks_agree_with_scikit_learn_for_logits_probabilities_and_two_classes(self, seed):
        answered = binary(seed)
        scores = np.round(answered.values[:, 0], 1)  # ties
        share = 1 / (1 + np.exp(-scores))
        for values in (scores[:, None], share[:, None], scores, np.stack([1 - share, share], axis=1)):
            for name, reference in (
                ("auc", sklearn.roc_auc_score),
                ("average_precision", sklearn.average_precision_score),
            ):
                expected = reference(answered.labels, scores)
                assert figure(name, outputs(answered.labels, values)) == pytest.approx(expected)

    def test_one_score_is_read_as_a_logit_or_a_probability(self):
        labels, logits = np.array([0, 1, 1, 0]), np.array([[-2.0], [0.3], [-0.1], [0.2]])
        shares = 1 / (1 + np.exp(-logits))
        assert figure("accuracy", outputs(labels, logits)) == 0.5
        assert figure("accuracy", outputs(labels, shares, probabilities=True)) == 0.5
        assert figure("accuracy", outputs(labels, shares)) == 0.5  # every share is above 0: all are called 1
        assert figure("log_loss", outputs(labels, logits)) == pytest.approx(sklearn.log_loss(labels, shares[:, 0]))

    def test_errors_agree_with_scikit_learn(self):
        answered = regression(0)
        labels, found = answered.labels, answered.values[:, 0]
        assert figure("mean_absolute_error", answered) == pytest.approx(sklearn.mean_absolute_error(labels, found))
        assert figure("rmse", answered) == pytest.approx(math.sqrt(sklearn.mean_squared_error(labels, found)))
        assert figure("r2", answered) == pytest.approx(sklearn.r2_score(labels, found))

    def test_numbers_are_compared_in_one_layout(self):
        labels = np.random.default_rng(0).random((50, 4, 2))
        assert figure("mean_absolute_error", outputs(labels, labels[..., None])) == 0
        assert figure("mean_absolute_error", outputs(labels.reshape(50, 8), labels)) == 0
        with pytest.raises(DataError, match=r"labels have the shape \(50, 4, 2\), but the output \(50, 2, 4\)"):
            figure("mean_absolute_error", outputs(labels, labels.reshape(50, 2, 4)))

    def test_a_reconstruction_is_scored_by_its_error(self):
        rng = np.random.default_rng(0)
        inputs, labels = rng.random((200, 6, 3)), np.arange(200) % 4 == 0
        rebuilt = inputs + rng.normal(size=inputs.shape) * (1 + labels)[:, None, None] * 0.1
        expected = sklearn.roc_auc_score(labels, ((rebuilt - inputs) ** 2).mean(axis=(1, 2)))
        assert figure("anomaly_auc", outputs(labels, rebuilt, {"signal": inputs})) == pytest.approx(expected)

    def test_a_certain_mistake_costs_much_but_not_everything(self):
        answered = outputs([0, 1], [[0.0, 1.0], [0.0, 1.0]], probabilities=True)
        assert figure("log_loss", answered) == pytest.approx(-math.log(1e-7) / 2, rel=1e-5)

    def test_only_figures_that_depend_on_the_kind_of_scores_ask_for_it(self):
        two, several = classification(0, classes=2), classification(0)
        one = binary(0)
        for name in ("accuracy", "macro_f1", "macro_recall", "auc"):
            answered = one if name == "auc" else several
            unknown = outputs(answered.labels, answered.values, probabilities=None)
            assert figure(name, unknown) == figure(name, answered), name
        for name, answered in (("accuracy", one), ("macro_f1", one), ("log_loss", one), ("log_loss", two)):
            with pytest.raises(DataError, match=r"cannot tell logits from probabilities.*say scores='logits' or 'prob"):
                figure(name, outputs(answered.labels, answered.values, probabilities=None))


class TestIntervals:
    @pytest.mark.parametrize("name", ANALYTIC)
    def test_influences_are_the_derivative_by_an_examples_weight(self, name):
        """Doubling an example's weight moves the figure by its influence / n: the definition, tried on real ones."""
        metric = QUALITY_METRICS[name]
        columns = metric.keep(MAKERS[name](5, examples=1000))
        influences = metric.influences(columns)
        assert influences.mean() == pytest.approx(0, abs=1e-9)
        assert np.abs(influences).max() <= metric.reach(columns) * (1 + 1e-9)
        times = 20  # weights on a grid of 1/20: every example 20 times, one of them 21 times
        for example in (0, 7, 500):
            indices = np.append(np.tile(np.arange(1000), times), example)
            moved = metric.value({key: array[indices] for key, array in columns.items()}) - metric.value(columns)
            assert moved * len(indices) == pytest.approx(influences[example], abs=0.02 * np.std(influences))

    @pytest.mark.parametrize("name", [*ANALYTIC, "accuracy"])
    def test_bounds_cover_the_true_figure_and_the_true_change(self, name):
        """300 samples of 400 from a population: each bound misses about 5 % of the time, and never far more."""
        metric, make = QUALITY_METRICS[name], MAKERS[name]
        population = make(11, examples=40_000)
        noise = np.random.default_rng(12).normal(size=population.values.shape)
        worse = outputs(population.labels, population.values + 0.8 * noise)
        mine, base = metric.keep(worse), metric.keep(population)
        truth = {"candidate": metric.value(mine), "baseline": metric.value(base)}
        truth["drop"] = truth["baseline"] - truth["candidate"]
        truth["ratio"] = truth["candidate"] / truth["baseline"]
        rng = np.random.default_rng(13)
        missed: dict[str, int] = {}
        for _ in range(300):
            chosen = rng.integers(0, 40_000, 400)
            found = compare(metric, take(mine, chosen), take(base, chosen), 0.95, 0)
            change = "drop" if metric.better == "higher" else "ratio"
            for what in ("candidate", change):
                estimate = getattr(found, what)
                missed[f"{what} low"] = missed.get(f"{what} low", 0) + (estimate.low > truth[what])
                missed[f"{what} high"] = missed.get(f"{what} high", 0) + (estimate.high < truth[what])
        assert max(missed.values()) <= 28, missed  # 15 expected; 28 or more has a chance of 0.1 %

    def test_identical_models_are_not_said_to_be_identical(self):
        for name, make in MAKERS.items():
            metric = QUALITY_METRICS[name]
            columns = metric.keep(make(1))
            found = compare(metric, columns, columns, 0.95, 0)
            change = found.drop or found.ratio
            assert change.low < change.value < change.high, name

    def test_a_metric_of_the_user_that_does_not_change_at_all_is_refused(self):
        metric = own_metrics({"median_error": {"function": median_error, "better": "lower"}})["median_error"]
        columns = metric.keep(outputs(np.zeros(50), np.ones((50, 1))))
        assert "the same on all resamples" in compare(metric, columns, None, 0.95, 0).problem

    def test_perfect_answers_leave_doubt(self):
        labels = np.arange(300) % 2
        for name in ("accuracy", "auc", "macro_f1", "macro_recall"):
            metric = QUALITY_METRICS[name]
            found = compare(metric, metric.keep(outputs(labels, labels[:, None] * 8.0 - 4)), None, 0.95, 0).candidate
            assert found.value == found.high == 1
            assert 0.9 < found.low < 0.995

    def test_a_bootstrapped_metric_has_paired_bounds(self):
        metric = QUALITY_METRICS["average_precision"]
        base = binary(2)
        worse = outputs(base.labels, base.values + 2 * np.random.default_rng(0).normal(size=base.values.shape))
        found = compare(metric, metric.keep(worse), metric.keep(base), 0.95, 0)
        assert found.problem is None
        assert 0 < found.drop.low < found.drop.value < found.drop.high
        assert found.drop.high - found.drop.low < found.candidate.high - found.candidate.low + (
            found.baseline.high - found.baseline.low
        )


def take(columns: Columns, indices: np.ndarray) -> dict[str, np.ndarray]:
    return {name: array[indices] for name, array in columns.items()}


def one_score(labels) -> Outputs:
    return outputs(labels, np.linspace(0, 1, len(labels))[:, None])


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "answered", "told"),
        [
            ("accuracy", outputs([0, 1], [[0.1, math.nan], [1, 0]]), "1 of 2 rows of outputs hold NaN"),
            ("accuracy", outputs([0, 3], [[0, 1, 2], [1, 0, 0]]), "1 of 2 labels name no class, for example 3"),
            ("accuracy", outputs([0, 2], [[0.1], [0.9]]), "for example 2; labels are whole numbers from 0 to 1"),
            ("accuracy", outputs([b"a", b"b"], [[0.1, 1], [1, 0]]), "class numbers are needed"),
            ("accuracy", outputs([0, 1], np.zeros((2, 3, 3))), "outputs have the shape"),
            ("accuracy", outputs([[1, 1], [0, 1]], [[0.1, 1], [1, 0]]), "not one-hot"),
            ("macro_f1", outputs([1, 1], [[0.1, 1], [1, 0]]), "all of class 1"),
            ("macro_recall", outputs([0, 1], [[0.1, 1], [1, 0]]), "only 1 examples of class 0"),
            ("auc", outputs([0, 1], [[0.1, 1, 0], [1, 0, 0]]), "3 scores an example"),
            ("auc", one_score(np.zeros(50, np.int64)), "0 of 50 examples are positive"),
            ("average_precision", one_score(np.ones(50, np.int64)), "50 of 50 examples are positive"),
            ("auc", one_score(np.arange(50) == 0), "1 of 50 examples are positive"),
            ("anomaly_auc", outputs([0, 1], np.zeros((2, 4)), {"x": np.zeros((2, 5))}), "reconstruction of the only"),
            ("log_loss", outputs([0, 1], [[2.0, -1], [1, 0]], probabilities=True), 'say scores="logits"'),
            (
                "accuracy",
                outputs([0, 1], [[-2.0], [3.0]], probabilities=True),
                'goes from -2 to 3; say scores="logits"',
            ),
            ("rmse", outputs([0.0, 1.0], [[0.0, 1], [1, 0]]), "must be alike"),
            ("rmse", outputs([0.0, math.nan], [[0.0], [1]]), "1 of 2 labels are NaN"),
            ("r2", outputs(np.ones(40), np.ones((40, 1))), "labels are all the same"),
            ("r2", outputs(np.ones((40, 2)), np.ones((40, 2))), "one number an example"),
        ],
    )
    def test_what_cannot_be_scored_is_refused(self, name, answered, told):
        with pytest.raises(DataError, match=told):
            figure(name, answered)

    def test_a_metric_that_cannot_be_estimated_carries_the_problem(self):
        metric = QUALITY_METRICS["rmse"]
        exact = metric.keep(outputs(np.arange(50.0), np.arange(50.0)))
        found = compare(metric, exact, None, 0.95, 0)
        assert found.candidate is None
        assert "rmse of the candidate cannot be estimated: the examples do not vary" in found.problem
        found = compare(metric, metric.keep(regression(0)), metric.keep(outputs(np.zeros(300), np.zeros(300))), 0.95, 0)
        assert found.candidate is not None
        assert "rmse of the baseline cannot be estimated" in found.problem


def within_half(labels, values):
    return np.abs(values.reshape(-1) - labels) < 0.5


def median_error(labels, values):
    return np.median(np.abs(values.reshape(-1) - labels))


class TestOwnMetrics:
    def metrics(self) -> dict[str, QualityMetric]:
        return own_metrics(
            {
                "within_half": {
                    "function": within_half, "better": "higher", "per_example": True, "low": 0.0, "high": 1.0,
                },
                "median_error": {"function": median_error, "better": "lower", "low": 0.0},
            }
        )  # fmt: skip

    def test_both_kinds_are_estimated_and_compared(self):
        base = regression(0)
        worse = outputs(base.labels, base.values + 0.5 * np.random.default_rng(1).normal(size=base.values.shape))
        for name, metric in self.metrics().items():
            found = compare(metric, metric.keep(worse), metric.keep(base), 0.95, 0)
            assert found.problem is None, name
            change = found.drop if metric.better == "higher" else found.ratio
            assert change.low < change.value < change.high
            assert change.low > (0 if metric.better == "higher" else 1), "the noise is plain to see"

    def test_only_per_example_figures_travel_where_they_can(self):
        kept = {name: metric.keep(regression(0)) for name, metric in self.metrics().items()}
        assert kept["within_half"].keys() == {"within_half"}
        assert kept["median_error"].keys() == {"labels", "outputs"}

    @pytest.mark.parametrize(
        ("found", "told"),
        [
            ([], "must return a dict"),
            (
                {"accuracy": {"function": within_half, "better": "higher"}},
                "'accuracy' is no name or is that of a built-in",
            ),
            (
                {"size_bytes": {"function": within_half, "better": "lower"}},
                "'size_bytes' is no name or is that of a bu",
            ),
            ({"latency_p50_ms": {"function": within_half, "better": "lower"}}, "'latency_p50_ms' is no name or"),
            ({"mine": {"function": within_half, "better": "lower", "low": 1.0, "high": 0.0}}, "low must be below high"),
            ({"mine": {"function": within_half, "better": "lower", "low": math.nan}}, "low"),
            ({"mine": within_half}, '"function": f'),
            ({"mine": {"function": within_half}}, "better"),
            ({"mine": {"function": within_half, "better": "up"}}, "better"),
            ({"mine": {"function": within_half, "better": "higher", "per_exmaple": True}}, "per_exmaple"),
        ],
    )
    def test_other_descriptions_are_refused(self, found, told):
        with pytest.raises(UserCodeError, match=told):
            own_metrics(found)

    @pytest.mark.parametrize(
        ("function", "per_example", "error", "told"),
        [
            (median_error, True, UserCodeError, "one number for each of 300 examples"),
            (within_half, False, UserCodeError, "must give one number, but"),
            (lambda labels, values: 1 / 0, True, UserCodeError, "the metric mine failed: ZeroDivisionError"),
            (lambda labels, values: labels * math.nan, True, DataError, "gave NaN or infinity for 300 examples"),
        ],
    )
    def test_a_function_that_does_not_do_what_is_said_is_refused(self, function, per_example, error, told):
        metric = own_metrics({"mine": {"function": function, "better": "higher", "per_example": per_example}})["mine"]
        with pytest.raises(error, match=told):
            metric.value(metric.keep(regression(0)))

    @pytest.mark.parametrize("per_example", [True, False])
    def test_outputs_that_are_not_numbers_are_refused(self, per_example):
        def best(labels, values):
            hits = np.argmax(values, axis=1) == labels
            return hits if per_example else hits.mean()

        metric = own_metrics({"best": {"function": best, "better": "higher", "per_example": per_example}})["best"]
        with pytest.raises(DataError, match="50 of 50 rows of outputs hold NaN or infinity"):
            metric.keep(outputs(np.zeros(50, np.int64), np.full((50, 4), math.nan)))

    @pytest.mark.parametrize("per_example", [True, False])
    @pytest.mark.parametrize("written", ["labels", "outputs"])
    def test_a_function_that_writes_to_its_arguments_is_refused_and_changes_nothing(self, per_example, written):
        def cheat(labels, values):
            (labels if written == "labels" else values)[...] = 0
            return np.ones(len(labels)) if per_example else 1.0

        metric = own_metrics({"cheat": {"function": cheat, "better": "higher", "per_example": per_example}})["cheat"]
        answered = regression(0)
        before = answered.labels.copy(), answered.values.copy()
        with pytest.raises(UserCodeError, match=r"cheat failed: .*read-only"):
            metric.value(metric.keep(answered))
        np.testing.assert_array_equal(answered.labels, before[0])
        np.testing.assert_array_equal(answered.values, before[1])

    @pytest.mark.parametrize("per_example", [True, False])
    def test_figures_beyond_the_declared_limits_are_refused(self, per_example):
        """Intervals rest on the limits, so they would be too narrow."""

        def wide(labels, values):
            return np.where(np.arange(len(labels)) % 2, 60.0, -59.0) if per_example else 1.2

        metric = own_metrics(
            {"wide": {"function": wide, "better": "higher", "per_example": per_example, "low": 0.0, "high": 1.0}}
        )["wide"]
        with pytest.raises(DataError, match=r"wide is said to lie between 0 and 1, but gave (-59|1\.2)"):
            metric.value(metric.keep(regression(0)))

    def test_rounding_beyond_a_limit_is_taken_back(self):
        def share(labels, values):
            return np.full(len(labels), 1 + 1e-7)

        metric = own_metrics(
            {"share": {"function": share, "better": "higher", "per_example": True, "low": 0.0, "high": 1.0}}
        )["share"]
        assert metric.value(metric.keep(regression(0))) == 1.0
