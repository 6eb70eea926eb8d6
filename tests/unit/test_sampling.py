"""A drawn sample is even over classes, repeatable, and takes no more memory than its own examples."""

from __future__ import annotations

import collections
import tracemalloc
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.errors import DataError
from tfx_edge.examples.sampling import Batch, Sample, draw

LABELS = st.lists(st.sampled_from([0, 0, 0, 0, 1, 1, 2, 7]), min_size=1, max_size=120)


def split(labels: list[int], batch_size: int) -> Iterator[Batch]:
    """Examples whose feature ``number`` is their place in the split."""
    for start in range(0, len(labels), batch_size):
        part = np.array(labels[start : start + batch_size])
        yield {"number": np.arange(start, start + len(part), dtype=np.float32)[:, None]}, part


def numbers(sample: Sample) -> list[int]:
    return [int(example["number"].item()) for example in sample.examples]


@given(labels=LABELS, count=st.integers(1, 60), seed=st.integers(0, 9), sizes=st.tuples(*[st.integers(1, 130)] * 2))
def test_the_sample_does_not_depend_on_the_batches(
    labels: list[int], count: int, seed: int, sizes: tuple[int, int]
) -> None:
    one, other = (draw(split(labels, size), count, seed) for size in sizes)
    assert numbers(one) == numbers(other)
    assert (one.seen, one.taken, one.total) == (other.seen, other.taken, other.total)


@pytest.mark.parametrize("seed", range(10))
def test_a_long_split_gives_the_same_in_small_batches_as_in_one(seed: int) -> None:
    labels = np.random.default_rng(seed).choice([0, 1, 2, 7], 3000, p=[0.7, 0.2, 0.09, 0.01]).tolist()
    assert numbers(draw(split(labels, 3), 20, seed)) == numbers(draw(split(labels, 3000), 20, seed))


@given(labels=LABELS, count=st.integers(1, 60), seed=st.integers(0, 9))
def test_classes_share_the_sample_evenly_and_rare_ones_give_all_they_have(
    labels: list[int], count: int, seed: int
) -> None:
    sample = draw(split(labels, 7), count, seed)
    seen = collections.Counter(labels)
    assert sample.seen == seen
    assert sample.total == len(labels)
    assert len(sample.examples) == sum(sample.taken.values()) == min(count, len(labels))
    most = max(sample.taken.values())
    assert all(sample.taken.get(kind, 0) >= min(seen[kind], most - 1) for kind in seen)


@given(labels=LABELS, count=st.integers(1, 60), seed=st.integers(0, 9))
def test_every_example_comes_from_the_split_once_and_with_its_label(labels: list[int], count: int, seed: int) -> None:
    sample = draw(split(labels, 11), count, seed)
    assert len(set(numbers(sample))) == len(sample.examples)
    assert [int(label.item()) for label in sample.labels] == [labels[number] for number in numbers(sample)]
    assert all(example["number"].shape == (1, 1) for example in sample.examples)


def test_each_class_is_drawn_from_uniformly() -> None:
    labels = [0] * 20 + [1] * 5
    drawn = collections.Counter(number for seed in range(2000) for number in numbers(draw(split(labels, 4), 6, seed)))
    # 3 of each class: 300 times each of 20, 1200 times each of 5; six standard deviations are about 96 and 131
    assert all(abs(drawn[number] - 300) < 96 for number in range(20))
    assert all(abs(drawn[number] - 1200) < 131 for number in range(20, 25))


@pytest.mark.parametrize(
    "labels",
    [np.empty(0), np.linspace(0, 1, 40), np.eye(40, dtype=np.int64)],
    ids=["no labels", "float labels", "one-hot labels"],
)
def test_without_integer_classes_the_sample_is_uniform(labels: np.ndarray) -> None:
    features = {"number": np.arange(40, dtype=np.float32)}
    drawn: collections.Counter[int] = collections.Counter()
    for seed in range(1000):
        sample = draw([(features, labels)], 10, seed)
        assert not sample.seen
        assert not sample.taken
        drawn.update(numbers(sample))
    assert all(abs(drawn[number] - 250) < 83 for number in range(40))  # six standard deviations


def test_another_seed_draws_others() -> None:
    labels = list(range(10)) * 20
    assert numbers(draw(split(labels, 8), 30, 0)) != numbers(draw(split(labels, 8), 30, 1))


def test_halves_by_turns_hold_much_the_same_classes() -> None:
    sample = draw(split(sorted(list(range(10)) * 100), 64), 200, 0)
    first = collections.Counter(int(label.item()) for label in sample.labels[::2])
    assert sample.taken == dict.fromkeys(range(10), 20)
    assert all(3 <= first[kind] <= 17 for kind in range(10))


def test_labels_of_shape_one_are_classes() -> None:
    labels = np.array([[0], [0], [0], [1]])
    assert draw([({"x": np.zeros((4, 2))}, labels)], 2, 0).taken == {0: 1, 1: 1}


def test_memory_is_that_of_the_sample() -> None:
    def batches(count: int) -> Iterator[Batch]:
        for number in range(count):
            yield {"x": np.full((32, 1000), number, np.float32)}, np.arange(32) % 10

    tracemalloc.start()
    draw(batches(200), 20, 0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000 < 200 * 32 * 4000


def test_a_split_without_examples_is_refused() -> None:
    with pytest.raises(DataError, match="without examples"):
        draw([], 10, 0)


def test_features_of_unequal_length_are_refused() -> None:
    with pytest.raises(DataError, match=r"'x': 3, 'the label': 2"):
        draw([({"x": np.zeros((3, 1))}, np.zeros(2, np.int64))], 10, 0)
