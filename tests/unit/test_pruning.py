"""Magnitude pruning: which weights go, when, in which pattern, and that they are gone in the end."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pruned_models
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from killed import Killed, dying_after
from pruned_models import STEPS, equal, fit, network

from tfx_edge.errors import ConfigError, ModelError
from tfx_edge.pruner.spec import PrunerConfig
from tfx_edge.pruning import magnitude, masks
from tfx_edge.pruning.kernels import kernels
from tfx_edge.pruning.settings import Magnitude
from tfx_edge.training.checkpoints import Checkpoint

SMALL = {"inner/inside": "smaller than a block", "attention": "smaller than a block", "separable": "a single block"}
SCORES = arrays.arrays(
    np.float64, arrays.array_shapes(min_dims=2, max_dims=4, max_side=9), elements=st.floats(0, 9, width=16)
)
SHARES = st.floats(0, 0.99)


def zeros(model: tf_keras.Model) -> dict[str, np.ndarray]:
    return {f"{kernel.layer}.{kernel.name}": kernel.values == 0 for kernel in kernels(model)}


def pruned(model: tf_keras.Model, epochs: int = 2, **given_settings: Any) -> magnitude.Plan:
    plan = magnitude.Plan.of(model, Magnitude.parse(given_settings))
    fit(model, epochs, [magnitude.Pruning(plan, STEPS, epochs)])
    return plan


class TestMasks:
    @settings(max_examples=25, deadline=None)
    @given(SCORES, SHARES)
    def test_the_smallest_go_and_as_many_as_asked(self, scores: np.ndarray, share: float) -> None:
        kept = masks.smallest_go(scores, share)
        assert (~kept).sum() == min(round(share * scores.size), scores.size - 1)
        assert kept.all() or scores[~kept].max() <= scores[kept].min()

    @settings(max_examples=25, deadline=None)
    @given(SCORES, SHARES, SHARES)
    def test_what_is_gone_stays_gone(self, scores: np.ndarray, one: float, other: float) -> None:
        first = masks.smallest_go(scores, min(one, other))
        later = masks.smallest_go(np.where(first, scores, 0), max(one, other))
        assert not np.any(later & ~first & (scores > 0))

    @settings(max_examples=25, deadline=None)
    @given(st.lists(SCORES, min_size=1, max_size=4), st.floats(0, 0.9))
    def test_ranked_together_the_smallest_of_all_go_and_none_goes_whole(
        self, scores: list[np.ndarray], share: float
    ) -> None:
        kept = masks.smallest_of_all_go(scores, share)
        assert [part.shape for part in kept] == [part.shape for part in scores]
        assert all(part.sum() >= max(1, masks.KEPT_BY_EACH * part.size) for part in kept)
        gone = sum(int((~part).sum()) for part in kept)
        everything = sum(part.size for part in scores)
        protected = sum(max(1, int(np.ceil(masks.KEPT_BY_EACH * part.size))) for part in scores)
        assert gone == min(round(share * everything), everything - protected)

    def test_a_layer_of_small_weights_loses_more(self) -> None:
        generator = np.random.default_rng(0)
        small, large = generator.uniform(0, 1, (20, 20)), generator.uniform(0, 10, (20, 20))
        kept = masks.smallest_of_all_go([small, large], 0.5)
        assert kept[0].mean() < 0.15 < 0.85 < kept[1].mean()

    @settings(max_examples=25, deadline=None)
    @given(SCORES, st.data())
    def test_two_of_every_four_neighbours_stay(self, scores: np.ndarray, data: st.DataObject) -> None:
        axis = data.draw(st.integers(0, scores.ndim - 1))
        kept = np.moveaxis(masks.two_of_four(scores, axis), axis, -1)
        ordered = np.moveaxis(scores, axis, -1)
        for start in range(0, kept.shape[-1], 4):
            group, values = kept[..., start : start + 4], ordered[..., start : start + 4]
            assert np.all(group.sum(axis=-1) == min(2, group.shape[-1]))
            assert np.all(np.where(group, values, np.inf).min(-1) >= np.where(group, -np.inf, values).max(-1))

    @settings(max_examples=25, deadline=None)
    @given(SCORES, st.tuples(st.integers(1, 4), st.integers(1, 4)))
    def test_a_block_is_the_mean_of_its_weights_and_spreads_over_them(
        self, scores: np.ndarray, size: tuple[int, int]
    ) -> None:
        blocks = masks.Blocks(scores.shape, size)
        matrix, reduced = scores.reshape(blocks.matrix), blocks.reduced(scores)
        spread = blocks.expanded(reduced).reshape(blocks.matrix)
        for row in range(0, matrix.shape[0], size[0]):
            for column in range(0, matrix.shape[1], size[1]):
                part = np.s_[row : row + size[0], column : column + size[1]]
                np.testing.assert_allclose(spread[part], matrix[part].mean(), atol=1e-9)


class TestKernels:
    @pytest.fixture(scope="class")
    def zoo(self) -> tf_keras.Model:
        return pruned_models.zoo()

    def test_all_that_multiplies_inputs_is_found(self, zoo: tf_keras.Model) -> None:
        found = [(kernel.layer, kernel.name) for kernel in kernels(zoo)]
        attention = [("attention", "kernel")] * 4
        expected = [
            ("first", "kernel"), ("separable", "pointwise_kernel"), ("transposed", "kernel"),
            ("inner/inside", "kernel"), ("dense", "kernel"), ("table", "embeddings"), *attention, ("memory", "kernel"),
            ("memory", "recurrent_kernel"),
        ]  # fmt: skip
        assert sorted(found) == sorted(expected)

    def test_a_layer_that_is_used_twice_counts_once(self) -> None:
        inputs, shared = tf_keras.Input((4,)), tf_keras.layers.Dense(4, name="shared")
        assert len(kernels(tf_keras.Model(inputs, shared(shared(inputs))))) == 1

    @pytest.mark.parametrize(
        ("given_settings", "left"),
        [
            ({"pattern": "2:4"}, {"first": "four inputs", "table": "one dimension", "attention": "one dimension"}),
            ({"pattern": "block", "block_size": (8, 8)}, SMALL),
            ({}, {}),
        ],
    )
    def test_every_pattern_fits_or_the_layer_is_named(
        self, zoo: tf_keras.Model, given_settings: dict[str, Any], left: dict[str, str]
    ) -> None:
        plan = magnitude.Plan.of(zoo, Magnitude.parse(given_settings))
        assert plan.left.keys() == left.keys()
        assert all(words in plan.left[layer] for layer, words in left.items())
        kept = magnitude.draw(plan)
        for target, mask in zip(plan.pruned, kept, strict=True):
            assert mask.shape == tuple(target.kernel.variable.shape)
            assert 0.2 - 1e-9 <= 1 - mask.mean() <= 0.8 + 1e-9

    @pytest.mark.parametrize(
        ("given_settings", "message"),
        [
            ({"overrides": [{"layers": "densee", "final_sparsity": 0.1}]}, r"'densee' is for none .* first, separable"),
            ({"layers": "dense", "overrides": [{"layers": "first", "final_sparsity": 0.1}]}, "for none of the layers"),
            ({"layers": "depthwise"}, "matches none of the layers with kernels, which are first, separable"),
            ({"overrides": [{"layers": ".*", "final_sparsity": 0}]}, "every override asks for 0"),
            ({"pattern": "2:4", "layers": "first"}, "nothing can be pruned: first: pattern '2:4' needs four inputs"),
            (
                {"pattern": "2:4", "overrides": [{"layers": "first", "final_sparsity": 0.5}]},
                "override asks to prune layer 'first', but pattern '2:4' needs four inputs",
            ),
        ],
    )
    def test_what_names_nothing_or_cannot_be_is_an_error(
        self, zoo: tf_keras.Model, given_settings: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ModelError, match=message):
            magnitude.Plan.of(zoo, Magnitude.parse(given_settings))


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"final_sparsity": 1.0}, "final_sparsity"),
        ({"final_sparsity": 0.5, "initial_sparsity": 0.6}, "initial_sparsity 0.6 must be below final_sparsity 0.5"),
        ({"initial_sparsity": 0.1, "schedule": "constant"}, "belongs to schedule 'polynomial'"),
        ({"ramp": 0.3, "schedule": "constant"}, "ramp 0.3 belongs to schedule 'polynomial'.*leave it out"),
        ({"ramp": 0.3, "pattern": "2:4"}, "ramp 0.3 belongs to schedule 'polynomial'.*leave it out"),
        ({"block_size": (4, 1)}, "belongs to pattern 'block'"),
        ({"pattern": "block", "block_size": (1, 1)}, "no block"),
        ({"pattern": "2:4", "final_sparsity": 0.6}, "sparsity of 0.5"),
        ({"pattern": "2:4", "schedule": "polynomial"}, "schedule must be 'constant'"),
        ({"pattern": "2:4", "ranking": "global"}, "leave ranking out"),
        ({"layers": "("}, "not a regular expression"),
        ({"overrides": [{"layers": "[", "final_sparsity": 0.5}]}, "not a regular expression"),
        ({"sparsity": 0.5}, "unknown key 'method.magnitude.sparsity' .*final_sparsity"),
        ({"kind": "clusters", "number": 1}, "method.clusters.number"),
        ({"kind": "clusters", "overrides": [{"layers": "a", "number": 65537}]}, "overrides.0.number.* 65536"),
        ({"kind": "clusters", "final_sparsity": 0.5}, "unknown key 'method.clusters.final_sparsity' .*number"),
        ({"kind": "random"}, "'magnitude'"),
    ],
)
def test_a_method_that_cannot_work_is_refused_while_the_pipeline_is_built(method: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrunerConfig.parse({"method": method})


def test_a_block_without_a_size_has_the_default_one() -> None:
    for method in ({"pattern": "block"}, {"pattern": "block", "block_size": None}):
        assert PrunerConfig.parse({"method": method}).method.block_size == (4, 1)


@pytest.mark.parametrize(
    "method",
    [
        {},
        {"pattern": "2:4"},
        {"pattern": "block"},
        {"kind": "clusters", "overrides": [{"layers": "scores", "number": None}]},
        {"ranking": "global", "overrides": [{"layers": "scores", "final_sparsity": 0.2}]},
    ],
)
def test_a_configuration_comes_back_from_its_text(method: dict[str, Any]) -> None:
    config = PrunerConfig.parse({"method": method})
    assert PrunerConfig.parse(config.to_json()) == config
    assert config.to_json() == PrunerConfig.parse(config.to_json()).to_json()


class TestTraining:
    @settings(max_examples=4, deadline=None)
    @given(
        st.floats(0.2, 0.9),
        st.sampled_from(["layer", "global"]),
        st.sampled_from(["polynomial", "constant"]),
        st.sampled_from([None, (4, 1), (2, 3)]),
    )
    def test_the_zeros_that_were_asked_for_are_there(
        self, share: float, ranking: str, schedule: str, block_size: tuple[int, int] | None
    ) -> None:
        model = network()
        pattern = {"pattern": "block", "block_size": block_size} if block_size else {}
        plan = pruned(model, final_sparsity=share, ranking=ranking, schedule=schedule, **pattern)
        shares = magnitude.check(model, plan)
        assert set(shares) == {"hidden", "wide", "scores"}
        if ranking == "layer" and not block_size:
            assert all(abs(found - share) < 0.02 for found in shares.values())
        if not block_size:
            assert abs(magnitude.overall(model) - share) < 0.02
        assert all(np.isfinite(weight).all() for weight in model.get_weights())

    def test_overrides_have_their_own_share_also_under_a_global_ranking(self) -> None:
        model = network()
        overrides = [{"layers": "hidden", "final_sparsity": 0.25}, {"layers": "scores", "final_sparsity": 0}]
        plan = pruned(model, final_sparsity=0.8, ranking="global", overrides=overrides)
        shares = magnitude.check(model, plan)
        assert shares["hidden"] == pytest.approx(0.25, abs=0.01)
        assert shares["scores"] == 0
        assert shares["wide"] == pytest.approx(0.8, abs=0.01)
        assert plan.wanted == {"hidden": 0.25, "wide": 0.8}

    def test_2_of_4_weights_along_the_inputs_are_zero(self) -> None:
        model = network()
        plan = pruned(model, pattern="2:4")
        magnitude.check(model, plan)
        kernel = model.get_layer("wide").kernel.numpy()
        assert np.all((kernel.reshape(6, 4, 32) == 0).sum(axis=1) == 2)

    def test_zeros_grow_as_the_schedule_says_and_never_shrink(self) -> None:
        model, epochs = network(), 6
        plan = magnitude.Plan.of(model, Magnitude(final_sparsity=0.8, initial_sparsity=0.2, ramp=0.5))
        pruning = magnitude.Pruning(plan, STEPS, epochs)
        seen: list[np.ndarray] = []
        watch = tf_keras.callbacks.LambdaCallback(
            on_batch_end=lambda batch, logs: seen.append(zeros(model)["wide.kernel"])
        )
        fit(model, epochs, [pruning, watch])
        assert len(seen) == epochs * STEPS
        for step, (before, after) in enumerate(itertools.pairwise(seen), start=2):
            assert not np.any(before & ~after)
            assert after.mean() == pytest.approx(0.8 - 0.6 * (1 - min(step / (3 * STEPS), 1)) ** 3, abs=0.01)
        assert seen[0].mean() == pytest.approx(0.2 + 0.6 * (1 - (1 - 1 / 18) ** 3), abs=0.01)

    def test_a_weight_that_came_back_is_noticed(self) -> None:
        for options in ({"final_sparsity": 0.9}, {"final_sparsity": 0.9, "ranking": "global"}, {"pattern": "2:4"}):
            model = network()
            plan = pruned(model, 1, **{"schedule": "constant", **options})
            magnitude.check(model, plan)
            layer = model.get_layer("wide")
            layer.set_weights([np.where(layer.kernel == 0, 1e-6, layer.kernel), layer.bias])
            with pytest.raises(ModelError, match=r"ended at sparsity|fewer than two zeros"):
                magnitude.check(model, plan)

    def test_nested_models_are_pruned_too(self) -> None:
        inner_input = tf_keras.Input((6,))
        inner = tf_keras.Model(inner_input, tf_keras.layers.Dense(16, name="inside")(inner_input), name="inner")
        inputs = tf_keras.Input((6,), name="x")
        model = tf_keras.Model(inputs, tf_keras.layers.Dense(3, name="scores")(inner(inputs)))
        plan = pruned(model, layers="inner/.*", final_sparsity=0.75)
        assert magnitude.check(model, plan) == {"inner/inside": 0.75, "scores": 0.0}

    def test_a_killed_pruning_goes_on_to_the_same_weights(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def run(checkpoint: Checkpoint | None = None) -> tf_keras.Model:
            model = network()
            plan = magnitude.Plan.of(model, Magnitude(final_sparsity=0.8, ranking="global"))
            fit(model, 6, [magnitude.Pruning(plan, STEPS, 6)], checkpoint)
            return model

        whole, checkpoint = run(), Checkpoint(tmp_path, "work")
        with dying_after(monkeypatch, 2), pytest.raises(Killed):
            run(checkpoint)
        assert equal(run(checkpoint), whole)
