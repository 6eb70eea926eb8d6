"""Slices: every example is in one of each kind, whatever values there are and however shards are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.errors import ConfigError, DataError
from tfx_edge.gate.slices import Categories, SliceSpec, group


@given(
    st.lists(st.tuples(st.sampled_from([b"a", b"b", b"\xff"]), st.integers(0, 3)), min_size=1, max_size=60), st.data()
)
def test_shards_merge_into_the_same_slices_and_lose_no_example(rows, data):
    cut = data.draw(st.integers(0, len(rows)))
    whole = {"site": Categories(), "size": Categories()}
    codes: dict[str, list[np.ndarray]] = {"site": [], "size": []}
    for part in (rows[:cut], rows[cut:]):
        for position, feature in enumerate(codes):
            values = np.array([row[position] for row in part], object if feature == "site" else np.int64)
            own = Categories()
            encoded = own.encode(feature, values)
            codes[feature].append(whole[feature].merge(feature, own.values, encoded))
    joined = {feature: np.concatenate(parts) for feature, parts in codes.items()}
    found = list(group([SliceSpec.parse(["site", "size"])], joined, whole))
    assert sorted(int(index) for _, indices in found for index in indices) == list(range(len(rows)))
    for values, indices in found:
        members = {(rows[i][0].decode("utf-8", "backslashreplace"), rows[i][1]) for i in indices}
        assert members == {(values["site"], values["size"])}
    assert len(found) == len(set(rows))


def test_missing_values_are_a_slice_of_their_own():
    categories = Categories()
    masked = categories.encode("x", np.ma.array([3, 4, 3], mask=[False, True, False]))
    assert [categories.decode(code) for code in masked] == [3, None, 3]
    floats = Categories()
    assert [floats.decode(code) for code in floats.encode("x", np.array([[0.5], [np.nan]]))] == [0.5, None]


def test_too_many_values_or_several_an_example_are_refused():
    with pytest.raises(DataError, match="more than 1000 different values; put them into buckets"):
        Categories().encode("age", np.arange(1001))
    with pytest.raises(DataError, match="cannot tell slices apart"):
        Categories().encode("image", np.zeros((5, 8)))
    crossed = {name: Categories(range(40)) for name in "xy"}
    codes = {"x": np.repeat(np.arange(40, dtype=np.int32), 40), "y": np.tile(np.arange(40, dtype=np.int32), 40)}
    with pytest.raises(DataError, match="more than 1000 slices by x, y"):
        list(group([SliceSpec.parse(["x", "y"])], codes, crossed))


@pytest.mark.parametrize("spec", ["", [], ["a", "a"], ["a", 1]])
def test_specs_that_name_nothing_are_refused(spec):
    with pytest.raises(ConfigError, match="a slice is a feature's name"):
        SliceSpec.parse(spec)
