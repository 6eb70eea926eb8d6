"""What a model is fed while it is timed, and whether that is enough to tell its time and memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from tfx_edge.errors import EdgeError
from tfx_edge.lite.inspect import LiteModel

Ranges = dict[str, tuple[int, int]]
_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}


def integer_ranges(
    models: Mapping[str, LiteModel], first_batch: Callable[[LiteModel], Mapping[str, np.ndarray] | None]
) -> Ranges:
    """The least and the greatest value of each input of plain integers, in the first batch of examples.

    Tables are read where such inputs point, and what is not read takes no memory.

    Args:
      models: by role.
      first_batch: what a model is fed of it, or None where there are no examples.

    Raises:
      EdgeError: a model cannot be timed: a length is free, which the interpreter would take for 1, or an input takes
        integers and no example tells which.
    """
    ranges: Ranges = {}
    for role, model in models.items():
        _require_fixed_shapes(role, model)
        names = [tensor.name for tensor in model.inputs if tensor.scale is None and tensor.dtype in _INTEGERS]
        if not names:
            continue
        told = f"the input {names[0]!r} of the {role} takes integers, whose values decide time and memory, and"
        try:
            batch = first_batch(model)
        except EdgeError as error:
            raise EdgeError(f"{told} no example can be read: {error}") from error
        if batch is None:
            raise EdgeError(f"{told} there are no examples: give some")
        ranges |= {name: (int(np.min(batch[name])), int(np.max(batch[name]))) for name in names}
    return ranges


def _require_fixed_shapes(role: str, model: LiteModel) -> None:
    for tensor in model.inputs:
        if -1 in tensor.shape_signature[1:]:
            raise EdgeError(
                f"the input {tensor.name!r} of the {role} has the shape {tensor.shape_text}, and time and memory "
                "depend on the length that is free: give the input a fixed shape before it is converted"
            )
