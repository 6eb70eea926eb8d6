"""Ranges from calibration, against numpy on all activations and against what quantized models then answer."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lite_models
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tfx_edge.devices.loaded_model import LoadedModel
from tfx_edge.errors import DataError, ModelError
from tfx_edge.quantization.activations import ActivationReader
from tfx_edge.quantization.calibration import Statistics, calibrate, calibrate_halves
from tfx_edge.quantization.histogram import RELATIVE_WIDTH, Histogram
from tfx_edge.quantization.observers import SMOOTHING, WINDOW
from tfx_edge.quantization.recipe import Calibration

METHODS = [
    Calibration(method="min_max"),
    Calibration(method="moving_average"),
    Calibration(method="percentile", percentile=99.0),
    Calibration(method="mse"),
]
Features = dict[str, np.ndarray]


def convert(function: Callable[..., Any], *shapes: tuple[int, ...]) -> bytes:
    """A model of a function of the inputs ``a``, ``b``, … with the output ``y``."""
    import tensorflow as tf

    module = tf.Module()
    names = "abc"[: len(shapes)]
    specs = [tf.TensorSpec(shape, tf.float32, name=name) for name, shape in zip(names, shapes, strict=True)]
    module.serve = tf.function(lambda *inputs: {"y": function(*inputs)}, autograph=False, input_signature=specs)
    return lite_models._from_saved_model(module, {"serving_default": module.serve})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the file of one of ``lite_models``, or of the functions here, by name."""
    folder = tmp_path_factory.mktemp("models")

    def model(name: str) -> Path:
        path = folder / name
        if not path.is_file():
            path.write_bytes(OWN[name]() if name in OWN else getattr(lite_models, name)())
        return path

    return model


def _logarithm() -> bytes:
    import tensorflow as tf

    return convert(tf.math.log, (1, 4))


def _two_inputs() -> bytes:
    return convert(lambda a, b: a * 2.0 + b, (1, 4), (1, 4))


def _wide() -> bytes:
    """40 x 40 grey to 8 channels, a sigmoid, and their means: all but the last of more than 1,000 values."""
    import tensorflow as tf

    kernel = np.random.default_rng(3).normal(size=(3, 3, 1, 8)).astype(np.float32) / 3
    return convert(
        lambda a: tf.reduce_mean(tf.sigmoid(tf.nn.conv2d(a, kernel, 1, "SAME")), axis=(1, 2)), (1, 40, 40, 1)
    )


def _accumulator() -> bytes:
    """Adds what it gets to a variable and gives the sum."""
    import tensorflow as tf

    class Accumulator(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.sum = tf.Variable(tf.zeros((1, 4)))

        @tf.function(input_signature=[tf.TensorSpec((1, 4), tf.float32, name="a")])
        def serve(self, a: Any) -> dict[str, Any]:
            return {"y": self.sum.assign_add(a)}

    def setup(converter: Any) -> None:
        converter.experimental_enable_resource_variables = True

    module = Accumulator()
    return lite_models._from_saved_model(module, {"serving_default": module.serve}, setup)


def _lookup() -> bytes:
    """Looks up 4 numbers for each of two ``words``."""
    import tensorflow as tf

    table = np.random.default_rng(3).normal(size=(5, 4)).astype(np.float32)
    module = tf.Module()
    spec = tf.TensorSpec((1, 2), tf.int32, name="words")
    module.serve = tf.function(lambda words: {"y": tf.gather(table, words)}, autograph=False, input_signature=[spec])
    return lite_models._from_saved_model(module, {"serving_default": module.serve})


OWN = {
    "logarithm": _logarithm,
    "two_inputs": _two_inputs,
    "wide": _wide,
    "accumulator": _accumulator,
    "lookup": _lookup,
}


def normal(name: str, shape: tuple[int, ...], count: int = 30, seed: int = 0) -> list[Features]:
    rng = np.random.default_rng(seed)
    return [{name: rng.normal(size=shape).astype(np.float32) * (1 + number % 3)} for number in range(count)]


def ends(statistics: Statistics) -> dict[str, tuple[float, float]]:
    return {name: (found["min"].item(), found["max"].item()) for name, found in statistics.items()}


def gather(path: Path, samples: list[Features]) -> dict[str, list[np.ndarray]]:
    """All activations of all examples, from an interpreter without delegates."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    reader = ActivationReader(path)
    wanted = {name for entry in reader.fed_by(samples[0]) for name in entry.tensors}
    interpreter = Interpreter(
        str(path),
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    found: dict[str, list[np.ndarray]] = {}
    for sample in samples:
        for key in interpreter.get_signature_list():
            runner = interpreter.get_signature_runner(key)
            runner(**sample)
            for detail in interpreter.get_tensor_details(runner._subgraph_index):
                if detail["name"] in wanted:
                    values = interpreter.get_tensor(detail["index"], runner._subgraph_index)
                    found.setdefault(detail["name"], []).append(values)
    return found


# Histogram -----------------------------------------------------------------------------------------------------------

VALUES = st.lists(
    st.one_of(
        st.just(0.0),
        st.floats(-4, 4, width=32, allow_subnormal=False),
        st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False),
    ),
    min_size=1,
    max_size=200,
).map(lambda values: np.array(values, np.float32))


@given(values=VALUES, percent=st.floats(50, 100, exclude_min=True))
@example(values=np.array([1, 2], np.float32), percent=100.0)
def test_a_percentile_is_off_by_less_than_its_bin(values: np.ndarray, percent: float) -> None:
    low, high = Histogram(values).central_range(percent)
    outside = (100 - percent) / 200 * (len(values) - 1)
    exact_low, exact_high = np.sort(values)[[int(np.floor(outside)), int(np.ceil(len(values) - 1 - outside))]]
    slack = 2.0**-126
    assert exact_low - abs(exact_low) * RELATIVE_WIDTH - slack <= low <= exact_low + slack
    assert exact_high - slack <= high <= exact_high + abs(exact_high) * RELATIVE_WIDTH + slack
    assert values.min() <= low <= high <= values.max()


@given(parts=st.lists(VALUES, min_size=1, max_size=5), percent=st.floats(50, 100, exclude_min=True))
def test_histograms_add_up_in_any_order(parts: list[np.ndarray], percent: float) -> None:
    forward, backward, whole = Histogram(), Histogram(), Histogram(np.concatenate(parts))
    for part in parts:
        forward.merge(Histogram(part))
    for part in reversed(parts):
        backward.merge(Histogram(part))
    assert len(forward) == len(backward) == len(whole) == sum(part.size for part in parts)
    assert forward.central_range(percent) == backward.central_range(percent) == whole.central_range(percent)
    assert forward.least_error_range(8) == backward.least_error_range(8) == whole.least_error_range(8)


def quantization_error(values: np.ndarray, low: float, high: float) -> float:
    """The mean squared error of real quantization to 8 bits, zero point and all."""
    scale = (high - low) / 255
    zero = np.rint(-low / scale)
    integers = np.clip(np.rint(values / scale) + zero, 0, 255)
    return float(np.mean(((integers - zero) * scale - values.astype(np.float64)) ** 2))


DISTRIBUTIONS: dict[str, Callable[[np.random.Generator, int], np.ndarray]] = {
    "normal": lambda rng, count: rng.normal(size=count),
    "relu": lambda rng, count: np.maximum(rng.normal(size=count), 0),
    "laplace": lambda rng, count: rng.laplace(size=count),
    "student": lambda rng, count: rng.standard_t(3, size=count),
    "lognormal": lambda rng, count: rng.lognormal(size=count),
    "uniform": lambda rng, count: rng.random(count),
    "swish": lambda rng, count: (lambda x: x / (1 + np.exp(-x)))(rng.normal(size=count) * 3),
}


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@given(seed=st.integers(0, 1000), outlier=st.sampled_from([0.0, 30.0, 1000.0]))
@settings(max_examples=5, deadline=None)
def test_the_mse_range_is_as_good_as_the_best_of_all(distribution: str, seed: int, outlier: float) -> None:
    values = DISTRIBUTIONS[distribution](np.random.default_rng(seed), 3000).astype(np.float32)
    if outlier:
        values[0] = outlier
    found = quantization_error(values, *Histogram(values).least_error_range(8))
    # Over 1,000 draws it was at most 1.07 times the best.
    assert found <= 1.15 * best_error(values, np.geomspace(0.05, 1, 24))


@pytest.mark.parametrize("distribution", ["laplace", "student", "lognormal"])
def test_the_mse_range_clips_long_tails_as_far_as_it_pays(distribution: str) -> None:
    values = DISTRIBUTIONS[distribution](np.random.default_rng(0), 200_000).astype(np.float32)
    low, high = Histogram(values).least_error_range(8)
    assert high < 0.9 * values.max()
    found = quantization_error(values, low, high)
    assert found <= 1.05 * best_error(values, np.linspace(0.1, 1, 13))
    assert found < 0.9 * quantization_error(values, min(values.min(), 0), values.max())


@pytest.mark.parametrize(("count", "clipped"), [(200_000, False), (2_000_000, True)])
def test_a_far_value_is_clipped_once_rounding_the_others_to_zero_costs_more(count: int, clipped: bool) -> None:
    values = np.random.default_rng(0).normal(size=count).astype(np.float32)
    values[0] = 1000  # to clip it costs up to its square, 1e6; to keep it rounds most others to 0, about 1 each
    assert (Histogram(values).least_error_range(8)[1] < 500) == clipped


def best_error(values: np.ndarray, shares: np.ndarray) -> float:
    """The least error of ranges that are these shares of the full one, at either end."""
    low, high = min(values.min(), 0), values.max()
    return min(
        quantization_error(values, low * below, high * above)
        for above in shares
        for below in (shares if low < 0 else [0.0])
    )


def test_a_histogram_stays_small() -> None:
    rng = np.random.default_rng(0)
    histogram = Histogram()
    for _ in range(50):
        histogram.merge(Histogram(rng.normal(size=100_000)))
    assert histogram._counts.nbytes < 100_000
    histogram.merge(Histogram(np.array([1e-38, -3e38], np.float32)))
    assert histogram._counts.nbytes < 530_000


def test_only_zeros_have_the_range_zero() -> None:
    histogram = Histogram(np.zeros((2, 3), np.float32))
    assert histogram.central_range(99) == histogram.least_error_range(8) == (0, 0)


# Methods -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["float32", "any_batch", "two_signatures"])
def test_each_method_gives_what_numpy_finds_in_all_activations(name: str, models: Callable[[str], Path]) -> None:
    path = models(name)
    feature, shape = ("features", (1, 16)) if name == "two_signatures" else ("image", lite_models.IMAGE_SHAPE)
    samples = normal(feature, shape)
    gathered = gather(path, samples)
    whole = {tensor: np.concatenate([part.ravel() for part in parts]) for tensor, parts in gathered.items()}
    assert len(whole) >= 5

    least = ends(calibrate(path, samples, METHODS[0]))
    assert set(least) == set(whole)
    central = ends(calibrate(path, samples, METHODS[2]))
    for tensor, values in whole.items():
        assert least[tensor] == pytest.approx((values.min(), values.max()), abs=1e-5)
        low = np.percentile(values, 0.5, method="lower")
        high = np.percentile(values, 99.5, method="higher")
        assert low - abs(low) * RELATIVE_WIDTH - 1e-5 <= central[tensor][0] <= low + 1e-5
        assert high - 1e-5 <= central[tensor][1] <= high + abs(high) * RELATIVE_WIDTH + 1e-5


def test_the_moving_average_is_the_backends_where_an_example_fills_a_window(models: Callable[[str], Path]) -> None:
    from litert_quantizer import quantizer, recipe

    path = models("wide")
    samples = normal("a", (1, 40, 40, 1))
    theirs = quantizer.Quantizer(str(path), recipe.static_wi8_ai8()).calibrate({"serving_default": samples})
    ours = calibrate(path, samples, METHODS[1])
    large = [name for name, parts in gather(path, samples[:1]).items() if parts[0].size >= WINDOW]
    assert len(large) >= 3
    for name in large:
        for end in ("min", "max"):
            np.testing.assert_allclose(ours[name][end], theirs[name][end], rtol=1e-5, atol=1e-6)
            assert ours[name][end].shape == theirs[name][end].shape


def test_the_moving_average_of_few_values_is_over_windows_of_examples(models: Callable[[str], Path]) -> None:
    path = models("two_inputs")
    rng = np.random.default_rng(0)
    samples = [{name: rng.normal(size=(1, 4)).astype(np.float32) for name in "ab"} for _ in range(700)]
    windows = [np.concatenate([sample["a"] for sample in samples[start : start + 250]]) for start in (0, 250, 500)]
    low, high = windows[0].min(), windows[0].max()
    for window in windows[1:]:
        weight = (1 - SMOOTHING) * window.size / WINDOW
        low, high = low + weight * (window.min() - low), high + weight * (window.max() - high)
    found = ends(calibrate(path, samples, METHODS[1]))
    (name,) = [name for name in found if "_a:" in name]
    assert found[name] == pytest.approx((low, high), rel=1e-5)
    (single,) = [found[name] for name in ends(calibrate(path, samples[:1], METHODS[1])) if "_a:" in name]
    assert single[0] < single[1]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.method)
def test_the_backend_quantizes_by_the_statistics(method: Calibration, models: Callable[[str], Path]) -> None:
    model = quantized(models("float32"), calibrate(models("float32"), lite_models.images(), method))
    original = LoadedModel(str(models("float32")), 1)
    for image in lite_models.images(5):
        (real,), (rounded,) = original.run(image).values(), model.run(image).values()
        assert np.abs(real - rounded).max() < 0.02


def quantized(path: Path, statistics: Statistics) -> LoadedModel:
    from litert_quantizer import quantizer, recipe

    job = quantizer.Quantizer(str(path), recipe.static_wi8_ai8())
    result = path.with_name("quantized")
    job.quantize(statistics, enable_progress_report=False).export_model(str(result), overwrite=True)
    return LoadedModel(str(result), 1)


@pytest.mark.parametrize("method", [METHODS[3], Calibration(method="percentile")], ids=["mse", "percentile"])
def test_clipping_rare_values_brings_outputs_nearer_than_min_max(
    method: Calibration, models: Callable[[str], Path]
) -> None:
    path = models("wide")
    rng = np.random.default_rng(1)
    samples = [{"a": rng.standard_t(3, size=(1, 40, 40, 1)).astype(np.float32)} for _ in range(130)]
    original = LoadedModel(str(path), 1)

    def error(settings: Calibration) -> float:
        model = quantized(path, calibrate(path, samples[:100], settings))
        return float(np.mean([abs(original.run(sample)["y"] - model.run(sample)["y"]) for sample in samples[100:]]))

    assert error(method) < 0.75 * error(METHODS[0])


# Examples ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.method)
@pytest.mark.parametrize(("name", "feature", "shape"), [("lstm", "sequence", (1, 6, 4)), ("accumulator", "a", (1, 4))])
def test_every_example_starts_without_memory(
    method: Calibration, name: str, feature: str, shape: tuple[int, ...], models: Callable[[str], Path]
) -> None:
    first, second = normal(feature, shape, 2)
    alone = ends(calibrate(models(name), [second], method))
    after = calibrate_halves(models(name), [first, second], method).halves[1]
    assert after == alone


def test_every_turn_of_a_loop_counts(models: Callable[[str], Path]) -> None:
    sequence = np.zeros(lite_models.SEQUENCE_SHAPE, np.float32)
    sequence[0, 0] = [100, 0, 0, -50]
    found = ends(calibrate(models("gru_loop"), [{"sequence": sequence}]))
    (inside,) = [name for name in found if "TensorArrayV2Read" in name]
    assert found[inside] == (-50, 100)


def test_every_signature_is_calibrated_that_the_examples_feed(models: Callable[[str], Path]) -> None:
    path = models("two_signatures")
    found = calibrate(path, normal("features", (1, 16), 3))
    assert {name.split("_")[0] for name in found} >= {"embed", "score"}


def test_a_file_without_signatures_is_calibrated_the_same(models: Callable[[str], Path], tmp_path: Path) -> None:
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(models("any_batch").read_bytes())))
    model.signatureDefs = None
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    bare = lite_models.write(tmp_path, bytes(builder.Output()))
    samples = normal("image", lite_models.IMAGE_SHAPE, 3)
    assert ends(calibrate(bare, samples)) == ends(calibrate(models("any_batch"), samples))


def test_whole_numbers_go_to_an_integer_input_and_others_are_refused(models: Callable[[str], Path]) -> None:
    found = calibrate_halves(models("lookup"), [{"words": np.array([[3, 1]], np.int64), "unused": np.zeros(1)}])
    assert found.inputs["words"].range is None
    assert list(found.inputs) == ["words"]
    assert ends(found.statistics)
    with pytest.raises(DataError, match=r"'words' float64\[1, 2\]: Cannot cast"):
        calibrate(models("lookup"), [{"words": np.array([[3.0, 1.0]])}])


def test_halves_are_of_every_second_example(models: Callable[[str], Path]) -> None:
    path = models("two_inputs")
    samples = [{name: np.full((1, 4), value, np.float32) for name in "ab"} for value in (1, -10, 3, -30)]
    found = calibrate_halves(path, samples)
    assert found.examples == 4
    (name,) = [name for name in found.statistics if "_a:" in name]
    assert ends(found.statistics)[name] == (-30, 3)
    assert [half[name] for half in found.halves] == [(1, 3), (-30, -10)]
    assert {feature: fed.range for feature, fed in found.inputs.items()} == {"a": (-30, 3), "b": (-30, 3)}


def test_the_models_own_scaling_of_an_input_is_told(models: Callable[[str], Path]) -> None:
    found = calibrate_halves(models("two_inputs"), [{name: np.ones((1, 4), np.float32) for name in "ab"}])
    assert found.inputs["a"].scaled == (2, 2)
    assert found.inputs["b"].scaled is None


def test_examples_are_not_kept(models: Callable[[str], Path]) -> None:
    alive: list[weakref.ref] = []

    def stream() -> Iterator[Features]:
        for sample in normal("a", (1, 40, 40, 1), 20):
            copy = {"a": sample["a"].copy()}
            alive.append(weakref.ref(copy["a"]))
            yield copy
            del copy
            assert sum(reference() is not None for reference in alive) <= 2

    calibrate(models("wide"), stream(), METHODS[3])
    assert len(alive) == 20


def test_numbers_beyond_3e38_are_no_part_of_the_range(models: Callable[[str], Path]) -> None:
    masked = np.array([[-1, 2, -3.3e38, 3.2e38]], np.float32)
    found = ends(calibrate(models("two_inputs"), [{"a": np.zeros((1, 4), np.float32), "b": masked}]))
    (name,) = [name for name in found if "_b:" in name]
    assert found[name] == (-1, 2)


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.method)
@pytest.mark.parametrize("bad", [-1.0, 0.0, np.nan])
def test_an_activation_that_is_not_finite_is_refused(
    method: Calibration, bad: float, models: Callable[[str], Path]
) -> None:
    samples = [{"a": np.array([[1, 2, 3, 4]], np.float32)} for _ in range(4)]
    samples[2]["a"][0, 1] = bad
    with pytest.raises(DataError, match=r"calibration example 3 makes tensor '.+' NaN or infinite"):
        calibrate(models("logarithm"), samples, method)


def test_an_example_that_lacks_an_input_is_refused(models: Callable[[str], Path]) -> None:
    whole = {name: np.ones((1, 4), np.float32) for name in "ab"}
    with pytest.raises(DataError, match="'b' cannot be fed: the examples have 'a'"):
        calibrate(models("two_inputs"), [{"a": whole["a"]}])
    with pytest.raises(DataError, match="'b' cannot be fed: the examples have 'a'"):
        calibrate(models("two_inputs"), [whole, {"a": whole["a"]}])


def test_an_example_of_another_shape_is_refused(models: Callable[[str], Path]) -> None:
    with pytest.raises(DataError, match=r"'image' float32\[1, 8, 8, 3\]"):
        calibrate(models("float32"), [{"image": np.zeros((1, 8, 8, 3), np.float32)}])


def test_no_examples_are_refused(models: Callable[[str], Path]) -> None:
    with pytest.raises(DataError, match="without examples"):
        calibrate(models("float32"), [])


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="cannot be read"):
        calibrate(tmp_path / "none", [])
