"""The recorded vowels, how they are padded and standardized, and the recurrent network."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.errors import DataError
from tfx_edge.examples.tfrecord import read_records
from tfx_edge.pipelines import time_series
from tfx_edge.pipelines.japanese_vowels import task
from tfx_edge.pipelines.package_data import AEON

CHANNELS, SPEAKERS = 12, 9

needs_data = pytest.mark.skipif(not AEON.path.is_file(), reason=f"{AEON.path} is not there: run `make data`")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("japanese_vowels")
    task.write_examples(directory)
    return directory


def read(directory: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Frames of shape (n, FRAMES, CHANNELS) and labels of shape (n,)."""
    import tensorflow as tf

    records = read_records(str(directory / split / "examples.tfrecord"))
    features = [tf.train.Example.FromString(record).features.feature for record in records]
    frames = np.array([feature["cepstrum"].float_list.value for feature in features], np.float32)
    labels = np.array([feature["label"].int64_list.value[0] for feature in features])
    return frames.reshape(-1, task.FRAMES, CHANNELS), labels


@given(st.integers(0, task.FRAMES))
def test_an_utterance_stands_at_the_end_after_zeros(length: int) -> None:
    utterance = np.arange(1, length * CHANNELS + 1, dtype=np.float32).reshape(length, CHANNELS)
    padded = task.at_end(utterance)
    assert padded.shape == (task.FRAMES, CHANNELS)
    np.testing.assert_array_equal(padded[task.FRAMES - length :], utterance)
    assert not padded[: task.FRAMES - length].any()


@needs_data
def test_the_splits_are_those_of_the_source(written: Path) -> None:
    (train, train_labels), (evaluation, labels) = read(written, "train"), read(written, "eval")
    assert np.bincount(train_labels).tolist() == [30] * SPEAKERS
    assert np.bincount(labels).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert not {frames.tobytes() for frames in train} & {frames.tobytes() for frames in evaluation}


@needs_data
def test_no_frame_is_lost(written: Path) -> None:
    for split, suffix in (("train", "TRAIN"), ("eval", "TEST")):
        text = AEON.read(f"aeon/datasets/data/JapaneseVowels/JapaneseVowels_{suffix}.ts").decode()
        for found, true in zip(read(written, split)[0], time_series.parse(text).series, strict=True):
            np.testing.assert_array_equal(found[found.any(axis=1)], true)


def test_without_the_package_the_error_names_the_make_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFX_EDGE_DATA", str(tmp_path / "nothing"))
    with pytest.raises(DataError, match=r"aeon.*is missing.*make data"):
        task.write_examples(tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.tfrecord"))


def test_channels_are_standardized_over_spoken_frames_and_the_others_stay_zero(tmp_path: Path) -> None:
    import tensorflow as tf
    import tensorflow_transform as tft
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from tfx_edge.pipelines.japanese_vowels.module import preprocessing_fn

    rng = np.random.default_rng(0)
    scales = np.arange(1, CHANNELS + 1)
    utterances = [rng.normal(scales, scales, (length, CHANNELS)).astype(np.float32) for length in (7, 12, 29)]
    raw = [{"cepstrum": task.at_end(frames).ravel(), "label": [0]} for frames in utterances]
    schema = schema_utils.schema_from_feature_spec(
        {
            "cepstrum": tf.io.FixedLenFeature([task.FRAMES * CHANNELS], tf.float32),
            "label": tf.io.FixedLenFeature([1], tf.int64),
        }
    )
    with tft_beam.Context(temp_dir=str(tmp_path)):
        analyzed = (raw, dataset_metadata.DatasetMetadata(schema)) | tft_beam.AnalyzeDataset(preprocessing_fn)
        _ = analyzed | tft_beam.WriteTransformFn(str(tmp_path / "graph"))
    transform = tft.TFTransformOutput(str(tmp_path / "graph"))
    given_all = np.stack([example["cepstrum"] for example in raw])
    found = transform.transform_raw_features({"cepstrum": tf.constant(given_all)})["cepstrum"].numpy()
    assert found.shape == (3, task.FRAMES, CHANNELS)
    spoken = np.stack([task.at_end(frames) for frames in utterances]).any(axis=-1)
    np.testing.assert_allclose(found[spoken].mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(found[spoken].std(axis=0), 1, atol=1e-5)
    assert not found[~spoken].any()


def test_every_precision_applies_to_the_unrolled_network(tmp_path: Path) -> None:
    from tfx_edge import save_trainable
    from tfx_edge.conversion.convert import convert
    from tfx_edge.pipelines.japanese_vowels.module import build_model
    from tfx_edge.quantization.quantize import quantize
    from tfx_edge.quantization.recipe import Recipe

    save_trainable(build_model(), SimpleNamespace(serving_model_dir=str(tmp_path / "Format-Serving")))
    path = tmp_path / "tflite"
    path.write_bytes(convert(tmp_path).content)
    rng = np.random.default_rng(0)
    calibration = [{"cepstrum": rng.standard_normal((1, task.FRAMES, CHANNELS), np.float32)} for _ in range(3)]
    whole = path.stat().st_size
    ratios = {"int8": 0.3, "int16x8": 0.31, "dynamic_int8": 0.3, "int4_weights": 0.2}
    for preset, ratio in ratios.items():
        made = quantize(path, Recipe(preset=preset), calibration)
        assert len(made.content) <= ratio * whole
        assert not made.report.missed
        assert bool(made.model.float_ops) == (preset in ("dynamic_int8", "int4_weights"))
