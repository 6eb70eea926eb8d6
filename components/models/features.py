"""Matches what examples hold with what a model takes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeVar

from tfx_edge.errors import DataError

T = TypeVar("T")


def select_features(features: Mapping[str, T], names: Sequence[str]) -> dict[str, T]:
    """Picks the model's inputs out of an example's features.

    Inputs are matched by name. A single feature goes to a single input whatever the two are called.

    Args:
      features: feature name to value.
      names: the names of the model's inputs.

    Returns:
      Input name to value, in the order of ``names``.

    Raises:
      DataError: an input has no feature of its name.
    """
    if len(names) == 1 and len(features) == 1:
        return {names[0]: next(iter(features.values()))}
    missing = [name for name in names if name not in features]
    if missing:
        raise DataError(
            f"the model's input{'s' if len(missing) > 1 else ''} {', '.join(map(repr, missing))} "
            f"cannot be fed: the examples have {', '.join(map(repr, sorted(features)))}. "
            "Name the model's inputs after the features, or give an input_fn in the module file"
        )
    return {name: features[name] for name in names}


def inputs_of(features: Mapping[str, T], names: Sequence[str], aside: Collection[str] = ()) -> dict[str, T]:
    """Picks the model's inputs out of an example's features, some of which are there for other ends.

    Inputs are matched by name, and then a feature may serve both ends. The only input of a model, when no feature has
    its name, takes the one feature that is left when those for other ends are set aside.

    Args:
      features: feature name to value.
      names: the names of the model's inputs.
      aside: the features that slices are made of, and the label.

    Returns:
      Input name to value, in the order of ``names``.

    Raises:
      DataError: an input has no feature of its name.
    """
    if len(names) == 1 and names[0] not in features:
        features = {name: value for name, value in features.items() if name not in aside}
    return select_features(features, names)
