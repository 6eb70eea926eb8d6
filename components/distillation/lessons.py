"""What a configured loss means for given models: which tensor of the student is compared with which of a teacher."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import tensorflow as tf
import tf_keras

from tfx_edge.distillation import losses, outputs
from tfx_edge.distillation.outputs import Output
from tfx_edge.distillation.settings import Attention, Feature, Logit, OutputKind, Pair, Relational
from tfx_edge.errors import ConfigError, ModelError
from tfx_edge.models.saving import symbolic_outputs

Loss = Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


@dataclass(frozen=True)
class Lesson:
    """One comparison.

    Attributes:
      weight: of its loss.
      teacher: number of the teacher.
      teacher_tensor: of the teacher's graph.
      student_tensor: of the student's graph.
      target: what is kept of the teacher's tensor, example by example.
      loss: takes the target, the student's tensor and the temperature.
      projection: a layer behind the student's tensor that is trained with it, and dropped in the end.
    """

    weight: float
    teacher: int
    teacher_tensor: Any
    student_tensor: Any
    target: Callable[[tf.Tensor], tf.Tensor]
    loss: Loss
    projection: tf_keras.layers.Layer | None = None


def prepare(
    student: tf_keras.Model,
    teachers: Sequence[tf_keras.Model],
    terms: Sequence[Logit | Feature | Attention | Relational],
    *,
    teacher_weights: Sequence[float] | None = None,
    labels: Any = None,
    kinds: Mapping[str, OutputKind] | None = None,
) -> list[Lesson]:
    """All comparisons that the losses ask for.

    Args:
      student: a Functional or Sequential model.
      teachers: likewise, at least one.
      terms: the losses.
      teacher_weights: one for each teacher, for the losses that all teachers have a part in; only their proportions
        count. None weighs all alike.
      labels: specs of the labels, from which the kind of linear outputs is told.
      kinds: of outputs, by the student's names, where they are said.

    Raises:
      ModelError: the models do not fit each other, or have no such layers.
      ConfigError: the weights or the kinds do not fit the models.
    """
    shares = teacher_weights or [1.0] * len(teachers)
    if len(shares) != len(teachers):
        raise ConfigError(f"teacher_weights has {len(shares)} numbers, and there are {len(teachers)} teachers")
    shares = [share / sum(shares) for share in shares]
    matched = [outputs.match(student, teacher, labels, kinds or {}) for teacher in teachers]
    found: list[Lesson] = []
    for term in terms:
        pairs = [] if isinstance(term, Logit) else [_layers(pair, student, teachers, term.kind) for pair in term.layers]
        if isinstance(term, Feature):
            found += [_feature(term, *pair) for pair in pairs]
        elif isinstance(term, Attention):
            found += [_attention(term, *pair) for pair in pairs]
        elif isinstance(term, Relational) and pairs:
            found += [_relational(term, *pair) for pair in pairs]
        else:
            for number, (teacher, share) in enumerate(zip(teachers, shares, strict=True)):
                found += [_of_output(term, share, number, teacher, student, output) for output in matched[number]]
    return found


def _of_output(
    term: Logit | Relational,
    share: float,
    number: int,
    teacher: tf_keras.Model,
    student: tf_keras.Model,
    output: Output,
) -> Lesson:
    theirs = symbolic_outputs(teacher)[output.teacher_name]
    ours = symbolic_outputs(student)[output.name]
    weight = term.weight * share

    def target(values: tf.Tensor) -> tf.Tensor:
        return outputs.scores(output.kind, output.teacher_activation, values)

    def scores(values: tf.Tensor) -> tf.Tensor:
        return outputs.scores(output.kind, output.student_activation, tf.cast(values, tf.float32))

    if isinstance(term, Relational):
        relation = _relation(term)
        return Lesson(
            weight, number, theirs, ours, lambda v: losses.flat(target(v)), lambda t, s, _: relation(t, scores(s))
        )

    def loss(wanted: tf.Tensor, values: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
        mask = getattr(values, "_keras_mask", None)
        return losses.soft_loss(output.kind, wanted, scores(values), temperature, mask)

    return Lesson(weight, number, theirs, ours, target, loss)


def _feature(term: Feature, pair: Pair, theirs: Any, ours: Any) -> Lesson:
    projection = None
    wanted, have = tuple(theirs.shape), tuple(ours.shape)
    if term.projection and len(wanted) == len(have) > 1:
        projection = tf_keras.layers.Dense(wanted[-1], name=f"project_{pair.student.replace('/', '_')}")
        projection.build(ours.shape)
        have = (*have[:-1], wanted[-1])
    _check_shapes("feature", pair, wanted, have)
    return Lesson(
        term.weight, pair.of, theirs, ours, tf.identity, lambda t, s, _: losses.feature_loss(t, _float(s)), projection
    )


def _attention(term: Attention, pair: Pair, theirs: Any, ours: Any) -> Lesson:
    wanted, have = tuple(theirs.shape[1:-1]), tuple(ours.shape[1:-1])
    size = None
    if len(wanted) == len(have) == 2 and None not in (*wanted, *have) and wanted != have:
        size = (have[0], have[1])
    elif not wanted or not have:
        raise ModelError(f"loss 'attention' compares positions, and {_names(pair, theirs, ours)} have none")
    else:
        _check_shapes("attention", pair, wanted, have)

    def loss(target: tf.Tensor, values: tf.Tensor, temperature: tf.Tensor) -> tf.Tensor:
        return losses.attention_loss(target, losses.attention_map(_float(values)))

    return Lesson(term.weight, pair.of, theirs, ours, lambda v: losses.attention_map(v, size), loss)


def _relational(term: Relational, pair: Pair, theirs: Any, ours: Any) -> Lesson:
    relation = _relation(term)
    return Lesson(term.weight, pair.of, theirs, ours, losses.flat, lambda t, s, _: relation(t, _float(s)))


def _relation(term: Relational) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    return lambda target, values: losses.relational_loss(target, losses.flat(values), term.distance, term.angle)


def _float(values: tf.Tensor) -> tf.Tensor:
    return tf.cast(values, tf.float32)


def _check_shapes(kind: str, pair: Pair, wanted: tuple[int | None, ...], have: tuple[int | None, ...]) -> None:
    if len(wanted) != len(have) or any(a and b and a != b for a, b in zip(wanted, have, strict=True)):
        raise ModelError(
            f"loss {kind!r} cannot compare the teacher's layer {pair.teacher!r} with the student's {pair.student!r}: "
            f"shapes {wanted} and {have}. Name layers whose outputs agree"
        )


def _names(pair: Pair, theirs: Any, ours: Any) -> str:
    return f"{pair.teacher!r} {tuple(theirs.shape)} of the teacher and {pair.student!r} {tuple(ours.shape)}"


def _layers(
    pair: Pair, student: tf_keras.Model, teachers: Sequence[tf_keras.Model], kind: str
) -> tuple[Pair, Any, Any]:
    if pair.of >= len(teachers):
        raise ConfigError(f"loss {kind!r}: of is {pair.of}, and there are {len(teachers)} teachers, counted from 0")
    return pair, _tensor(teachers[pair.of], pair.teacher, "teacher"), _tensor(student, pair.student, "student")


def _tensor(model: tf_keras.Model, name: str, role: str) -> Any:
    layer = next((layer for layer in model.layers if layer.name == name), None)
    if layer is None:
        known = ", ".join(layer.name for layer in model.layers)
        raise ModelError(f"the {role} has no layer {name!r}; its layers are {known}")
    try:
        tensor = layer.output
    except AttributeError:
        raise ModelError(f"layer {name!r} of the {role} is used in several places: name another one") from None
    if isinstance(tensor, (list, tuple, dict)):
        raise ModelError(f"layer {name!r} of the {role} has several outputs: name one that has a single one")
    return tensor
