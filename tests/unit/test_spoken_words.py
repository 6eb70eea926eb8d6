"""The synthesised words, the log-mel features, and the network that spots them."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.errors import DataError
from tfx_edge.examples.tfrecord import read_records
from tfx_edge.pipelines.spoken_words import data, features, voices
from tfx_edge.pipelines.spoken_words.data import COMMANDS, OTHERS, Clip
from tfx_edge.pipelines.spoken_words.voices import RATE, VARIANTS, Speaker

needs_espeak = pytest.mark.skipif(
    shutil.which("espeak-ng") is None, reason="espeak-ng is not installed: run `make data`"
)

FEW = {"train": 3, "eval": 2}
SPEAKER = Speaker("en-us", "m3")
NOISE = Clip(11, None, SPEAKER, pitch=50, speed=175, level=0.5, start=0.0, noise_db=-10.0, tilt=0.0, seed=1)
WORD = dataclasses.replace(NOISE, label=0, word="yes", noise_db=-60.0)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("spoken_words")
    data.write_examples(directory, FEW)
    return directory


def read(directory: Path, split: str) -> dict[str, np.ndarray]:
    """Each feature of a split's examples, in order."""
    import tensorflow as tf

    examples = [tf.train.Example.FromString(r) for r in read_records(str(directory / split / "examples.tfrecord"))]
    return {
        "log_mel": np.array([e.features.feature["log_mel"].float_list.value for e in examples]),
        "label": np.array([e.features.feature["label"].int64_list.value[0] for e in examples]),
        "word": np.array([e.features.feature["word"].bytes_list.value[0].decode() for e in examples]),
        "speaker": np.array([e.features.feature["speaker"].bytes_list.value[0].decode() for e in examples]),
    }


def test_no_speaker_and_no_variant_is_in_both_splits() -> None:
    train, evaluation = data.speakers("train"), data.speakers("eval")
    assert not {speaker.variant for speaker in train} & {speaker.variant for speaker in evaluation}
    assert {speaker.variant for speaker in train + evaluation} == set(VARIANTS)
    planned = {split: {clip.speaker for clip in data.plan(split, 300)} for split in ("train", "eval")}
    assert planned["train"] <= set(train)
    assert planned["eval"] <= set(evaluation)
    assert len(planned["train"]) > 100


def test_other_words_are_no_commands_and_those_of_the_eval_split_are_new() -> None:
    assert not set(OTHERS["train"]) & set(OTHERS["eval"])
    assert not {*OTHERS["train"], *OTHERS["eval"]} & set(COMMANDS)


@given(st.sampled_from(["train", "eval"]), st.integers(1, 40))
def test_a_plan_is_the_same_each_time_and_has_as_many_clips_of_each_class(split: data.Split, clips: int) -> None:
    plan = data.plan(split, clips)
    assert plan == data.plan(split, clips)
    assert np.bincount([clip.label for clip in plan]).tolist() == [clips] * len(data.CLASSES)
    assert len({clip.seed for clip in plan}) == len(plan)


def test_the_splits_have_other_noise() -> None:
    seeds = {split: {clip.seed for clip in data.plan(split, 50)} for split in ("train", "eval")}
    assert not seeds["train"] & seeds["eval"]


@given(st.floats(0.05, 0.9), st.floats(-30, 0), st.floats(0, 2), st.integers(0, 2**31 - 1))
def test_noise_alone_is_a_second_as_loud_as_planned(level: float, noise_db: float, tilt: float, seed: int) -> None:
    clip = dataclasses.replace(NOISE, level=level, noise_db=noise_db, tilt=tilt, seed=seed)
    audio = data.record(clip)
    assert audio.shape == (RATE,)
    assert 10 * np.log10(np.mean(audio**2) / level**2) == pytest.approx(noise_db, abs=1e-3)
    np.testing.assert_array_equal(audio, data.record(clip))


@pytest.mark.parametrize("tilt", [0.0, 1.0, 2.0])
def test_noise_falls_by_its_tilt(tilt: float) -> None:
    power = np.abs(np.fft.rfft(data.record(dataclasses.replace(NOISE, tilt=tilt)))) ** 2
    low, high = power[100:400].mean(), power[1600:6400].mean()  # four octaves apart
    assert np.log2(low / high) / 4 == pytest.approx(tilt, abs=0.1)


@needs_espeak
@pytest.mark.parametrize("start", [0.0, 1.0])
def test_a_word_lies_where_it_was_planned(start: float) -> None:
    clip = dataclasses.replace(WORD, start=start)
    word = voices.speak(clip.speaker, "yes", clip.pitch, clip.speed)
    loud = np.flatnonzero(np.abs(data.record(clip)) > 0.01)
    free = RATE - len(word)
    assert loud[0] >= free * start
    assert loud[-1] < free * start + len(word)
    assert np.abs(data.record(clip)).max() == pytest.approx(clip.level, rel=0.01)


@needs_espeak
@pytest.mark.parametrize(("noise_db", "level"), [(-30.0, 0.05), (-10.0, 0.5), (0.0, 0.2)])
def test_noise_is_as_far_below_the_word_as_planned(noise_db: float, level: float) -> None:
    clip = dataclasses.replace(WORD, start=1.0, noise_db=noise_db, level=level)
    word = voices.speak(clip.speaker, "yes", clip.pitch, clip.speed)
    word *= level / np.abs(word).max()
    before = data.record(clip)[: RATE - len(word)]
    assert 10 * np.log10(np.mean(before**2) / np.mean(word**2)) == pytest.approx(noise_db, abs=0.5)


@needs_espeak
def test_speakers_pitches_and_speeds_are_heard() -> None:
    def spoken(speaker: Speaker = SPEAKER, pitch: int = 50, speed: int = 175) -> np.ndarray:
        return voices.speak(speaker, "seven", pitch, speed)

    assert len(spoken(speed=220)) < 0.8 * len(spoken(speed=120))
    others = [spoken(), spoken(pitch=20), spoken(Speaker("en-us", "f2")), spoken(Speaker("en-gb-scotland", "m3"))]
    assert len({audio.tobytes() for audio in others}) == len(others)


@needs_espeak
def test_every_variant_is_a_voice_of_its_own() -> None:
    heard = {voices.speak(Speaker("en-us", variant), "left", 50, 175).tobytes() for variant in VARIANTS}
    assert len(heard) == len(VARIANTS)


@needs_espeak
def test_what_espeak_cannot_say_is_an_error() -> None:
    with pytest.raises(DataError, match=r"espeak-ng .*-v qqq\+m3 .* failed: .*voice does not exist"):
        voices.speak(Speaker("qqq", "m3"), "left", 50, 175)
    with pytest.raises(DataError, match="nothing was heard"):
        voices.speak(SPEAKER, "", 50, 175)


@given(st.integers(0, features.BANDS - 1))
def test_a_tone_is_loudest_in_the_band_around_it(band: int) -> None:
    lowest, highest = (1127 * np.log1p(hertz / 700) for hertz in (features.LOWEST_HZ, features.HIGHEST_HZ))
    mel = lowest + (band + 1) * (highest - lowest) / (features.BANDS + 1)
    tone = np.sin(2 * np.pi * 700 * np.expm1(mel / 1127) / RATE * np.arange(RATE))
    assert abs(features.log_mel(tone).mean(axis=0).argmax() - band) <= (1 if band < 3 else 0)


def test_features_are_those_of_tf_signal() -> None:
    import tensorflow as tf

    audio = data.record(dataclasses.replace(NOISE, tilt=1.0))
    spectrum = tf.abs(tf.signal.stft(audio, features.WINDOW, features.HOP, features.FFT)) ** 2
    triangles = tf.signal.linear_to_mel_weight_matrix(
        features.BANDS, features.FFT // 2 + 1, RATE, features.LOWEST_HZ, features.HIGHEST_HZ
    )
    expected = tf.math.log(spectrum @ triangles + features.FLOOR).numpy()
    found = features.log_mel(audio)
    assert found.shape == (features.FRAMES, features.BANDS) == (49, 40)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


@needs_espeak
def test_examples_hold_what_was_planned(written: Path) -> None:
    for split, clips in FEW.items():
        found, plan = read(written, split), data.plan(split, clips)
        assert found["label"].tolist() == [clip.label for clip in plan]
        assert found["word"].tolist() == [clip.word or "" for clip in plan]
        assert found["speaker"].tolist() == [str(clip.speaker) for clip in plan]
        assert found["log_mel"].shape == (len(plan), features.FRAMES * features.BANDS)
        np.testing.assert_allclose(
            found["log_mel"][5].reshape(features.FRAMES, -1), features.log_mel(data.record(plan[5])), atol=1e-4
        )


@needs_espeak
def test_no_speaker_is_in_the_files_of_both_splits(written: Path) -> None:
    assert not set(read(written, "train")["speaker"]) & set(read(written, "eval")["speaker"])


@needs_espeak
def test_examples_are_the_same_each_time(written: Path, tmp_path: Path) -> None:
    data.write_examples(tmp_path, FEW)
    for split in FEW:
        first, second = read(written, split), read(tmp_path, split)
        for name in first:
            np.testing.assert_array_equal(first[name], second[name])


def test_without_espeak_the_error_names_the_make_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="espeak-ng, which speaks the words, is not installed: run make data"):
        data.write_examples(tmp_path / "data", FEW)
    assert not list((tmp_path / "data").rglob("*.tfrecord"))
    with pytest.raises(DataError, match=r"apt-get install .*espeak-ng.*failed .*apt-get cannot be run"):
        voices.install()


def test_an_espeak_that_lacks_voices_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "espeak-ng"
    program.write_text(f"#!/bin/sh\necho '{' '.join({*voices.ACCENTS, *VARIANTS} - {'steph', 'en-us-nyc'})}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(DataError, match=r"lacks the voices en-us-nyc, steph: install version 1\.51"):
        voices.require()


def test_the_network_is_small_enough_in_int8_and_int4(tmp_path: Path) -> None:
    from tfx_edge import save_trainable
    from tfx_edge.conversion.convert import convert
    from tfx_edge.pipelines.spoken_words.module import build_model
    from tfx_edge.quantization.quantize import quantize
    from tfx_edge.quantization.recipe import Recipe

    save_trainable(build_model(), SimpleNamespace(serving_model_dir=str(tmp_path / "Format-Serving")))
    path = tmp_path / "tflite"
    path.write_bytes(convert(tmp_path).content)
    rng = np.random.default_rng(0)
    calibration = [{"log_mel": rng.standard_normal((1, 49, 40, 1), np.float32)} for _ in range(3)]
    whole = path.stat().st_size
    assert whole > 100_000
    int8 = quantize(path, Recipe(preset="int8"), calibration)
    assert not int8.model.float_ops
    assert len(int8.content) <= 0.3 * whole
    assert len(quantize(path, Recipe(preset="int4_weights")).content) <= 0.2 * whole
