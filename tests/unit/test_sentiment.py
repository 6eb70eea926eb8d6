"""The rated texts, how they are split and told in numbers, and the network that reads them."""

from __future__ import annotations

import zlib
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snippet_examples import features_of, fetch_or_skip

from tfx_edge.errors import DataError
from tfx_edge.pipelines import snippets
from tfx_edge.pipelines.sentiment import task, tokens
from tfx_edge.pipelines.sentiment.tokens import IDS, LENGTH
from tfx_edge.pipelines.snippets import Snippet

SPLITS = ("train", "eval")


@pytest.fixture(scope="module")
def package() -> None:
    fetch_or_skip()


@pytest.fixture(scope="module")
def written(package: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("sentiment")
    task.write_examples(directory)
    return directory


def read(directory: Path, split: str) -> dict[str, np.ndarray]:
    """Each feature of a split's examples, in order."""
    features = features_of(directory, split)
    return {
        "tokens": np.array([each["tokens"].int64_list.value for each in features]),
        "label": np.array([each["label"].int64_list.value[0] for each in features]),
        "text": np.array([each["text"].bytes_list.value[0].decode() for each in features]),
        "source": np.array([each["source"].bytes_list.value[0].decode() for each in features]),
    }


def test_no_text_is_in_both_splits_nor_twice_in_one(written: Path) -> None:
    texts = {split: [Snippet("tweets", "", 0, text).words for text in read(written, split)["text"]] for split in SPLITS}
    assert not set(texts["train"]) & set(texts["eval"])
    for each in texts.values():
        assert len(set(each)) == len(each)


def test_no_review_is_in_both_splits(package: None) -> None:
    reviews = {split: {each.number for each in task.opinions() if each.split == split} - {""} for split in SPLITS}
    assert not reviews["train"] & reviews["eval"]
    assert len(reviews["train"]) > len(reviews["eval"]) > 50


def test_the_splits_are_as_documented(written: Path) -> None:
    train, evaluation = read(written, "train"), read(written, "eval")
    assert np.bincount(train["label"]).tolist() == [5528, 6737]
    assert np.bincount(evaluation["label"]).tolist() == [1731, 2177]
    assert Counter(evaluation["source"]) == {"tweets": 827, "amazon": 571, "movies": 2510}


def test_an_opinion_is_the_sign_of_a_rating_that_is_not_near_zero(package: None, written: Path) -> None:
    ratings = {each.text: each.rating for source in snippets.SOURCES for each in snippets.read(source)}
    for split in SPLITS:
        found = read(written, split)
        given_all = np.array([ratings[text] for text in found["text"]])
        assert np.abs(given_all).min() > task.NEUTRAL
        np.testing.assert_array_equal(given_all > 0, found["label"])


def test_examples_are_the_same_each_time(written: Path, tmp_path: Path) -> None:
    task.write_examples(tmp_path)
    for split in SPLITS:
        name = f"{split}/examples.tfrecord"
        assert (tmp_path / name).read_bytes() == (written / name).read_bytes()


def test_without_the_package_the_error_names_the_make_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFX_EDGE_DATA", str(tmp_path / "nothing"))
    with pytest.raises(DataError, match=r"vaderSentiment.*is missing.*make data"):
        task.write_examples(tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.tfrecord"))


def test_of_texts_with_the_same_words_the_first_is_kept() -> None:
    texts = ["Not bad.", "other", "not BAD!!", "not... bad", "bad"]
    kept = snippets.distinct([Snippet("tweets", "", 1.0, text) for text in texts])
    assert [each.text for each in kept] == ["Not bad.", "other", "bad"]


@given(st.text(st.characters(codec="ascii"), max_size=30), st.sampled_from(["tweets", "amazon", "movies"]))
def test_the_split_of_a_text_without_a_review_depends_on_its_words_alone(text: str, source: snippets.Source) -> None:
    first, second = Snippet(source, "", 1.0, text), Snippet("tweets", "", -2.0, f"  {text.upper()}!")
    assert first.split == second.split


@given(st.text(max_size=200))
def test_ids_are_in_range_and_zero_only_after_the_last_token(text: str) -> None:
    found, count = tokens.ids(text), min(len(tokens.split(text)), LENGTH)
    assert found.shape == (LENGTH,)
    assert (found[:count] > 0).all()
    assert (found < IDS).all()
    assert not found[count:].any()


@given(st.lists(st.sampled_from(["I", "don't", ":)", "good", "!!"]), max_size=60))
def test_tokens_are_found_again_in_any_case_and_spacing(words: list[str]) -> None:
    expected = [word.lower() for word in words]
    assert tokens.split("  ".join(words).upper()) == expected
    hashed = [1 + zlib.crc32(word.encode()) % (IDS - 1) for word in expected[:LENGTH]]
    np.testing.assert_array_equal(tokens.ids(" ".join(words))[: len(hashed)], hashed)


def test_words_and_marks_are_told_apart() -> None:
    assert tokens.split("It isn't good,sadly :-( NO!!!") == ["it", "isn't", "good", ",", "sadly", ":-(", "no", "!!!"]


def test_the_network_is_small_enough_in_int8_and_int4(tmp_path: Path) -> None:
    from tfx_edge import save_trainable
    from tfx_edge.conversion.convert import convert
    from tfx_edge.pipelines.sentiment.module import build_model
    from tfx_edge.quantization.quantize import quantize
    from tfx_edge.quantization.recipe import Recipe

    save_trainable(build_model(), SimpleNamespace(serving_model_dir=str(tmp_path / "Format-Serving")))
    path = tmp_path / "tflite"
    path.write_bytes(convert(tmp_path).content)
    rng = np.random.default_rng(0)
    calibration = [{"tokens": rng.integers(0, IDS, (1, LENGTH), np.int32)} for _ in range(3)]
    whole = path.stat().st_size
    int8 = quantize(path, Recipe(preset="int8"), calibration)
    assert not int8.model.float_ops
    assert not int8.report.missed
    assert len(int8.content) <= 0.3 * whole
    for preset, ratio in {"int16x8": 0.3, "int4_weights": 0.2, "int4_blockwise": 0.2}.items():
        made = quantize(path, Recipe(preset=preset, **task.TASK.recipes.get(preset, {})), calibration)
        assert len(made.content) <= ratio * whole
        assert bool(made.report.missed) == (preset == "int4_blockwise")  # there is no such convolution
