from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.errors import DataError, ModelError
from tfx_edge.lite.tensors import dequantize, quantize

INTEGER_TYPES = [np.int8, np.uint8, np.int16]
scales = st.floats(2**-20, 2**10, width=32)


@st.composite
def quantizations(draw):
    dtype = draw(st.sampled_from(INTEGER_TYPES))
    limits = np.iinfo(dtype)
    return dtype, draw(scales), draw(st.integers(int(limits.min), int(limits.max)))


@given(quantizations(), st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_round_trip_stays_within_half_a_step(quantization, fractions):
    dtype, scale, zero_point = quantization
    limits = np.iinfo(dtype)
    low, high = (limits.min - zero_point) * scale, (limits.max - zero_point) * scale
    values = low + np.array(fractions) * (high - low)

    back = dequantize(quantize(values, dtype, scale, zero_point), scale, zero_point)

    float32_rounding = np.spacing(np.float32(max(abs(low), abs(high))))
    assert np.all(np.abs(back - values) <= scale / 2 + float32_rounding)


@given(quantizations(), st.floats(1, 1e6))
def test_values_beyond_the_range_saturate(quantization, beyond):
    dtype, scale, zero_point = quantization
    limits = np.iinfo(dtype)
    low, high = (limits.min - zero_point) * scale, (limits.max - zero_point) * scale
    values = np.array([low - beyond * scale, -np.inf, high + beyond * scale, np.inf])

    assert quantize(values, dtype, scale, zero_point).tolist() == [limits.min, limits.min, limits.max, limits.max]


@given(quantizations(), st.data())
def test_every_integer_survives_the_way_there_and_back(quantization, data):
    dtype, scale, zero_point = quantization
    limits = np.iinfo(dtype)
    integers = np.array(data.draw(st.lists(st.integers(int(limits.min), int(limits.max)), min_size=1)), dtype)

    np.testing.assert_array_equal(quantize(dequantize(integers, scale, zero_point), dtype, scale, zero_point), integers)


def test_rounds_halves_to_even_and_never_truncates():
    assert quantize([0.5, 1.5, 2.5, -0.5, -1.5, 0.9, -0.9], np.int8, 1.0, 0).tolist() == [0, 2, 2, 0, -2, 1, -1]


def test_keeps_shape_and_gives_the_asked_type():
    integers = quantize(np.zeros((2, 3, 1), np.float32), np.uint8, 0.5, 7)
    assert (integers.shape, integers.dtype, int(integers[0, 0, 0])) == ((2, 3, 1), np.uint8, 7)
    assert dequantize(integers, 0.5, 7).dtype == np.float32


def test_nan_is_refused_and_counted():
    with pytest.raises(DataError, match=r"2 of 3 values are NaN.*int8.*fill missing values"):
        quantize([np.nan, 1.0, np.nan], np.int8, 0.1, 0)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_an_unusable_scale_is_refused(scale):
    with pytest.raises(ModelError, match="scale of a quantized int8 tensor"):
        quantize([1.0], np.int8, scale, 0)
    with pytest.raises(ModelError, match="scale of a quantized int8 tensor"):
        dequantize(np.array([1], np.int8), scale, 0)


def test_floats_are_not_quantized_tensors():
    with pytest.raises(ModelError, match="holds integers, not float32"):
        dequantize(np.array([1.0], np.float32), 0.1, 0)
