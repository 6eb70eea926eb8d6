"""What Distiller does, in a process of its own without TFX."""

from __future__ import annotations

from typing import Any

from tfx_edge.distiller.spec import DistillerConfig
from tfx_edge.models.training_types import Progress
from tfx_edge.stages.child import Request
from tfx_edge.stages.context import StageContext

STUDENT_PURPOSE = "(fn_args), which returns the untrained student"


def distill(request: Request, progress: Progress) -> dict[str, Any]:
    """Trains the student under the input model and returns the output's properties."""
    import keras
    import tf_keras

    from tfx_edge.models import bridge, distill, saving, training
    from tfx_edge.stages.training import finish

    stage = StageContext(request)
    config = DistillerConfig.parse(request.properties["config"])
    tf_keras.utils.set_random_seed(config.seed)
    build = stage.user_code.require("build_student_fn", STUDENT_PURPOSE)
    teacher = stage.load_model()
    student = build(stage.fn_args)
    if isinstance(student, keras.Model):
        student = bridge.to_tf_keras(student)
    model = distill.DistillationModel(student, teacher, temperature=config.temperature, alpha=config.alpha)
    train, evaluation, _ = stage.training_data(saving.model_input_names(student), config.batch_size, config.seed)
    stage.compile(model, student, train, config.learning_rate)
    progress(f"student of {student.count_params():,} parameters under a teacher of {teacher.count_params():,}")
    figures = training.fit(model, train, evaluation, config.epochs, progress)
    result = {**figures, "teacher_parameters": teacher.count_params(), "student_parameters": student.count_params()}
    return finish(stage, student, "Distiller", config, result)
