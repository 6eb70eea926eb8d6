"""Each finding on digits that have its fault, and none on digits that are sound."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import lite_models
import numpy as np
import pytest
from sklearn.datasets import load_digits

from tfx_edge.examples.audit import Audit, audit
from tfx_edge.examples.sampling import Batch, draw
from tfx_edge.quantization.calibration import Calibrated, CalibratedInput, calibrate_halves
from tfx_edge.quantization.recipe import Calibration

EXAMPLES = 200
Examples = tuple[np.ndarray, np.ndarray]


@pytest.fixture(scope="module")
def digits() -> tuple[Examples, Examples]:
    """Training and eval split: images in [0, 1] of shape (n, 8, 8, 1), and labels."""
    bunch = load_digits()
    images, labels = (bunch.images[..., None] / 16).astype(np.float32), bunch.target
    order = np.random.default_rng(0).permutation(len(labels))
    return (images[order[:1200]], labels[order[:1200]]), (images[order[1200:]], labels[order[1200:]])


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CNN that takes images in [0, 1]."""
    return lite_models.write(tmp_path_factory.mktemp("plain"), lite_models.float32())


@pytest.fixture(scope="module")
def scaling(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that divides bytes by 255 itself, and uses the result twice."""
    return _of(lambda image: image / 255.0, tmp_path_factory.mktemp("scaling"))


@pytest.fixture(scope="module")
def normalising(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model with the arithmetic of a Normalization layer for bytes."""
    return _of(lambda image: (image - 80.0) / 95.0, tmp_path_factory.mktemp("normalising"))


def _of(scale: Callable[[Any], Any], folder: Path) -> Path:
    import tensorflow as tf

    def serve(image: Any) -> dict[str, Any]:
        scaled = scale(image)
        return {"y": tf.reduce_max(scaled, axis=(1, 2, 3)) + tf.nn.relu(tf.reduce_mean(scaled, axis=(1, 2, 3)))}

    module = tf.Module()
    spec = tf.TensorSpec(lite_models.IMAGE_SHAPE, tf.float32, name="image")
    module.serve = tf.function(serve, autograph=False, input_signature=[spec])
    return lite_models.write(folder, lite_models._from_saved_model(module, {"serving_default": module.serve}))


def batches(examples: Examples, labelled: bool = True, size: int = 64) -> Iterator[Batch]:
    images, labels = examples
    for start in range(0, len(images), size):
        yield {"image": images[start : start + size]}, labels[start : start + size] if labelled else np.empty(0)


def audited(
    path: Path,
    train: Examples,
    evaluation: Examples | None,
    labelled: bool = True,
    count: int = EXAMPLES,
    settings: Calibration = Calibration(),  # noqa: B008
) -> Audit:
    sample = draw(batches(train, labelled), count, 0)
    calibrated = calibrate_halves(path, sample.examples, settings)
    return audit(sample, calibrated, batches(evaluation, labelled) if evaluation else ())


def found(result: Audit) -> dict[str, str]:
    return {finding.name: f"{finding.severity}: {finding.text}" for finding in result.findings}


def test_sound_data_has_no_findings(plain: Path, digits: tuple[Examples, Examples]) -> None:
    result = audited(plain, *digits)
    assert found(result) == {}
    assert result.figures == {
        "examples": EXAMPLES,
        "eval_examples": 597,
        "duplicates": 0,
        "classes_missing": 0,
        "outside_range": 0,
        "leaked": 0,
        "unstable": pytest.approx(0, abs=0.24),
        "unstable_worst": pytest.approx(1, abs=0.9),
    }


def test_copies_are_counted(plain: Path, digits: tuple[Examples, Examples]) -> None:
    (images, labels), evaluation = digits
    copied = np.concatenate([images[:100], images[:50]]), np.concatenate([labels[:100], labels[:50]])
    result = audited(plain, copied, evaluation, count=150)
    assert found(result)["duplicates"].startswith(
        "warning: 50 of 150 calibration examples are copies of others, so that the ranges rest on 100"
    )
    assert result.figures["duplicates"] == 50


def test_few_copies_are_no_warning(plain: Path, digits: tuple[Examples, Examples]) -> None:
    (images, labels), evaluation = digits
    copied = np.concatenate([images[:100], images[:1]]), np.concatenate([labels[:100], labels[:1]])
    assert found(audited(plain, copied, evaluation, count=101))["duplicates"].startswith("info: 1 of 101")


def test_classes_that_do_not_fit_in_the_sample_are_named(plain: Path, digits: tuple[Examples, Examples]) -> None:
    result = audited(plain, *digits, count=7)
    assert found(result)["classes_missing"].startswith("warning: 3 of the 10 classes of the training split")
    assert "draw at least 10 examples" in found(result)["classes_missing"]
    assert result.figures["classes_missing"] == 3


def test_a_rare_class_is_named_with_its_examples(plain: Path, digits: tuple[Examples, Examples]) -> None:
    (images, labels), evaluation = digits
    kept = np.flatnonzero(labels != 4).tolist() + np.flatnonzero(labels == 4)[:1].tolist()
    text = found(audited(plain, (images[kept], labels[kept]), evaluation))["classes_rare"]
    assert text.startswith("info: 1 of 10 classes")
    assert "(4: 1)" in text


def test_a_class_of_the_eval_split_alone_is_named(plain: Path, digits: tuple[Examples, Examples]) -> None:
    (images, labels), evaluation = digits
    text = found(audited(plain, (images[labels != 4], labels[labels != 4]), evaluation))["classes_unknown"]
    assert "1 classes that the training split lacks (4)" in text


def test_nothing_is_said_of_classes_without_labels(plain: Path, digits: tuple[Examples, Examples]) -> None:
    (images, labels), evaluation = digits
    result = audited(plain, (images[labels != 4], labels[labels != 4]), evaluation, labelled=False)
    assert not [name for name in (*found(result), *result.figures) if name.startswith("classes")]


def test_eval_values_outside_the_range_are_counted(plain: Path, digits: tuple[Examples, Examples]) -> None:
    train, (images, labels) = digits
    result = audited(plain, train, (images * 1.1, labels))
    share = np.mean(images.astype(np.float32) * 1.1 > 1)
    assert result.figures["outside_range"] == pytest.approx(share)
    text = found(result)["outside_range"]
    assert text.startswith(f"warning: {share:.2%} of the values of 'image'")
    assert "calibrated range of 0 to 1" in text
    assert "(they go from 0 to 1.1)" in text


def test_a_range_cut_by_percentile_shows(plain: Path, digits: tuple[Examples, Examples]) -> None:
    (images, labels), _ = digits
    images = images.copy()
    images[images == 1] = np.random.default_rng(0).uniform(1, 3, np.count_nonzero(images == 1))
    settings = Calibration(method="percentile", percentile=99.0)
    text = found(audited(plain, (images, labels), (images, labels), settings=settings))["outside_range"]
    assert text.startswith("info: 0.")


def test_missing_values_in_the_eval_split_are_counted(plain: Path, digits: tuple[Examples, Examples]) -> None:
    train, (images, labels) = digits
    broken = images.copy()
    broken[3, 2, 2], broken[5, 1, 1] = np.nan, np.inf
    result = audited(plain, train, (broken, labels))
    assert found(result)["not_finite"].startswith("warning: 2 values of 'image'")
    assert result.figures["outside_range"] == 0


@pytest.mark.parametrize("factor", [255.0, 1 / 255])
def test_a_split_of_another_scale_is_found(factor: float, plain: Path, digits: tuple[Examples, Examples]) -> None:
    train, (images, labels) = digits
    assert (
        "scaled twice, or not at all"
        in found(audited(plain, train, (images * np.float32(factor), labels)))["scale_differs"]
    )


def test_bytes_divided_twice_are_found(plain: Path, digits: tuple[Examples, Examples]) -> None:
    twice = tuple((np.rint(images * 255) / 255 / 255, labels) for images, labels in digits)
    assert "multiples of 1/255²" in found(audited(plain, *map(_float32, twice)))["scaled_twice"]


def test_small_numbers_that_are_no_bytes_are_left_alone(plain: Path, digits: tuple[Examples, Examples]) -> None:
    rng = np.random.default_rng(0)
    small = [(rng.random(images.shape) / 255, labels) for images, labels in digits]
    assert found(audited(plain, *map(_float32, small))) == {}


def _float32(examples: Examples) -> Examples:
    return examples[0].astype(np.float32), examples[1]


@pytest.mark.parametrize("model", ["scaling", "normalising"])
def test_scaled_input_for_a_model_that_scales_is_found(
    model: str, request: pytest.FixtureRequest, digits: tuple[Examples, Examples]
) -> None:
    path = request.getfixturevalue(model)
    scaled = found(audited(path, *digits))
    assert scaled["scaled_twice"].startswith(
        "warning: 'image' goes from 0 to 1, and the model's own scaling turns that"
    )
    right = [(images * np.float32(255), labels) for images, labels in digits]
    assert "scaled_twice" not in found(audited(path, *right))


def test_a_constant_feature_is_found(plain: Path, digits: tuple[Examples, Examples]) -> None:
    (images, labels), evaluation = digits
    constant = np.full_like(images, 0.5), labels
    assert found(audited(plain, constant, evaluation))["constant"].startswith(
        "warning: every value of 'image' in the calibration examples is 0.5, while in the eval split they go from 0 to"
    )
    assert found(audited(plain, constant, constant))["constant"].startswith("info: every value of 'image'")


def test_examples_of_the_eval_split_are_found(plain: Path, digits: tuple[Examples, Examples]) -> None:
    (images, labels), (eval_images, eval_labels) = digits
    mixed = np.concatenate([images[:300], eval_images[:100]]), np.concatenate([labels[:300], eval_labels[:100]])
    result = audited(plain, mixed, digits[1], count=400)
    assert result.figures["leaked"] == 100
    assert found(result)["leaked"].startswith("warning: 100 of 400 calibration examples are also in the eval split: ")


def test_leaked_examples_with_another_label_are_told_apart(plain: Path, digits: tuple[Examples, Examples]) -> None:
    (images, labels), (eval_images, eval_labels) = digits
    mixed = np.concatenate([images[:50], eval_images[:9]]), np.concatenate([labels[:50], (eval_labels[:9] + 1) % 10])
    assert (
        "9 of 59 calibration examples are also in the eval split, 9 of them with another label"
        in found(audited(plain, mixed, digits[1], count=59))["leaked"]
    )


def test_equal_examples_are_no_warning_where_the_data_repeats_itself(
    plain: Path, digits: tuple[Examples, Examples]
) -> None:
    (images, labels), _ = digits
    few = np.random.default_rng(0).integers(0, 20, 600)
    repeating = images[few], labels[few]
    assert found(audited(plain, repeating, repeating))["leaked"].startswith("info: 200 of 200")


def test_ranges_that_hang_on_single_examples_are_unstable(plain: Path, digits: tuple[Examples, Examples]) -> None:
    (images, labels), evaluation = digits
    images = images.copy()
    images[17] *= 4
    result = audited(plain, (images, labels), evaluation, count=len(labels))
    text = found(result)["unstable"]
    assert text.startswith("warning: calibrated on either half")
    assert "0 to 4" in text
    assert "0 to 1)" in text
    assert result.figures["unstable"] > 0.5


def test_stability_is_of_the_share_of_tensors() -> None:
    sample = draw([({"x": np.arange(4.0)}, np.empty(0))], 4, 0)
    halves: tuple[dict[str, Any], dict[str, Any]] = (
        {f"t{number}": (0.0, 1.0) for number in range(20)},
        {f"t{number}": (0.0, 1.19) for number in range(20)},
    )
    calibrated = Calibrated({}, halves, {"x": CalibratedInput((0.0, 3.0), None)}, 4)
    assert found(audit(sample, calibrated)) == {}
    halves[1]["t0"] = halves[1]["t1"] = (0.0, 1.3)
    result = audit(sample, calibrated)
    assert found(result) == {}
    assert result.figures["unstable"] == 0.1
    halves[1]["t3"] = (-1.0, 1.0)
    text = found(audit(sample, calibrated))["unstable"]
    assert text.startswith("info:")
    assert "3 of 20 tensors differ by more than 20%, most that of 't3' (0 to 1 and -1 to 1)" in text
    halves[0]["t3"] = (0.0, 0.0)
    result = audit(sample, calibrated)
    assert "'t3' (0 to 0 and -1 to 1)" in found(result)["unstable"]
    assert "unstable_worst" not in result.figures
    halves[0].update({f"t{number}": (0.0, 1.6) for number in range(10)})
    assert found(audit(sample, calibrated))["unstable"].startswith("warning:")


def test_without_an_eval_split_nothing_is_said_of_it(plain: Path, digits: tuple[Examples, Examples]) -> None:
    result = audited(plain, digits[0], None)
    assert found(result) == {}
    assert result.figures["eval_examples"] == 0
    assert not {"leaked", "outside_range"} & set(result.figures)


def test_the_eval_split_is_read_up_to_a_limit(plain: Path, digits: tuple[Examples, Examples]) -> None:
    sample = draw(batches(digits[0]), 20, 0)
    calibrated = calibrate_halves(plain, sample.examples)
    read = []

    def stream() -> Iterator[Batch]:
        for batch in batches(digits[1], size=10):
            read.append(batch)
            yield batch

    assert audit(sample, calibrated, stream(), limit=100).figures["eval_examples"] == 100
    assert len(read) <= 11


def test_the_result_is_json_lines_and_flat_properties(plain: Path, digits: tuple[Examples, Examples]) -> None:
    (images, labels), evaluation = digits
    result = audited(plain, (np.zeros_like(images), labels), evaluation)
    content = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert content["findings"][0]["severity"] == "warning"
    severities = [finding["severity"] for finding in content["findings"]]
    assert severities == sorted(severities, reverse=True)
    assert len(result.lines()) == len(severities) + 1
    properties: Mapping[str, Any] = result.properties()
    assert properties["calibration_examples"] == EXAMPLES
    assert properties["calibration_warnings"] == severities.count("warning") > 0
    assert all(isinstance(value, (int, float)) for value in properties.values())
