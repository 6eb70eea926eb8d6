"""Between real numbers and the integers of a quantized tensor: ``real = scale * (integer - zero_point)``.

The affine scheme of Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference" (2018), with one scale and zero point for the whole tensor, as TFLite uses it for inputs and outputs.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tfx_edge.errors import DataError, ModelError


def quantize(values: npt.ArrayLike, dtype: npt.DTypeLike, scale: float, zero_point: int) -> np.ndarray:
    """The nearest integers that a quantized tensor can hold; numbers beyond its range saturate, as on a device.

    Halves round to even, as XNNPACK's kernel does (TFLite's reference kernel rounds halves away from zero).

    Args:
      values: real numbers of any shape; infinities saturate.
      dtype: the integer type of the tensor (``int8``, ``uint8``, ``int16``, ...).
      scale: the size of one integer step, in the unit of ``values``.
      zero_point: the integer that stands for 0.

    Returns:
      An array of ``dtype``, of the shape of ``values``.

    Raises:
      DataError: a value is NaN, for which there is no integer.
      ModelError: the quantization parameters cannot be used.
    """
    limits = _integer_limits(dtype, scale)
    real = np.asarray(values, dtype=np.float64)
    missing = int(np.isnan(real).sum())
    if missing:
        raise DataError(
            f"{missing} of {real.size} values are NaN and cannot be quantized to {np.dtype(dtype).name}; "
            "fill missing values in the Transform component or in the input function"
        )
    steps = np.rint(real / float(scale)) + zero_point
    return np.clip(steps, limits.min, limits.max).astype(dtype)


def dequantize(values: np.ndarray, scale: float, zero_point: int) -> np.ndarray:
    """The real numbers that the integers of a quantized tensor stand for, as ``float32`` of the same shape.

    Raises:
      ModelError: ``values`` are not integers, or the scale cannot be used.
    """
    _integer_limits(values.dtype, scale)
    return ((values.astype(np.float64) - zero_point) * float(scale)).astype(np.float32)


def _integer_limits(dtype: npt.DTypeLike, scale: float) -> np.iinfo:
    name = np.dtype(dtype).name
    if np.dtype(dtype).kind not in "iu":
        raise ModelError(f"a quantized tensor holds integers, not {name}; read its type from the model's details")
    if not (np.isfinite(scale) and scale > 0):
        raise ModelError(f"the scale of a quantized {name} tensor must be positive and finite, but it is {scale}")
    return np.iinfo(np.dtype(dtype))
