"""What Distiller does, in a process of its own without TFX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfx_edge.distillation.settings import derivation
from tfx_edge.distiller.spec import DistillerConfig
from tfx_edge.errors import ConfigError, UserCodeError
from tfx_edge.stages import several
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext
from tfx_edge.training.types import Progress

if TYPE_CHECKING:
    import tf_keras

STUDENT_PURPOSE = "(fn_args), which returns the untrained student"


def distill(request: Request, progress: Progress) -> dict[str, Any]:
    """Trains the student under the input models and returns the output's properties."""
    import tf_keras

    from tfx_edge.distillation.distill import DistillationModel, Schedules
    from tfx_edge.distillation.lessons import prepare
    from tfx_edge.distillation.teaching import Teaching
    from tfx_edge.stages.context import model_digest
    from tfx_edge.stages.resuming import resumable
    from tfx_edge.stages.training import finish
    from tfx_edge.training import training

    stage = StageContext(request)
    config = DistillerConfig.parse(request.properties["config"])
    tf_keras.utils.set_random_seed(config.seed)
    build = _build_student(stage, config)
    teachers = _teachers(stage)
    student = build(teachers[0])
    data = stage.training_data(_input_names([student, *teachers]), config.batch_size, config.seed)
    labels = data.batches.element_spec[1]
    lessons = prepare(
        student,
        teachers,
        config.losses,
        teacher_weights=config.teacher_weights,
        labels=labels,
        kinds=config.outputs,
    )
    teaching = Teaching(teachers, lessons)
    model = DistillationModel(student, lessons, teaching)
    stage.compile(model, student, data.batches, config.learning_rate)
    parameters = [teacher.count_params() for teacher in teachers]
    progress(
        f"student of {student.count_params():,} parameters under "
        + ("a teacher of " if len(teachers) == 1 else f"{len(teachers)} teachers of ")
        + ", ".join(f"{count:,}" for count in parameters)
    )
    data = teaching.attach(data, config.cache_mb, progress)
    with resumable(stage, config) as checkpoint:
        schedules = Schedules(config.temperature, config.alpha, config.epochs)
        figures = training.fit(model, data, config, progress, callbacks=[schedules], checkpoint=checkpoint)
        result: dict[str, Any] = {
            **figures,
            "teacher_parameters": sum(parameters),
            "student_parameters": student.count_params(),
        }
        if len(teachers) > 1:
            result["teachers_sha256"] = [model_digest(uri) for uri in _teacher_uris(stage)]
        return finish(stage, student, "Distiller", config, result)


def _build_student(stage: StageContext, config: DistillerConfig) -> Any:
    """How the student is made of the teacher.

    Raises:
      ConfigError: it is given twice, or not at all.
    """
    build = stage.user_code.get("build_student_fn")
    if config.student is not None and build is not None:
        raise ConfigError(
            f"the student is given twice: by student {config.student!r} and by build_student_fn. Leave one out"
        )
    if config.student is not None:
        from tfx_edge.distillation.students import derive

        return lambda teacher: derive(teacher, derivation(str(config.student)))
    if build is None:
        raise ConfigError(
            "there is no student: give student, such as 'width:0.25', or define build_student_fn"
            f"{STUDENT_PURPOSE}, in the module"
        )
    return lambda teacher: _carried_over(build(stage.fn_args))


def _carried_over(student: Any) -> tf_keras.Model:
    import keras
    import tf_keras

    from tfx_edge.bridge import bridge

    if isinstance(student, keras.Model):
        return bridge.to_tf_keras(student)
    if not isinstance(student, tf_keras.Model) or not getattr(student, "inputs", None):
        raise UserCodeError(
            f"build_student_fn returned {type(student).__module__}.{type(student).__name__}; it must return a "
            "Functional or Sequential model of Keras 3 or tf_keras that knows its inputs"
        )
    return student


def _teacher_uris(stage: StageContext) -> list[str]:
    return [stage.model_uri, *several.uris(stage.request.inputs, "teachers")]


def _teachers(stage: StageContext) -> list[tf_keras.Model]:
    """The input model first. The module's ``build_model_fn`` is for that one: others have another architecture."""
    from tfx_edge.models.trainable import load_trainable

    others = _teacher_uris(stage)[1:]
    return [stage.load_model(), *(load_trainable(uri, stage.samples()) for uri in others)]


def _input_names(models: list[tf_keras.Model]) -> list[str]:
    """The features that all models need together; a single input takes a single feature whatever it is called."""
    from tfx_edge.models.saving import model_input_names

    names = [model_input_names(model) for model in models]
    if all(len(each) == 1 for each in names):
        return names[0]
    return list(dict.fromkeys(name for each in names for name in each))
