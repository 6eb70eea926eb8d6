"""Weight clustering: few values, the nearest ones, trained together, and zeros that stay zeros."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from killed import Killed, dying_after
from pruned_models import equal, fit, network, zoo

from tfx_edge.errors import ModelError
from tfx_edge.pruning import clustering, magnitude
from tfx_edge.pruning.kernels import kernels
from tfx_edge.pruning.settings import Clusters, Magnitude
from tfx_edge.training.checkpoints import Checkpoint

WEIGHTS = arrays.arrays(np.float32, st.integers(1, 200), elements=st.floats(-4, 4, width=16))


def settings_of(**given_settings: object) -> Clusters:
    return Clusters.parse({"kind": "clusters", **given_settings})


def clustered(model: tf_keras.Model, epochs: int = 2, **given_settings: object) -> clustering.Plan:
    plan = clustering.Plan.of(model, settings_of(**given_settings))
    fit(model, epochs, [clustering.Clustering(plan)])
    return plan


def half_zero(model: tf_keras.Model) -> tf_keras.Model:
    plan = magnitude.Plan.of(model, Magnitude(final_sparsity=0.5))
    for target, kept in zip(plan.pruned, magnitude.draw(plan), strict=True):
        target.kernel.variable.assign(np.where(kept, target.kernel.values, 0))
    return model


@settings(max_examples=25, deadline=None)
@given(WEIGHTS, st.integers(1, 20))
def test_every_weight_takes_the_nearest_of_few_values(weights: np.ndarray, number: int) -> None:
    shared = clustering.share_values(weights, number)
    values = np.unique(shared)
    assert shared.dtype == weights.dtype
    assert len(values) <= number
    distances = np.abs(weights[:, None].astype(float) - values[None])
    np.testing.assert_allclose(np.abs(weights.astype(float) - shared), distances.min(axis=1), atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(WEIGHTS)
def test_with_a_value_for_each_weight_nothing_is_lost_but_for_rounding(weights: np.ndarray) -> None:
    coarse = np.round(weights)
    np.testing.assert_allclose(clustering.share_values(coarse, 9), coarse, atol=1.0)
    two = np.where(coarse > 0, 3, -1).astype(np.float32)
    np.testing.assert_array_equal(clustering.share_values(two, 2), two)


@settings(max_examples=25, deadline=None)
@given(WEIGHTS, st.integers(1, 8), st.data())
def test_zeros_belong_to_no_cluster(weights: np.ndarray, number: int, data: st.DataObject) -> None:
    zeros = data.draw(arrays.arrays(bool, weights.shape))
    zeros[0] = False
    shared = clustering.share_values(weights, number, zeros)
    assert not np.any(shared[zeros])
    assert len(np.unique(shared[~zeros])) <= number


@settings(max_examples=3, deadline=None)
@given(st.integers(2, 24), st.booleans())
def test_training_keeps_the_number_of_values(number: int, sparse: bool) -> None:
    model = half_zero(network()) if sparse else network()
    before = {kernel.layer: kernel.values for kernel in kernels(model)}
    plan = clustered(model, number=number)
    found = clustering.check(model, plan)
    assert set(found) == {"hidden", "wide", "scores"}
    assert all(1 < values <= number for values in found.values())
    for kernel in kernels(model):
        assert not sparse or np.array_equal(kernel.values == 0, before[kernel.layer] == 0)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_the_values_are_trained() -> None:
    model = network()
    start = clustering.share_values(model.get_layer("wide").kernel.numpy(), 8)
    clustered(model, number=8)
    found = model.get_layer("wide").kernel.numpy()
    assert not np.intersect1d(found, start).size
    pairs = {(one, other) for one, other in zip(start.ravel(), found.ravel(), strict=True)}
    assert len(pairs) == 8  # whole clusters moved


def test_layers_have_numbers_of_their_own() -> None:
    model = network()
    overrides = [{"layers": "hidden", "number": 4}, {"layers": "scores", "number": None}]
    plan = clustered(model, number=8, overrides=overrides)
    found = clustering.check(model, plan)
    assert (found["hidden"], found["wide"]) == (4, 8)
    assert found["scores"] > 90


def test_zeros_may_be_given_up() -> None:
    model = half_zero(network())
    clustered(model, number=4, preserve_sparsity=False)
    assert magnitude.overall(model) < 0.1


def test_every_kind_of_kernel_can_be_clustered() -> None:
    model = zoo()
    plan = clustering.Plan.of(model, settings_of(number=8))
    assert not plan.left
    for target in plan.clustered:
        target.kernel.variable.assign(clustering.share_values(target.kernel.values, target.centroids, target.zeros))
    assert set(clustering.check(model, plan).values()) <= set(range(2, 9))


def test_what_is_clustered_already_is_named_and_left() -> None:
    model = network()
    clustered(model, 1, number=8, layers="wide")
    plan = clustering.Plan.of(model, settings_of(number=8))
    assert "no more than 8 values" in plan.left["wide"]
    assert [target.kernel.layer for target in plan.clustered] == ["hidden", "scores"]
    with pytest.raises(ModelError, match="nothing can be clustered: wide"):
        clustering.Plan.of(model, settings_of(number=8, layers="wide"))


def test_an_override_that_names_no_layer_is_an_error() -> None:
    with pytest.raises(ModelError, match=r"'wider' is for none of .* hidden, wide, scores"):
        clustering.Plan.of(network(), settings_of(overrides=[{"layers": "wider", "number": 4}]))


def test_values_that_spread_and_zeros_that_fill_are_noticed() -> None:
    model = half_zero(network())
    plan = clustered(model, 1, number=8)
    layer = model.get_layer("wide")
    kernel = layer.kernel.numpy()
    layer.kernel.assign(np.where(kernel == 0, kernel.max(), kernel))
    with pytest.raises(ModelError, match="lost zeros"):
        clustering.check(model, plan)
    layer.kernel.assign(kernel + np.where(kernel != 0, np.linspace(0, 1, kernel.size).reshape(kernel.shape), 0))
    with pytest.raises(ModelError, match="values where 8 were asked"):
        clustering.check(model, plan)


def test_a_killed_clustering_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(checkpoint: Checkpoint | None = None) -> tf_keras.Model:
        model = half_zero(network())
        fit(model, 4, [clustering.Clustering(clustering.Plan.of(model, settings_of(number=8)))], checkpoint)
        return model

    whole, checkpoint = run(), Checkpoint(tmp_path, "work")
    with dying_after(monkeypatch, 2), pytest.raises(Killed):
        run(checkpoint)
    assert equal(run(checkpoint), whole)
