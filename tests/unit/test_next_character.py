"""Sentences as characters, how they are split and told in numbers, and the network that continues them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from snippet_examples import features_of, fetch_or_skip

from tfx_edge.errors import DataError
from tfx_edge.pipelines.next_character import characters, task
from tfx_edge.pipelines.next_character.characters import ALPHABET, CONTEXT
from tfx_edge.pipelines.snippets import Snippet

FEW: Mapping[task.Split, int] = {"train": 400, "eval": 300}


@pytest.fixture(scope="module")
def package() -> None:
    fetch_or_skip()


@pytest.fixture(scope="module")
def sentences(package: None) -> dict[task.Split, list[str]]:
    return task.sentences()


def read(directory: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Contexts of shape (n, CONTEXT) and labels of shape (n,)."""
    features = features_of(directory, split)
    contexts = np.array([each["context"].int64_list.value for each in features])
    return contexts, np.array([each["label"].int64_list.value[0] for each in features])


def test_no_sentence_is_in_both_splits_nor_twice_in_one(sentences: dict[task.Split, list[str]]) -> None:
    words = {split: [Snippet("movies", "", 0, text).words for text in texts] for split, texts in sentences.items()}
    assert not set(words["train"]) & set(words["eval"])
    for each in words.values():
        assert len(set(each)) == len(each)


def test_the_splits_are_as_documented(sentences: dict[task.Split, list[str]]) -> None:
    assert {split: len(texts) for split, texts in sentences.items()} == {"train": 7964, "eval": 2639}
    characters_of = {split: sum(len(text) + 1 for text in texts) for split, texts in sentences.items()}
    examples = {split: -(-count // task.STEPS[split]) for split, count in characters_of.items()}
    assert examples == {"train": 223_913, "eval": 19_785}


def test_examples_continue_sentences_of_their_own_split(sentences: dict[task.Split, list[str]], tmp_path: Path) -> None:
    task.write_examples(tmp_path, FEW)
    for split, step in FEW.items():
        text = "".join(f"{sentence}\n" for sentence in sentences[split])
        contexts, labels = read(tmp_path, split)
        assert "".join(ALPHABET[label] for label in labels) == text[::step]
        for number, context in enumerate(contexts):
            sentence = text[: number * step].rpartition("\n")[2]
            assert "".join(ALPHABET[each] for each in context) == sentence[-CONTEXT:].rjust(CONTEXT, "\n")


def test_examples_are_the_same_each_time(package: None, tmp_path: Path) -> None:
    for name in ("first", "second"):
        task.write_examples(tmp_path / name, FEW)
    for split in FEW:
        first, second = (tmp_path / name / split / "examples.tfrecord" for name in ("first", "second"))
        assert first.read_bytes() == second.read_bytes()


def test_without_the_package_the_error_names_the_make_target(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TFX_EDGE_DATA", str(tmp_path / "nothing"))
    with pytest.raises(DataError, match=r"vaderSentiment.*is missing.*make data"):
        task.write_examples(tmp_path / "data")
    assert not list((tmp_path / "data").rglob("*.tfrecord"))


@given(st.text(max_size=60))
def test_a_clean_text_has_characters_of_the_alphabet_and_is_clean_already(text: str) -> None:
    clean = characters.clean(text)
    assert set(clean) <= set(ALPHABET[1:])
    assert clean == clean.strip()
    assert "  " not in clean
    assert characters.clean(clean) == clean


def test_accents_fall_and_marks_become_plain_ones() -> None:
    assert characters.clean("Amélie’s  “Été”\t— [a] ''classic'' ½ ©") == 'amelie\'s ete - (a) "classic" 12'


@given(st.text(ALPHABET[1:], max_size=40), st.data())
def test_a_context_is_what_comes_before(text: str, data: st.DataObject) -> None:
    numbers = characters.ids(text)
    assert "".join(ALPHABET[number] for number in numbers) == f"{text}\n"
    position = data.draw(st.integers(0, len(text)))
    context = characters.context(numbers, position)
    assert context.shape == (CONTEXT,)
    shown = min(position, CONTEXT)
    assert (
        "".join(ALPHABET[number] for number in context) == "\n" * (CONTEXT - shown) + text[position - shown : position]
    )


def test_the_network_is_small_enough_in_int8_and_int4(tmp_path: Path) -> None:
    from tfx_edge import save_trainable
    from tfx_edge.conversion.convert import convert
    from tfx_edge.pipelines.next_character.module import build_model
    from tfx_edge.quantization.quantize import quantize
    from tfx_edge.quantization.recipe import Recipe

    save_trainable(build_model(), SimpleNamespace(serving_model_dir=str(tmp_path / "Format-Serving")))
    path = tmp_path / "tflite"
    path.write_bytes(convert(tmp_path).content)
    rng = np.random.default_rng(0)
    calibration = [{"context": rng.integers(0, len(ALPHABET), (1, CONTEXT), np.int32)} for _ in range(3)]
    whole = path.stat().st_size
    int8 = quantize(path, Recipe(preset="int8"), calibration)
    assert not int8.model.float_ops
    assert not int8.report.missed
    assert len(int8.content) <= 0.3 * whole
    for preset, ratio in {"int16x8": 0.3, "int4_weights": 0.2, "int4_blockwise": 0.2}.items():
        made = quantize(path, Recipe(preset=preset, **task.TASK.recipes.get(preset, {})), calibration)
        assert len(made.content) <= ratio * whole
        assert not made.report.missed
