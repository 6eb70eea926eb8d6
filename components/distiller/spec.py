"""Configuration of Distiller."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from tfx_edge.distillation.settings import AnySchedule, Constant, Logit, OutputKind, Schedule, Term, derivation
from tfx_edge.errors import ConfigError
from tfx_edge.training.types import FitConfig

_LOGIT = (Logit(kind="logit"),)
_TEMPERATURE = Constant(kind="constant", value=4.0)


class DistillerConfig(FitConfig):
    """How a student learns from its teachers.

    Attributes:
      student: ``"same"``, ``"width:0.25"``, ``"depth:0.5"`` or ``"width:0.5,depth:0.5"`` derives the student from the
        teacher; None takes that of the module's ``build_student_fn``.
      losses: what the student learns from the teachers, told apart by ``kind``: ``"logit"``, ``"feature"``,
        ``"attention"``, ``"relational"``.
      temperature: softens both distributions in loss ``"logit"``; 1 leaves them as they are. A number or a schedule.
      alpha: weight of the loss on the labels; the rest, which cannot be nothing in all epochs, weighs the losses on the
        teachers. A number or a schedule.
      teacher_weights: one for each teacher, ``model`` first; only their proportions count. None weighs all alike.
      outputs: what outputs are, by the student's names, where layers and labels do not tell.
      cache_mb: how much the teachers' targets may take in memory, in MiB; above, teachers compute at every step.
    """

    student: str | None = None
    losses: tuple[Term, ...] = Field(default=_LOGIT, min_length=1)
    temperature: Schedule = _TEMPERATURE
    alpha: Schedule = Field(default=0.3, validate_default=True)
    teacher_weights: tuple[Annotated[float, Field(gt=0)], ...] | None = Field(default=None, min_length=1)
    outputs: dict[str, OutputKind] = {}
    cache_mb: float = Field(default=1024.0, ge=0)

    @field_validator("student")
    @classmethod
    def _can_be_read(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                derivation(value)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("temperature")
    @classmethod
    def _is_a_temperature(cls, value: AnySchedule) -> AnySchedule:
        if min(value.extremes) <= 0:
            raise ValueError("a temperature is above 0")
        return value

    @field_validator("alpha")
    @classmethod
    def _is_a_share(cls, value: AnySchedule) -> AnySchedule:
        if min(value.extremes) < 0 or max(value.extremes) > 1:
            raise ValueError("alpha is between 0 and 1")
        return value

    @model_validator(mode="after")
    def _learns_from_teachers(self) -> DistillerConfig:
        alphas = self.alpha.extremes if self.epochs > 1 else self.alpha.extremes[:1]
        if min(alphas) == 1:
            raise ValueError(
                "alpha 1 gives the losses on the teachers no weight in any epoch, so nothing is distilled: give less, "
                "or leave the Distiller out"
            )
        return self

    @model_validator(mode="after")
    def _softens_something(self) -> DistillerConfig:
        if self.temperature != _TEMPERATURE and not any(isinstance(term, Logit) for term in self.losses):
            kinds = ", ".join(repr(term.kind) for term in self.losses)
            raise ValueError(
                f"temperature belongs to loss 'logit', and losses has {kinds} only: leave temperature out, or add "
                '{"kind": "logit"}'
            )
        return self

    @model_validator(mode="after")
    def _compares_like_with_like(self) -> DistillerConfig:
        changing = [name for name in ("temperature", "alpha") if len(set(getattr(self, name).extremes)) > 1]
        if self.patience is not None and self.monitor in ("val_loss", "val_teacher_loss") and changing:
            raise ValueError(
                f"{self.monitor} depends on {' and '.join(changing)}, which change over the epochs, so epochs cannot "
                "be compared by it: monitor val_label_loss, or a metric such as val_accuracy"
            )
        return self
