"""An input that takes several channels. Each has a key of its own, so that their order is kept under every runner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

LIMIT = 16


def keys(name: str) -> tuple[str, ...]:
    """The keys of an input, in order: its name, and the name with a number from 2 on."""
    return (name, *(f"{name}_{number}" for number in range(2, LIMIT + 1)))


def uris(inputs: Mapping[str, Sequence[str]], name: str) -> list[str]:
    """The uris of all artifacts of an input, in order.

    Args:
      inputs: the uris of each key.
      name: of the input.
    """
    return [uri for key in keys(name) for uri in inputs.get(key, ())]
