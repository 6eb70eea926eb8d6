"""Post-training quantization of a ``.tflite``, proven from the file that comes out.

The work is done by litert-quantizer, which needs no TensorFlow. It may return a model in which nothing was quantized
without saying so; every result is inspected, and a step that changed no weight is an error.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing

from tfx_edge.errors import DataError, ModelError
from tfx_edge.lite.inspect import LiteModel, inspect
from tfx_edge.models.features import select_features

CALIBRATED = {"int8", "int16x8"}
POST_TRAINING_MODES = ("float16", "dynamic_int8", "int8", "int16x8", "int4_weights")
_EXPECTED = {"float16": "float16", "dynamic_int8": "int8", "int8": "int8", "int16x8": "int8", "int4_weights": "int4"}


def quantize(path: str | Path, mode: str, calibration: Iterable[dict[str, np.ndarray]] = ()) -> tuple[bytes, LiteModel]:
    """Quantizes a float model.

    Args:
      path: the float ``.tflite``, with a signature of batch 1.
      mode: one of ``POST_TRAINING_MODES``. ``int8`` and ``int16x8`` quantize activations too and need calibration data.
      calibration: examples, one a time: feature name to array whose first dimension is 1.

    Returns:
      The quantized flatbuffer and what inspecting it found.

    Raises:
      DataError: the mode needs calibration data and there is none.
      ModelError: the file cannot be quantized, or no weight of the result has the type that was asked.
    """
    from litert_quantizer import quantizer

    before = inspect(path)
    engine = quantizer.Quantizer(str(path), _recipe(mode))
    statistics = None
    if mode in CALIBRATED:
        samples = [select_features(example, [tensor.name for tensor in before.inputs]) for example in calibration]
        if not samples:
            raise DataError(f"mode {mode!r} needs calibration examples, and the split for it is empty")
        statistics = _ranges(before, samples)
    with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch:
        result = Path(scratch, "quantized.tflite")
        try:
            engine.quantize(statistics).export_model(str(result))
        except (ValueError, RuntimeError, KeyError) as error:
            raise ModelError(f"{path} cannot be quantized to {mode}: {error}") from error
        after = inspect(result)
        content = result.read_bytes()
    _check(before, after, mode)
    return content, after


def _ranges(model: LiteModel, samples: Iterable[dict[str, np.ndarray]]) -> Any:
    """The least and greatest value of every tensor over all samples.

    The quantizer's own ``calibrate`` takes a moving average of each sample's extremes instead, which shrinks the range
    of a tensor of one number to nearly a point.
    """
    from litert_quantizer import calibrator
    from litert_quantizer.utils import qsv_utils

    interpreter = calibrator.CalibrationInterpreter(
        model.path, calibrator.CalibrationMode.CALIBRATION_PRESERVE_ALL_TENSORS, qsv_utils.min_max_update
    )
    run = interpreter.get_signature_runner(model.signatures[0].name)
    for sample in samples:
        run(**sample)
    return interpreter.get_calibration_results()


def _recipe(mode: str) -> Any:
    from litert_quantizer import qtyping, recipe, recipe_manager

    if mode == "dynamic_int8":
        return recipe.dynamic_wi8_afp32()
    if mode == "int8":
        return recipe.static_wi8_ai8()
    if mode == "int16x8":
        return recipe.static_wi8_ai16()
    if mode == "int4_weights":
        return recipe.dynamic_wi4_afp32()
    manager = recipe_manager.RecipeManager()
    manager.add_quantization_config(
        regex=".*",
        operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
        op_config=qtyping.OpQuantizationConfig(
            weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
            compute_precision=qtyping.ComputePrecision.FLOAT,
            explicit_dequantize=True,
        ),
        algorithm_key="float_casting",
    )
    return manager.get_quantization_recipe()


def _check(before: LiteModel, after: LiteModel, mode: str) -> None:
    wanted = _EXPECTED[mode]
    if not after.weight_bytes_by_dtype.get(wanted):
        raise ModelError(
            f"quantizing to {mode} changed nothing: no weight of the result is {wanted} (weights by type: "
            f"{after.weight_bytes_by_dtype}). "
            f"The model was {before.precision!r}; its operators may not be supported"
        )
    if mode in CALIBRATED and after.float_ops:
        left = ", ".join(str(operator) for operator in after.float_ops)
        raise ModelError(
            f"quantizing to {mode} left operators in float: {left}. Use mode 'dynamic_int8', or 'qat' before "
            f"LiteConverter"
        )
