"""Typed component configuration: frozen, validated, one JSON string each.

A component's configuration travels through ML Metadata and orchestrators as a single JSON ``str`` exec property, so
that a ``RuntimeParameter`` can carry it. Unknown keys and impossible values fail while the pipeline is built.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tfx_edge.errors import ConfigError

ConfigT = TypeVar("ConfigT", bound="Config")
Seed = Annotated[int, Field(ge=0, lt=2**32)]
"""What every generator of random numbers takes."""


class Config(BaseModel):
    """Base of every configuration: immutable, and strict about the keys it knows."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls: type[ConfigT], value: ConfigT | dict[str, Any] | str | None, context: Any = None) -> ConfigT:
        """Makes a configuration of what a pipeline author wrote or what ML Metadata returned.

        Args:
          value: an instance, a dict of its fields, its JSON text, or None for all defaults.
          context: what the validators of the class take as pydantic's validation context.

        Raises:
          ConfigError: naming each wrong key, its value and what would be accepted.
        """
        if isinstance(value, cls):
            return value
        try:
            if isinstance(value, str):
                return cls.model_validate_json(value, context=context)
            return cls.model_validate(value or {}, context=context)
        except ValidationError as error:
            raise ConfigError(_describe(cls, error)) from None

    def to_json(self) -> str:
        """The JSON text of every field, defaults included; keys are sorted, so equal configurations have equal text."""
        import json

        return json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False)


def _describe(cls: type[Config], error: ValidationError) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"]) or "(whole)"
        if problem["type"] == "extra_forbidden":
            known = ", ".join(sorted({name for owner in _owners(cls, problem["loc"]) for name in owner.model_fields}))
            lines.append(f"unknown key {key!r} (value {problem['input']!r}); known keys there: {known}")
        else:
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{key}: {message} (value {problem['input']!r})")
    return f"{cls.__name__}: " + "; ".join(lines)


def _owners(cls: type[Config], location: Sequence[str | int]) -> list[type[Config]]:
    """The classes that may hold the key at a location, which pydantic gives as field names, keys and union tags."""
    owners: list[type[Config]] = [cls]
    for part in location[:-1]:
        inside = [
            nested
            for owner in owners
            if isinstance(part, str) and part in owner.model_fields
            for nested in _configs_in(owner.model_fields[part].annotation)
        ]
        tagged = [owner for owner in owners if part in get_args(_annotation_of_kind(owner))]
        owners = inside or tagged or owners
    return owners


def _annotation_of_kind(owner: type[Config]) -> Any:
    return owner.model_fields["kind"].annotation if "kind" in owner.model_fields else None


def _configs_in(annotation: Any) -> list[type[Config]]:
    if isinstance(annotation, type) and issubclass(annotation, Config):
        return [annotation]
    return [found for argument in get_args(annotation) for found in _configs_in(argument)]
