"""What a student learns from its teachers: losses, schedules over epochs, and how it is derived from a teacher."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, model_validator

from tfx_edge.config import Config
from tfx_edge.errors import ConfigError

OutputKind: TypeAlias = Literal["classes", "binary", "regression"]


class Constant(Config):
    """The same value in every epoch. A number in its place means the same."""

    kind: Literal["constant"]
    value: float

    def at(self, epoch: int, epochs: int) -> float:
        """The value in an epoch, counted from 0."""
        return self.value

    @property
    def extremes(self) -> tuple[float, float]:
        """The first and the last value; all others lie between them."""
        return self.value, self.value


class Linear(Config):
    """From one value to another in equal steps.

    Attributes:
      start: in the first epoch.
      end: in the last one.
    """

    kind: Literal["linear"]
    start: float
    end: float

    def at(self, epoch: int, epochs: int) -> float:
        """The value in an epoch, counted from 0."""
        return self.start + (self.end - self.start) * _share(epoch, epochs)

    @property
    def extremes(self) -> tuple[float, float]:
        """The first and the last value; all others lie between them."""
        return self.start, self.end


class Cosine(Config):
    """From one value to another along half a wave: slow at both ends.

    Attributes:
      start: in the first epoch.
      end: in the last one.
    """

    kind: Literal["cosine"]
    start: float
    end: float

    def at(self, epoch: int, epochs: int) -> float:
        """The value in an epoch, counted from 0."""
        return self.end + (self.start - self.end) * (1 + math.cos(math.pi * _share(epoch, epochs))) / 2

    @property
    def extremes(self) -> tuple[float, float]:
        """The first and the last value; all others lie between them."""
        return self.start, self.end


def _share(epoch: int, epochs: int) -> float:
    return epoch / (epochs - 1) if epochs > 1 else 0.0


def _number_is_constant(value: Any) -> Any:
    plain = isinstance(value, (int, float)) and not isinstance(value, bool)
    return {"kind": "constant", "value": value} if plain else value


AnySchedule: TypeAlias = Constant | Linear | Cosine
Schedule = Annotated[Annotated[AnySchedule, Field(discriminator="kind")], BeforeValidator(_number_is_constant)]
"""A number, or how it changes from the first epoch to the last."""


class Pair(Config):
    """A layer of a teacher and the layer of the student that is to be like it. A name in its place means both.

    Attributes:
      teacher: name of the teacher's layer.
      student: name of the student's layer.
      of: which teacher: 0 is ``model``, 1 the first of ``teachers``.
    """

    teacher: str
    student: str
    of: int = Field(default=0, ge=0)


def _name_is_pair(value: Any) -> Any:
    return {"teacher": value, "student": value} if isinstance(value, str) else value


LayerPair = Annotated[Pair, BeforeValidator(_name_is_pair)]


class Logit(Config):
    """The student's outputs come near the teachers' outputs, all of them.

    Classes and binary outputs are compared as distributions softened by the temperature, numbers by squared error.

    Attributes:
      weight: of this loss among the losses.
    """

    kind: Literal["logit"]
    weight: float = Field(default=1.0, gt=0)


class Feature(Config):
    """What layers of the student give, projected, comes near what layers of a teacher give.

    Attributes:
      layers: pairs of layers.
      projection: put a trained linear map behind the student's layer; needed where channels differ in number.
      weight: of this loss among the losses.
    """

    kind: Literal["feature"]
    layers: tuple[LayerPair, ...] = Field(min_length=1)
    projection: bool = True
    weight: float = Field(default=1.0, gt=0)


class Attention(Config):
    """The student looks where a teacher looks: positions where a layer's channels are strong.

    Attributes:
      layers: pairs of layers that give (batch, positions…, channels).
      weight: of this loss among the losses.
    """

    kind: Literal["attention"]
    layers: tuple[LayerPair, ...] = Field(min_length=1)
    weight: float = Field(default=1.0, gt=0)


class Relational(Config):
    """Examples of a batch lie to each other in the student as they do in the teacher.

    Attributes:
      layers: pairs of layers; none compares the outputs.
      distance: weight of the distances between two examples.
      angle: weight of the angles between three.
      weight: of this loss among the losses.
    """

    kind: Literal["relational"]
    layers: tuple[LayerPair, ...] = ()
    distance: float = Field(default=25.0, ge=0)
    angle: float = Field(default=50.0, ge=0)
    weight: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _compares_something(self) -> Relational:
        if not self.distance and not self.angle:
            raise ValueError("distance and angle are both 0, so nothing is compared: give one of them")
        return self


Term = Annotated[Logit | Feature | Attention | Relational, Field(discriminator="kind")]


class Derivation(Config):
    """How a student follows from its teacher.

    Attributes:
      width: share of the units and filters that hidden layers keep; None keeps all.
      depth: share of the repeated blocks that stay; None keeps all.
    """

    width: float | None = Field(default=None, gt=0, lt=1)
    depth: float | None = Field(default=None, gt=0, lt=1)


def derivation(text: str) -> Derivation:
    """Reads ``"same"``, ``"width:0.25"``, ``"depth:0.5"`` or ``"width:0.5,depth:0.5"``.

    Raises:
      ConfigError: it is none of these.
    """
    if text == "same":
        return Derivation()
    found: dict[str, float] = {}
    for part in text.split(","):
        name, _, value = (piece.strip() for piece in part.partition(":"))
        try:
            number = float(value)
        except ValueError:
            number = math.nan
        if name not in Derivation.model_fields or name in found or not 0 < number < 1:
            raise ConfigError(
                f"student {text!r} cannot be derived: give 'same', 'width:0.25', 'depth:0.5' or "
                "'width:0.5,depth:0.5', each share between 0 and 1"
            )
        found[name] = number
    return Derivation(**found)
