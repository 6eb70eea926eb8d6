"""Post-training quantization, judged by the file that comes out."""

from __future__ import annotations

from pathlib import Path

import lite_models
import numpy as np
import pytest

from tfx_edge.errors import DataError, ModelError
from tfx_edge.lite.quantize import quantize


@pytest.fixture(scope="module")
def float_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lite_models.write(tmp_path_factory.mktemp("float"), lite_models.float32())


@pytest.mark.parametrize(
    ("mode", "dtype"),
    [
        ("float16", "float16"),
        ("dynamic_int8", "int8"),
        ("int8", "int8"),
        ("int16x8", "int8"),
        ("int4_weights", "int4"),
    ],
)
def test_each_mode_leaves_weights_of_its_type_in_a_smaller_file(float_file: Path, mode: str, dtype: str) -> None:
    content, model = quantize(float_file, mode, lite_models.images())
    assert model.weight_bytes_by_dtype[dtype] > 0
    assert len(content) < float_file.stat().st_size


def test_int8_leaves_no_operator_in_float(float_file: Path) -> None:
    _, model = quantize(float_file, "int8", lite_models.images())
    assert model.precision == "int8"
    assert not model.float_ops


@pytest.mark.parametrize(("mode", "steps"), [("int8", 255), ("int16x8", 65535)])
def test_the_range_of_a_tensor_covers_every_calibration_example(float_file: Path, mode: str, steps: int) -> None:
    (image, *_) = lite_models.images()
    values = [-3.0, 2.0, 0.1, 0.2, 0.3]
    examples = [{name: np.full_like(pixels, value) for name, pixels in image.items()} for value in values]
    _, model = quantize(float_file, mode, examples)
    assert model.inputs[0].scale is not None
    assert model.inputs[0].scale * steps >= 4.99


def test_int8_without_calibration_examples_is_refused(float_file: Path) -> None:
    with pytest.raises(DataError, match="'int8' needs calibration examples"):
        quantize(float_file, "int8")


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        quantize(lite_models.write(tmp_path, lite_models.float32()[:-1000]), "dynamic_int8")
