"""What the outputs of a model mean, and which output of a student belongs to which of a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tfx_edge.distillation.settings import OutputKind
from tfx_edge.errors import ConfigError, ModelError
from tfx_edge.models.activations import activation_of
from tfx_edge.models.saving import symbolic_outputs

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

_SMALLEST = 1e-7


@dataclass(frozen=True)
class Output:
    """One output of a student and the same output of a teacher.

    Attributes:
      name: the student's name for it.
      kind: ``"classes"`` (one of the last dimension's), ``"binary"`` (each by itself) or ``"regression"``.
      student_activation: ``"softmax"``, ``"sigmoid"`` or ``"linear"``: whether the student gives probabilities.
      teacher_name: the teacher's name for it.
      teacher_activation: likewise.
    """

    name: str
    kind: OutputKind
    student_activation: str
    teacher_name: str
    teacher_activation: str


def scores(kind: OutputKind, activation: str, values: tf.Tensor) -> tf.Tensor:
    """An output before its softmax or sigmoid; regression as it is.

    The logarithm of probabilities is as good as logits: softmax ignores a constant.
    """
    import tensorflow as tf

    if kind == "classes" and activation == "softmax":
        return tf.math.log(tf.maximum(values, _SMALLEST))
    if kind == "binary" and activation == "sigmoid":
        clipped = tf.clip_by_value(values, _SMALLEST, 1 - _SMALLEST)
        return tf.math.log(clipped) - tf.math.log1p(-clipped)
    return values


def match(
    student: tf_keras.Model, teacher: tf_keras.Model, labels: Any, given: Mapping[str, OutputKind]
) -> list[Output]:
    """Pairs the outputs by name, or a single one with a single one.

    Args:
      student: the student.
      teacher: one of its teachers.
      labels: specs of the labels, one or a structure by output.
      given: kinds by the student's output names, where they are said.

    Raises:
      ModelError: the outputs do not fit together.
      ConfigError: the kind of an output cannot be told, or ``given`` names no output.
    """
    ours, theirs = symbolic_outputs(student), symbolic_outputs(teacher)
    unknown = sorted(given.keys() - ours.keys())
    if unknown:
        raise ConfigError(f"outputs names {', '.join(unknown)}: the student has {', '.join(ours)}")
    if len(ours) == len(theirs) == 1:
        pairs = [(next(iter(ours)), next(iter(theirs)))]
    elif ours.keys() == theirs.keys():
        pairs = [(name, name) for name in ours]
    else:
        raise ModelError(
            f"teacher and student differ in outputs: teacher {', '.join(theirs)}, student {', '.join(ours)}. Give the "
            "student's outputs the teacher's names"
        )
    specs = _labels_by_output(labels, list(ours))
    return [_output(name, ours[name], other, theirs[other], specs.get(name), given.get(name)) for name, other in pairs]


def _output(name: str, student: Any, teacher_name: str, teacher: Any, label: Any, given: OutputKind | None) -> Output:
    shapes = tuple(student.shape), tuple(teacher.shape)
    if len(shapes[0]) != len(shapes[1]) or any(a and b and a != b for a, b in zip(*shapes, strict=True)):
        raise ModelError(
            f"teacher and student differ in output {name!r}: teacher {shapes[1]}, student {shapes[0]}. Give the "
            "student the teacher's number of outputs"
        )
    activations = activation_of(student), activation_of(teacher)
    kind = given or _kind(name, shapes[0], activations, label)
    wrong = {"softmax": "classes", "sigmoid": "binary"}
    for role, activation in zip(("student", "teacher"), activations, strict=True):
        if kind != "regression" and wrong.get(activation, kind) != kind:
            raise ModelError(f"output {name!r} is {kind}, and the {role}'s ends in a {activation}")
    if kind == "classes" and (len(shapes[0]) < 2 or shapes[0][-1] == 1):
        raise ModelError(f"output {name!r} is classes, and its shape {shapes[0]} has no two of them")
    return Output(name, kind, activations[0], teacher_name, activations[1])


def _kind(name: str, shape: tuple[int | None, ...], activations: tuple[str, str], label: Any) -> OutputKind:
    if "softmax" in activations:
        return "classes"
    if "sigmoid" in activations:
        return "binary"
    if label is not None and label.dtype.is_integer and len(shape) > 1 and shape[-1] != 1:
        return "classes"
    if label is not None and label.dtype.is_floating and (shape[-1] == 1 or len(shape) == 1):
        return "regression"
    raise ConfigError(
        f"what output {name!r} of shape {shape} means cannot be told: it has neither softmax nor sigmoid, and its "
        f"labels are {getattr(label, 'dtype', None) and label.dtype.name}. Give outputs={{{name!r}: 'classes', "
        "'binary' or 'regression'}"
    )


def _labels_by_output(labels: Any, names: list[str]) -> dict[str, Any]:
    if isinstance(labels, Mapping):
        return dict(labels)
    specs = list(labels) if isinstance(labels, (list, tuple)) else [labels]
    return dict(zip(names, specs, strict=False))
