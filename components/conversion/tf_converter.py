"""Runs TensorFlow's converter on a written source, and says in its own words why it refuses one.

The converter is documented at https://ai.google.dev/edge/litert/conversion/tensorflow/convert_tf.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tfx_edge.conversion import signature_order
from tfx_edge.conversion.source import Written
from tfx_edge.errors import EdgeError, ModelError


@dataclass(frozen=True)
class Operators:
    """Operators that a ``.tflite`` may hold beyond TFLite's own.

    Attributes:
      tensorflow: those that need TensorFlow's Flex runtime on the device.
      custom: names of operators that the device has kernels for.
    """

    tensorflow: bool = False
    custom: Sequence[str] = ()


def run(written: Written, operators: Operators, setup: Callable[[Any], None] | None = None) -> bytes:
    """Converts every signature into one file, the main one first.

    Args:
      written: what to convert.
      operators: what the file may hold.
      setup: sets further options of the ``tf.lite.TFLiteConverter``.

    Raises:
      ModelError: the converter refuses the model.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(str(written.directory), signature_keys=list(written.keys))
    if operators.tensorflow:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    converter.allow_custom_ops = bool(operators.custom)
    if setup:
        setup(converter)
    try:
        content = bytes(converter.convert())
    except EdgeError:  # from the calibration examples
        raise
    except Exception as error:
        raise ModelError(f"the TFLite converter refuses the model: {_reason(str(error))}") from error
    return signature_order.restored(content, written.keys, written.signatures)


def _reason(text: str) -> str:
    lines = text.splitlines() or ["it gave no reason"]
    lacking = {kind: _listed(lines, f"{kind} ops:") for kind in ("TF Select", "Custom")}
    if "TensorList" in text:
        return (
            "TFLite has no operators for the lists in which a recurrent layer gathers its steps. Set batch_size to 1 "
            "or another number, give the model a fixed number of steps, or give the layer unroll=True"
        )
    if lacking["TF Select"]:
        return (
            f"TFLite has no operators for {', '.join(lacking['TF Select'])}. Replace the layers (or their dtype) that "
            "use them, or set allow_select_tf_ops if the device has TensorFlow's Flex runtime"
        )
    if lacking["Custom"]:
        return (
            f"neither TFLite nor TensorFlow's Flex runtime has operators for {', '.join(lacking['Custom'])}. Replace "
            "the layers that use them, or name them in allow_custom_ops if the device has kernels for them"
        )
    return next((line for line in lines if "error:" in line), lines[0]).rpartition("error: ")[2].strip()


def _listed(lines: Sequence[str], heading: str) -> list[str]:
    found = next((line.partition(":")[2] for line in lines if line.startswith(heading)), "")
    return [name for name in re.split(r"[,\s]+", found) if name]
