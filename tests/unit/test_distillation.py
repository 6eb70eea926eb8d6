"""Distillation: what a student learns of its teachers, whatever the task, and going on after its process was killed."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
import training_module
from killed import Killed, dying_after

from tfx_edge.distillation.distill import DistillationModel, Schedules
from tfx_edge.distillation.lessons import prepare
from tfx_edge.distillation.teaching import Teaching
from tfx_edge.distiller import work
from tfx_edge.distiller.spec import DistillerConfig
from tfx_edge.errors import ConfigError, ModelError, UserCodeError
from tfx_edge.models import layout, saving
from tfx_edge.stages import resuming
from tfx_edge.stages.context import StageContext
from tfx_edge.training import training
from tfx_edge.training.data import TrainingData

KL = tf_keras.layers
BATCH = 16
FEATURE = {"kind": "feature", "layers": ["hidden"]}


class Counter(KL.Layer):
    """Passes on what it gets, and counts examples each time it really runs."""

    def __init__(self) -> None:
        super().__init__(name="counter")
        self.seen = 0

    def call(self, inputs: Any) -> Any:
        def count(values: Any) -> Any:
            self.seen += len(values)
            return values

        outputs = tf.py_function(count, [inputs], inputs.dtype)
        outputs.set_shape(inputs.shape)
        return outputs


def network(width: int = 16, classes: int = training_module.KINDS, counter: KL.Layer | None = None) -> tf_keras.Model:
    x = inputs = tf_keras.Input((training_module.FEATURES,), name="x")
    x = counter(x) if counter else x
    x = KL.Dropout(0.2)(KL.Dense(width, activation="relu", name="hidden")(x))
    return tf_keras.Model(inputs, KL.Dense(classes, name="scores")(x))


def data(validation: bool = True) -> TrainingData:
    """96 examples to train on and 48 to watch."""
    train, evaluation = (training_module.input_fn([split], None, BATCH) for split in ("train", "eval"))
    return TrainingData(train, evaluation if validation else None, 6, BATCH, 0)


def distilled(
    student: tf_keras.Model,
    teachers: list[tf_keras.Model],
    config: dict[str, Any],
    source: TrainingData | None = None,
    loss: Any = None,
    lines: list[str] | None = None,
) -> dict[str, float]:
    """Trains as the component does, and returns the figures."""
    parsed = DistillerConfig.parse({"epochs": 2, "learning_rate": 0.01, **config})
    source = source or data()
    labels = source.batches.element_spec[1]
    lessons = prepare(
        student,
        teachers,
        parsed.losses,
        teacher_weights=parsed.teacher_weights,
        labels=labels,
        kinds=parsed.outputs,
    )
    teaching = Teaching(teachers, lessons)
    model = DistillationModel(student, lessons, teaching)
    if loss:
        model.compile(tf_keras.optimizers.Adam(parsed.learning_rate), loss)
    else:
        training.compile_for_labels(model, labels, parsed.learning_rate, student)
    said = (lines if lines is not None else []).append
    schedules = Schedules(parsed.temperature, parsed.alpha, parsed.epochs)
    attached = teaching.attach(source, parsed.cache_mb, said)
    return training.fit(model, attached, parsed, said, callbacks=[schedules])


def seeded(build: Any = network, seed: int = 0, **arguments: Any) -> tf_keras.Model:
    tf_keras.utils.set_random_seed(seed)
    return build(**arguments)


@pytest.fixture(scope="module")
def teacher() -> tf_keras.Model:
    model = seeded(width=32, seed=1)
    training.compile_for_labels(model, tf.TensorSpec((None,), tf.int64), 0.02, model)
    training.fit(model, data(False), DistillerConfig(epochs=8), lambda line: None)
    return model


def same_weights(one: tf_keras.Model, other: tf_keras.Model) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs)


ALL_LOSSES = [{"kind": "logit"}, FEATURE, {"kind": "relational"}]


def test_the_teacher_sees_every_example_once_and_nothing_changes(teacher: tf_keras.Model) -> None:
    counter, students, figures, lines = Counter(), [], [], []
    counted = network(32, counter=counter)
    counted.set_weights(teacher.get_weights())
    losses = [{"kind": "logit"}, FEATURE, {"kind": "relational", "layers": ["hidden"]}]
    seen = []
    for cache_mb in (1024, 0):
        before = counter.seen
        student = seeded(width=8)
        config = {"losses": losses, "epochs": 3, "cache_mb": cache_mb}
        figures.append(distilled(student, [counted], config, lines=lines))
        students.append(student)
        seen.append(counter.seen - before)
    assert seen == [96 + 48, 3 * (96 + 48)]
    assert same_weights(*students)
    assert figures[0] == pytest.approx(figures[1], rel=1e-4)
    assert any("have seen 144 examples once; their targets take 0.0 MB" in line for line in lines)
    assert any("above cache_mb 0: computed anew at every step" in line for line in lines)


def test_the_whole_loss_is_the_weighted_sum_of_its_parts(teacher: tf_keras.Model) -> None:
    schedule = {"kind": "linear", "start": 0.0, "end": 0.8}
    figures = distilled(seeded(width=8), [teacher], {"losses": ALL_LOSSES, "alpha": schedule, "epochs": 3})
    for split in ("", "val_"):
        parts = figures[f"{split}label_loss"], figures[f"{split}teacher_loss"]
        assert figures[f"{split}loss"] == pytest.approx(0.8 * parts[0] + 0.2 * parts[1], rel=1e-4)


@pytest.mark.parametrize("term", ALL_LOSSES, ids=lambda term: term["kind"])
def test_the_student_comes_near_its_teacher(teacher: tf_keras.Model, term: dict[str, Any]) -> None:
    lines: list[str] = []
    distilled(seeded(width=8), [teacher], {"losses": [term], "alpha": 0, "epochs": 12}, data(False), lines=lines)
    first, last = first_and_last(lines)
    assert last < 0.7 * first


def first_and_last(lines: list[str]) -> tuple[float, float]:
    """The losses on the teachers of the first and the last epoch, from the lines."""
    found = [float(line.partition(" teacher_loss ")[2].split(",")[0]) for line in lines if " teacher_loss " in line]
    return found[0], found[-1]


def test_only_the_student_changes(teacher: tf_keras.Model) -> None:
    before, student = teacher.get_weights(), seeded(width=8)
    start = student.get_weights()
    distilled(student, [teacher], {"losses": ALL_LOSSES})
    assert all(np.array_equal(a, b) for a, b in zip(before, teacher.get_weights(), strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(start, student.get_weights(), strict=True))
    assert [weight.shape for weight in student.get_weights()] == [weight.shape for weight in start]


def test_several_teachers_are_weighted(teacher: tf_keras.Model) -> None:
    """Of two teachers the one that counts a million times as much decides."""
    other = seeded(width=8, seed=5)
    students = {}
    for name, teachers, weights in (
        ("one", [teacher], None),
        ("mostly", [other, teacher], (1e-6, 1)),
        ("both", [other, teacher], (1, 1)),
    ):
        students[name] = seeded(width=8)
        distilled(students[name], teachers, {"teacher_weights": weights})
    assert max(_differences(students["one"], students["mostly"])) < 1e-3
    assert max(_differences(students["one"], students["both"])) > 1e-2


def _differences(one: tf_keras.Model, other: tf_keras.Model) -> list[float]:
    return [float(np.abs(a - b).max()) for a, b in zip(one.get_weights(), other.get_weights(), strict=True)]


def dataset(features: Any, labels: Any) -> TrainingData:
    batches = tf.data.Dataset.from_tensor_slices((features, labels)).batch(8)
    return TrainingData(batches, batches, 3, 8, 0)


def pictures(channels: int) -> tf_keras.Model:
    image = tf_keras.Input((8, 8, 1), name="image")
    x = KL.Conv2D(channels, 3, padding="same", activation="relu", name="look")(image)
    kind = KL.Dense(3, activation="softmax", name="kind")(KL.GlobalAveragePooling2D(name="mean")(x))
    return tf_keras.Model(image, {"kind": kind, "size": KL.Dense(1, name="size")(KL.Flatten()(x))})


def steps(units: int) -> tf_keras.Model:
    x = series = tf_keras.Input((5, 2), name="series")
    x = KL.SimpleRNN(units, return_sequences=True, unroll=True, name="memory")(KL.Masking()(x))
    return tf_keras.Model(series, KL.Dense(3, activation="softmax", name="kind")(x))


def judge(units: int) -> tf_keras.Model:
    x = numbers = tf_keras.Input((4,), name="numbers")
    return tf_keras.Model(numbers, KL.Dense(2, activation="sigmoid", name="odds")(KL.Dense(units, "relu")(x)))


GENERATOR = np.random.default_rng(0)
TASKS: dict[str, tuple[Any, Any, Any, Any, list[Any]]] = {
    "several outputs": (
        pictures,
        {"image": GENERATOR.normal(size=(24, 8, 8, 1)).astype("f4")},
        {"kind": np.arange(24) % 3, "size": np.ones((24, 1), "f4")},
        {"kind": "sparse_categorical_crossentropy", "size": "mse"},
        [{"kind": "logit"}, {"kind": "attention", "layers": ["look"]}, {"kind": "relational", "layers": ["mean"]}],
    ),
    "sequence": (
        steps,
        {"series": GENERATOR.normal(size=(24, 5, 2)).astype("f4")},
        np.arange(120).reshape(24, 5) % 3,
        "sparse_categorical_crossentropy",
        [{"kind": "logit"}, {"kind": "feature", "layers": ["memory"]}, {"kind": "relational"}],
    ),
    "binary": (
        judge,
        {"numbers": GENERATOR.normal(size=(24, 4)).astype("f4")},
        np.arange(48).reshape(24, 2) % 2,
        "binary_crossentropy",
        [{"kind": "logit"}],
    ),
}


@pytest.mark.parametrize("task", TASKS)
def test_every_kind_of_task_can_be_learned(task: str) -> None:
    build, features, labels, loss, terms = TASKS[task]
    master = seeded(lambda: build(12), seed=1)
    config, lines = {"losses": terms, "alpha": 0.1, "epochs": 10}, []
    figures = distilled(seeded(lambda: build(4)), [master], config, dataset(features, labels), loss, lines)
    first, last = first_and_last(lines)
    assert last < first
    if task == "several outputs":
        assert figures["size_loss"] + figures["kind_loss"] == pytest.approx(figures["label_loss"], rel=1e-4)


def test_attention_of_another_size_is_brought_to_the_students() -> None:
    def small(strides: int) -> tf_keras.Model:
        image = tf_keras.Input((8, 8, 1), name="image")
        x = KL.Conv2D(4, 3, strides=strides, padding="same", name="look")(image)
        return tf_keras.Model(image, KL.Dense(3)(KL.GlobalAveragePooling2D()(x)))

    source = dataset(TASKS["several outputs"][1], np.arange(24) % 3)
    figures = distilled(small(2), [small(1)], {"losses": [{"kind": "attention", "layers": ["look"]}]}, source)
    assert math.isfinite(figures["loss"])


@pytest.mark.parametrize(
    ("student", "config", "error", "told"),
    [
        ({"classes": 4}, {}, ModelError, r"differ in output 'scores': teacher \(None, 3\), student \(None, 4\)"),
        ({}, {"losses": [{"kind": "feature", "layers": ["hiden"]}]}, ModelError, "no layer 'hiden'.*x, hidden"),
        ({}, {"losses": [{**FEATURE, "projection": False}]}, ModelError, r"shapes \(None, 32\) and \(None, 8\)"),
        ({}, {"losses": [{"kind": "attention", "layers": ["hidden"]}]}, ModelError, "have none"),
        ({}, {"teacher_weights": [1, 2]}, ConfigError, "has 2 numbers, and there are 1 teachers"),
        ({}, {"outputs": {"score": "classes"}}, ConfigError, "outputs names score: the student has scores"),
        (
            {},
            {"losses": [{"kind": "feature", "layers": [{"teacher": "hidden", "student": "hidden", "of": 2}]}]},
            ConfigError,
            "of is 2, and there are 1 teachers",
        ),
    ],
)
def test_models_that_do_not_fit_are_refused_before_training(
    teacher: tf_keras.Model, student: dict[str, Any], config: dict[str, Any], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        distilled(network(8, **student), [teacher], config)


def test_outputs_that_nothing_tells_have_to_be_said(teacher: tf_keras.Model) -> None:
    labels = np.zeros((24, training_module.KINDS), "f4")
    source = dataset({"x": np.zeros((24, training_module.FEATURES), "f4")}, labels)
    with pytest.raises(ConfigError, match=r"outputs=\{'scores': 'classes'"):
        distilled(network(8), [teacher], {}, source, "mse")
    assert distilled(network(8), [teacher], {"outputs": {"scores": "regression"}}, source, "mse")["loss"] >= 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, teacher: tf_keras.Model) -> Path:
    path = tmp_path_factory.mktemp("distillation")
    saving.save_stage(teacher, path / "trainer", [])
    saving.save_stage(seeded(width=24, seed=7), path / "other", [])
    module = Path(training_module.__file__).read_text().replace("build_student_fn", "unused_fn")
    (path / "no_student.py").write_text(module)
    return path


def request(folder: Path, output: str, config: dict[str, Any], teachers: int = 0, derived: bool = True) -> Any:
    made = training_module.request("Distiller", folder, output, {"epochs": 3, **config})
    made = dataclasses.replace(made, inputs={**made.inputs, "teachers": [str(folder / "other")] * teachers})
    if derived:
        made.properties["module_file"] = str(folder / "no_student.py")
    return made


def weights(uri: Path) -> list[np.ndarray]:
    return tf_keras.models.load_model(layout.keras_file(uri), compile=False).get_weights()


def test_schedules_and_projections_go_on_bit_for_bit(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "student": "width:0.5",
        "losses": ALL_LOSSES,
        "epochs": 5,
        "temperature": {"kind": "cosine", "start": 8, "end": 1},
        "alpha": {"kind": "linear", "start": 0.1, "end": 0.9},
        "patience": 4,
        "monitor": "val_label_loss",
    }
    expected = work.distill(request(folder, "whole", config, 1), lambda line: None)
    with dying_after(monkeypatch, 2), pytest.raises(Killed):
        work.distill(request(folder, "killed", config, 1), lambda line: None)
    lines: list[str] = []
    found = work.distill(request(folder, "resumed", config, 1), lines.append)
    assert any("goes on after epoch 2/5" in line for line in lines)
    pairs = zip(weights(folder / "whole"), weights(folder / "resumed"), strict=True)
    assert all(np.array_equal(a, b) for a, b in pairs)
    assert layout.read_steps(folder / "whole") == layout.read_steps(folder / "resumed")
    assert found["recipe"] == expected["recipe"]


def test_a_derived_student_takes_the_teachers_place(folder: Path) -> None:
    lines: list[str] = []
    work.distill(request(folder, "narrow", {"student": "width:0.25"}), lines.append)
    model = tf_keras.models.load_model(layout.keras_file(folder / "narrow"), compile=False)
    assert (model.input_names, model.output_names) == (["x"], ["scores"])
    assert model.get_layer("hidden").units == 8
    result = layout.read_steps(folder / "narrow")[-1]["result"]
    assert result["student_parameters"] == model.count_params()
    assert any("under a teacher of 323" in line for line in lines)


def test_further_teachers_have_a_part_and_a_place_in_the_lineage(folder: Path) -> None:
    lines: list[str] = []
    work.distill(request(folder, "three", {"student": "same", "teacher_weights": [1, 2, 3]}, 2), lines.append)
    assert any("under 3 teachers of 323, 243, 243" in line for line in lines)
    assert len(layout.read_steps(folder / "three")[-1]["result"]["teachers_sha256"]) == 3


def test_another_teacher_is_other_work(folder: Path) -> None:
    def digest(teachers: int) -> str:
        made = request(folder, "out", {}, teachers)
        return resuming.work_digest(StageContext(made), DistillerConfig())

    assert digest(0) != digest(1) != digest(2)


def test_the_student_is_given_once(folder: Path) -> None:
    with pytest.raises(ConfigError, match="given twice"):
        work.distill(request(folder, "out", {"student": "same"}, derived=False), lambda line: None)
    with pytest.raises(ConfigError, match="there is no student"):
        work.distill(request(folder, "out", {}), lambda line: None)


def test_a_student_must_be_a_model(folder: Path, tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text((folder / "no_student.py").read_text() + "\n\ndef build_student_fn(fn_args):\n    return 3\n")
    made = request(folder, "out", {})
    made.properties["module_file"] = str(module)
    with pytest.raises(UserCodeError, match=r"build_student_fn returned builtins\.int"):
        work.distill(made, lambda line: None)
