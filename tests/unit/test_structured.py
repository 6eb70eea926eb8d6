"""Whole channels are removed with all that depends on them, and nothing else of the model changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st
from structured_models import KL, STEPS, features, generated, plain, randomized

from tfx_edge.bridge import bridge
from tfx_edge.errors import ConfigError, DataError, ModelError
from tfx_edge.pruning.structured import counts
from tfx_edge.pruning.structured.dependencies import Structure
from tfx_edge.pruning.structured.importance import importance
from tfx_edge.pruning.structured.prune import Pruned, prune
from tfx_edge.pruning.structured.settings import Structured
from tfx_edge.pruning.structured.surgery import without

LOSS = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def structured(**changes: Any) -> Structured:
    return Structured.parse({"kind": "structured", "multiple_of": 1, "min_units": 1, **changes})


def pruned(model: tf_keras.Model, share: float = 0.5, **changes: Any) -> Pruned:
    return prune(model, structured(**changes), share, batches=labelled(model), loss=LOSS)


def labelled(model: tf_keras.Model) -> list[tuple[Any, np.ndarray]]:
    return [(features(model, 64), np.arange(64) % 2)]


def gated(model: tf_keras.Model, structure: Structure, groups: Any, gate: float) -> tf_keras.Model:
    """A copy of a model in which whatever takes up certain channels gets them times a factor."""
    copy = tf_keras.models.clone_model(model)
    values = model.get_weights()
    places = {id(weight): number for number, weight in enumerate(model.weights)}
    for part in structure.slices:
        if part.role == "input":
            number = places[id(model.get_layer(part.layer).weights[part.weight])]
            rows = np.moveaxis(values[number], part.axis, 0)
            rows[np.isin(structure.group_of[part.track], groups)] *= gate
    copy.set_weights(values)
    return copy


@settings(max_examples=10, deadline=None)
@given(
    st.lists(st.sampled_from(STEPS), min_size=1, max_size=5),
    st.sampled_from(["flatten", "pool"]),
    st.floats(0.05, 0.95),
    st.integers(0, 1000),
)
def test_any_channels_of_any_graph_can_go_as_if_nothing_took_them_up(
    steps: list[str], head: str, share: float, seed: int
) -> None:
    model = generated(steps, head, seed)
    structure = Structure.of(model, structured())
    rng = np.random.default_rng(seed)
    removed = np.concatenate(
        [rng.choice(block.groups, int(share * len(block.groups)), replace=False) for block in structure.blocks]
    )
    smaller = without(model, structure, removed)
    values = features(model)
    np.testing.assert_allclose(smaller(values), gated(model, structure, removed, 0)(values), rtol=1e-3, atol=1e-4)
    assert smaller.count_params() == counts.parameters(model, structure).without(removed)
    assert [layer.name for layer in smaller.layers] == [layer.name for layer in model.layers]


@settings(max_examples=6, deadline=None)
@given(
    st.lists(st.sampled_from(STEPS), min_size=2, max_size=5), st.floats(0.1, 0.8), st.sampled_from(["global", "layer"])
)
def test_any_graph_comes_out_smaller_by_about_the_share(steps: list[str], share: float, ranking: str) -> None:
    model = generated(steps, "pool", 0)
    found = pruned(model, share, ranking=ranking, of="parameters")
    assert abs(found.kept - (1 - share)) < 0.1
    assert found.report["parameters"] == {"before": model.count_params(), "after": found.model.count_params()}
    assert found.report["macs"]["after"] < found.report["macs"]["before"]
    assert np.all(np.isfinite(found.model(features(model))))
    assert found.model.output_shape == model.output_shape
    for layer, (before, after) in found.removed.items():
        assert 1 <= after < before
        assert layer not in found.left


@pytest.mark.parametrize("importance_of", ["l1", "l2", "batch_norm", "taylor"])
def test_channels_that_do_nothing_go_first_and_change_nothing(importance_of: str) -> None:
    model = plain()
    norm, first, second = (model.get_layer(name) for name in ("norm", "first", "second"))
    dead_first, dead_second = np.array([1, 4, 5, 9, 12]), np.array([0, 3, 20, 31])
    (kernel,) = first.get_weights()
    kernel[..., dead_first] = 0
    first.set_weights([kernel])
    gamma, beta, *moving = norm.get_weights()
    beta[:] = 1
    gamma[dead_first] = beta[dead_first] = 0
    norm.set_weights([gamma, beta, *moving])
    kernel, bias = second.get_weights()
    bias[:] = 3
    kernel[..., dead_second] = bias[dead_second] = 0
    second.set_weights([kernel, bias])
    live_first, live_second = (np.delete(np.arange(n), dead) for n, dead in ((16, dead_first), (32, dead_second)))

    structure = Structure.of(model, structured())
    whole = counts.parameters(model, structure).without(np.array([], int))
    share = 1 - tf_keras.Model.count_params(_with(model, 11, 28)) / whole
    found = pruned(model, share, importance=importance_of, of="parameters", layers="first|second")

    assert found.removed == {"first": (16, 11), "second": (32, 28)}
    values = features(model)
    np.testing.assert_allclose(found.model(values), model(values), rtol=1e-4, atol=1e-5)
    smaller = found.model
    np.testing.assert_array_equal(
        smaller.get_layer("second").get_weights()[0], kernel[..., live_first, :][..., live_second]
    )
    for before, after in zip(norm.get_weights(), smaller.get_layer("norm").get_weights(), strict=True):
        np.testing.assert_array_equal(after, before[live_first])
    np.testing.assert_array_equal(smaller.get_layer("scores").get_weights()[0], model.get_layer("scores").kernel)


def _with(model: tf_keras.Model, first: int, second: int) -> tf_keras.Model:
    config = model.get_config()
    for layer in config["layers"]:
        layer["config"].update({"first": {"filters": first}, "second": {"filters": second}}.get(layer["name"], {}))
    return tf_keras.Model.from_config(config)


def test_the_model_that_was_given_is_not_changed() -> None:
    model = plain()
    before = model.get_weights()
    pruned(model)
    for now, then in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_channels_of_a_residual_go_together_by_the_sum_of_their_scores() -> None:
    image = tf_keras.Input((4, 4, 2))
    x = KL.Conv2D(4, 1, use_bias=False, name="stem")(image)
    y = KL.Conv2D(4, 1, use_bias=False, name="branch")(x)
    z = KL.GlobalAveragePooling2D()(KL.Add()([x, y]))
    model = tf_keras.Model(image, KL.Dense(3, name="scores")(z))
    model.get_layer("stem").set_weights([np.array([[[[1, 2, 3, 1], [1, 2, 3, 1]]]], np.float32)])
    model.get_layer("branch").set_weights([np.ones((1, 1, 4, 4), np.float32) * [4, 1, 4, 1]])
    structure = Structure.of(model, structured())
    (block,) = structure.blocks
    assert set(block.layers) == {"stem", "branch"}
    found = importance(model, structure, "l1")
    sums = np.array([2 + 16, 4 + 4, 6 + 16, 2 + 4])
    np.testing.assert_allclose(found.scores[block.groups], sums / sums.sum())
    result = pruned(model, 0.5, importance="l1", of="parameters")
    assert result.removed == {"stem": (4, 2), "branch": (4, 2)}
    np.testing.assert_array_equal(result.model.get_layer("stem").kernel[0, 0, 0], [1, 3])


def test_the_median_filter_is_the_one_that_others_can_replace() -> None:
    model = tf_keras.Sequential([KL.Input((3,)), KL.Dense(5, use_bias=False, name="units"), KL.Dense(2)])
    model.layers[0].set_weights([np.outer(np.ones(3), [0, 1, 9, 5, 10]).astype(np.float32)])
    structure = Structure.of(model, structured())
    assert np.argmin(importance(model, structure, "geometric_median").scores[structure.blocks[0].groups]) == 3
    assert np.argmin(importance(model, structure, "l2").scores[structure.blocks[0].groups]) == 0


def test_taylor_scores_are_what_a_gate_on_each_channel_costs_at_first_order() -> None:
    model = plain(2, 3)
    structure = Structure.of(model, structured())
    found = importance(model, structure, "taylor", labelled(model), LOSS)
    x, labels = labelled(model)[0]
    step = 1e-2
    for block in structure.blocks:
        derivatives = []
        for group in block.groups:
            below, above = (
                float(LOSS(labels, gated(model, structure, group, gate)(x))) for gate in (1 - step, 1 + step)
            )
            derivatives.append(((above - below) / (2 * step)) ** 2)
        np.testing.assert_allclose(found.scores[block.groups], derivatives / np.sum(derivatives), atol=0.02)


def test_layers_without_batch_normalization_are_scored_otherwise_and_named() -> None:
    assert pruned(plain(), importance="batch_norm").report["importance_instead"] == {"second": "l2", "dense": "l2"}


def test_what_cannot_lose_channels_is_left_whole_and_named() -> None:
    class Twice(KL.Layer):
        def call(self, x: Any) -> Any:
            return 2 * x

    image = tf_keras.Input((8, 8, 4), name="image")
    x = KL.Conv2D(4, 1, name="added")(image)
    x = KL.Conv2D(8, 1, name="before_groups")(KL.Add()([x, image]))
    x = KL.Conv2D(8, 3, groups=2, name="grouped")(x)
    x = Twice(name="twice")(KL.Conv2D(8, 1, name="before_twice")(x))
    x = KL.Conv2D(8, 1, activation="softmax", name="mixed")(x)
    x = KL.Conv2D(3, 1, name="few")(x)
    x = KL.Conv2D(8, 1, name="free")(x)
    x = KL.Reshape((36, 8))(x)
    x = KL.LSTM(8, name="recurrent")(x)
    model = tf_keras.Model(image, KL.Dense(8, name="scores")(x))
    found = pruned(model, 0.1, min_units=4)
    assert set(found.removed) == {"free"}
    reasons = {
        "added": "input 'image'",
        "before_groups": "'grouped' (Conv2D), which convolves in 2 groups",
        "grouped": "convolves in 2 groups",
        "before_twice": "'twice' (Twice), whose effect on channels is not known",
        "mixed": "'mixed' (Conv2D), whose activation may mix channels",
        "few": "3 channels",
        "recurrent": "units are not removed",
        "scores": "output 'scores'",
    }
    assert set(found.left) == set(reasons)
    for layer, reason in reasons.items():
        assert reason in found.left[layer]


def test_layers_that_are_not_named_stay_whole_and_hold_what_is_tied_to_them() -> None:
    model = generated(["residual", "convolution"], "pool", 0)
    free, *_ = (layer.name for layer in model.layers if isinstance(layer, KL.Conv2D) and layer.filters == 10)
    assert set(pruned(model, 0.1, layers=free).removed) == {free}
    with pytest.raises(ModelError, match=r"matches none of the layers that make channels.*scores"):
        pruned(model, layers="nothing")


def test_layers_keep_a_multiple_and_no_fewer_than_asked() -> None:
    found = pruned(plain(64, 80), 0.7, multiple_of=8, min_units=16)
    for after in (after for _, after in found.removed.values()):
        assert after % 8 == 0
        assert after >= 16
    with pytest.raises(ModelError, match=r"only .* of macs can be removed, not 70%.*multiple of 8.*at least 56"):
        pruned(plain(64, 80), 0.7, multiple_of=8, min_units=56)
    with pytest.raises(ModelError, match=r"no channel can be removed.*first: of its 16 channels no fewer can stay"):
        pruned(plain(), min_units=64)


def test_about_the_same_share_of_every_layer_stays_where_layers_are_ranked_apart() -> None:
    found = pruned(plain(32, 48), 0.75, ranking="layer")
    shares = [after / before for before, after in found.removed.values()]
    assert len(shares) == 3
    assert max(shares) - min(shares) < 0.08


def test_a_measured_cost_is_met_with_few_measurements() -> None:
    measured = []

    def cost(model: tf_keras.Model) -> float:
        measured.append(model)
        return 7.0 + model.count_params()

    model = plain(64, 80)
    found = prune(model, structured(of="latency", multiple_of=8, min_units=8), 0.5, cost=cost)
    assert abs(found.kept - 0.5) < 0.05
    assert found.kept == (7.0 + found.model.count_params()) / (7.0 + model.count_params())
    assert len(measured) < 10


def test_arguments_that_are_missing_are_named() -> None:
    model = plain()
    with pytest.raises(ConfigError, match="'latency'"):
        prune(model, structured(of="latency"), 0.5)
    with pytest.raises(ConfigError, match="'taylor' needs the loss"):
        prune(model, structured(importance="taylor"), 0.5, batches=labelled(model))
    with pytest.raises(DataError, match="'taylor' needs training examples"):
        prune(model, structured(importance="taylor"), 0.5, loss=LOSS)
    image = tf_keras.Input((None, None, 3))
    open_sized = tf_keras.Model(image, KL.Conv2D(2, 1)(KL.Conv2D(8, 3, name="open")(image)))
    with pytest.raises(ModelError, match=r"open.*'parameters'"):
        prune(open_sized, structured(), 0.5)
    assert prune(open_sized, structured(of="parameters"), 0.5).removed == {"open": (8, 4)}


def test_units_that_become_an_image_go_with_all_its_pixels() -> None:
    model = randomized(
        tf_keras.Sequential(
            [
                KL.Input((6,)),
                KL.Dense(3 * 3 * 4, name="pixels"),
                KL.Reshape((3, 3, 4), name="image"),
                KL.Conv2D(2, 2),
            ]
        )
    )
    found = pruned(model, 0.5, of="parameters")
    assert found.removed == {"pixels": (36, 18)}
    assert found.model.get_layer("image").target_shape == (3, 3, 2)
    assert isinstance(found.model, tf_keras.Sequential)


def test_layers_of_a_model_inside_come_out_in_its_place_and_lose_channels() -> None:
    inside = tf_keras.Sequential([KL.Input((8, 8, 3)), KL.Conv2D(16, 3, name="inner")], name="inside")
    image = tf_keras.Input((8, 8, 3), name="image")
    x = KL.GlobalAveragePooling2D()(KL.Conv2D(16, 1, name="outer")(inside(image)))
    found = pruned(randomized(tf_keras.Model(image, {"scores": KL.Dense(3, name="scores")(x)})), ranking="layer")
    assert set(found.removed) == {"inner", "outer"}
    assert found.model.output_shape == {"scores": (None, 3)}


def test_embeddings_and_inputs_of_recurrent_layers_lose_channels() -> None:
    words = tf_keras.Input((7,), dtype="int32", name="words")
    vectors = KL.Embedding(
        20, 16, embeddings_initializer=tf_keras.initializers.Constant(np.eye(20, 16)), name="vectors"
    )
    x = KL.Bidirectional(KL.GRU(5))(KL.SpatialDropout1D(0.1)(vectors(words)))
    model = randomized(tf_keras.Model(words, KL.Dense(2, name="scores")(x)))
    found = pruned(model, 0.2, of="parameters")
    assert set(found.removed) == {"vectors"}
    assert found.model(np.zeros((2, 7), np.int32)).shape == (2, 2)


def test_a_model_of_keras_3_is_pruned_after_it_was_carried_over() -> None:
    image = keras.Input((8, 8, 3), name="image")
    x = keras.layers.BatchNormalization()(keras.layers.Conv2D(16, 3, use_bias=False, name="convolution")(image))
    x = keras.ops.relu(x) + keras.ops.multiply(keras.ops.sigmoid(x), 2.0)
    x = keras.layers.SeparableConv2D(16, 3, activation="hard_silu", name="separable")(x)
    model = keras.Model(image, keras.layers.Dense(3, name="scores")(keras.layers.Flatten()(x)))
    found = pruned(bridge.to_tf_keras(model))
    assert set(found.removed) == {"convolution", "separable"}
    assert found.left == {"scores": "its channels are tied to the model's output 'scores'"}


def test_counts_are_those_of_the_file_that_the_smaller_model_converts_to(tmp_path: Path) -> None:
    from tfx_edge.stages import savings

    steps = ["depthwise", "separable", "residual", "transposed", "gated", "as a sequence", "dense"]
    model = generated(steps, "flatten", 0)
    found = pruned(model, 0.4)
    cost = savings.cost(found.model, tmp_path)
    assert cost.macs == found.report["macs"]["after"]
    assert cost.parameters == found.report["parameters"]["after"]


def test_rounds_remove_as_large_a_share_of_what_is_left_each() -> None:
    twice = structured(amount=0.75, rounds=2)
    assert twice.share_of(0) == pytest.approx(0.5)
    assert twice.share_of(1, kept=0.5) == pytest.approx(0.5)
    assert twice.share_of(1, kept=0.4) == pytest.approx(1 - 0.25 / 0.4)
    assert twice.share_of(1, kept=0.2) == 0


@pytest.mark.parametrize("wrong", [{"amount": 1.0}, {"importance": "l3"}, {"layers": "("}, {"multiple_of": 0}])
def test_settings_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        structured(**wrong)
