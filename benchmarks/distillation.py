"""What a student gains by each way of distilling, against the same student trained alone by the same steps.

    python benchmarks/distillation.py [--methods logit …] [--seeds 5] [--folder DIR]

Fashion-MNIST. The teacher, a convolutional network, is trained on 20,000 labelled pictures; the student is derived from
it by ``width:0.125`` and has 1,000 of them, with labels. Every student takes the same number of steps over the same
batches from the same initial weights as the one that is trained alone with the same seed, so differences are taken
seed by seed: mean accuracy on the other 40,000 training pictures, and the 95 % t interval of the paired differences.
The settings were chosen with other seeds on the test pictures, which take no part here.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from scipy import stats

from tfx_edge.distillation.distill import DistillationModel, Schedules
from tfx_edge.distillation.lessons import prepare
from tfx_edge.distillation.settings import derivation
from tfx_edge.distillation.students import derive
from tfx_edge.distillation.teaching import Teaching
from tfx_edge.distiller.spec import DistillerConfig
from tfx_edge.pipelines.fashion_mnist.task import PACKAGE
from tfx_edge.pipelines.idx_files import parse
from tfx_edge.training import training
from tfx_edge.training.data import TrainingData

TEACHER_EXAMPLES, STUDENT_EXAMPLES = 20_000, 1_000
FIRST_SEED = 100
EPOCHS, BATCH, LEARNING_RATE = 100, 32, 3e-3
LAYERS = ["first", "second"]
METHODS: dict[str, dict[str, Any]] = {
    "logit": {"losses": [{"kind": "logit"}], "alpha": 0.3, "temperature": 2.0},
    "relational": {"losses": [{"kind": "relational"}], "alpha": 0.5},
    "feature": {"losses": [{"kind": "feature", "layers": LAYERS}], "alpha": 0.5},
    "attention": {"losses": [{"kind": "attention", "layers": LAYERS, "weight": 10}], "alpha": 0.5},
    "logit + attention": {
        "losses": [{"kind": "logit"}, {"kind": "attention", "layers": LAYERS, "weight": 2}],
        "alpha": 0.3,
        "temperature": 2.0,
    },
}


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """The training pictures, of shape (n, 28, 28, 1), from 0 to 1, and their labels."""
    images = parse(PACKAGE.read("train-images-idx3-ubyte.gz"))
    labels = parse(PACKAGE.read("train-labels-idx1-ubyte.gz"))
    return (np.asarray(images, np.float32) / 255).reshape(-1, 28, 28, 1), np.asarray(labels, np.int64)


def teacher_of(folder: Path, images: np.ndarray, labels: np.ndarray) -> tf_keras.Model:
    """The trained teacher, from the folder where it is there already."""
    path = folder / "teacher.keras"
    if path.is_file():
        return tf_keras.models.load_model(path, compile=False)
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    image = tf_keras.Input((28, 28, 1), name="image")
    x = layers.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="first")(image)
    x = layers.Conv2D(64, 3, strides=2, padding="same", activation="relu", name="second")(x)
    x = layers.Dense(128, activation="relu", name="hidden")(layers.Dropout(0.25)(layers.Flatten()(x)))
    model = tf_keras.Model(image, layers.Dense(10, name="scores")(layers.Dropout(0.25)(x)))
    data = dataset(images[:TEACHER_EXAMPLES], labels[:TEACHER_EXAMPLES], 64)
    config = DistillerConfig(epochs=10, batch_size=64)
    compiled(model, model, 1e-3)
    training.fit(model, data, config, print)
    model.save(path)
    return model


def dataset(images: np.ndarray, labels: np.ndarray, batch: int, seed: int = 0) -> TrainingData:
    """Batches to train on."""
    batches = tf.data.Dataset.from_tensor_slices(({"image": images}, labels)).batch(batch)
    return TrainingData(batches, None, -(-len(labels) // batch), batch, seed)


def compiled(model: tf_keras.Model, classes: tf_keras.Model, learning_rate: float) -> None:
    """Compiles as Distiller does."""
    training.compile_for_labels(model, tf.TensorSpec((None,), tf.int64), learning_rate, classes)


def accuracy(model: tf_keras.Model, images: np.ndarray, labels: np.ndarray) -> float:
    """The share of right answers."""
    scores = np.concatenate([np.asarray(model(part, training=False)) for part in np.array_split(images, 20)])
    return float(np.mean(scores.argmax(axis=-1) == labels))


def student_of(teacher: tf_keras.Model, data: TrainingData, method: str | None, seed: int) -> tf_keras.Model:
    """A trained student; None trains it alone."""
    common = {"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": LEARNING_RATE, "seed": seed}
    config = DistillerConfig.parse({**common, **METHODS.get(method or "", {})})
    tf_keras.utils.set_random_seed(seed)
    student = derive(teacher, derivation("width:0.125"))
    if method is None:
        compiled(student, student, config.learning_rate)
        training.fit(student, data, config, _silent)
        return student
    lessons = prepare(student, [teacher], config.losses, labels=data.batches.element_spec[1])
    teaching = Teaching([teacher], lessons)
    model = DistillationModel(student, lessons, teaching)
    compiled(model, student, config.learning_rate)
    schedules = Schedules(config.temperature, config.alpha, config.epochs)
    training.fit(model, teaching.attach(data, config.cache_mb, _silent), config, _silent, callbacks=[schedules])
    return student


def _silent(line: str) -> None:
    """Takes a line that nobody needs."""


def row(name: str, parameters: int, found: list[float], alone: list[float] | None = None) -> None:
    """Prints a row of the table."""
    difference = ""
    if alone is not None:
        values = (np.asarray(found) - np.asarray(alone)) * 100
        reach = float(stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
        difference = f"{values.mean():+.2f} ({values.mean() - reach:+.2f} to {values.mean() + reach:+.2f})"
    print(f"| {name} | {parameters:,} | {np.mean(found) * 100:.2f} | {difference} |", flush=True)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=5, help="trainings of each kind, at least 2")
    parser.add_argument("--folder", type=Path, help="keeps the trained teacher, and takes the one that it holds")
    arguments = parser.parse_args()
    PACKAGE.fetch()
    images, labels = pictures()
    unseen = images[TEACHER_EXAMPLES:], labels[TEACHER_EXAMPLES:]
    with tempfile.TemporaryDirectory() as scratch:
        teacher = teacher_of(arguments.folder or Path(scratch), images, labels)
    print("| | parameters | accuracy, % | beside the student alone, points (95 %) |\n|---|---|---|---|")
    row("teacher", teacher.count_params(), [accuracy(teacher, *unseen)])
    alone: list[float] | None = None
    for method in (None, *arguments.methods):
        found = []
        for seed in range(FIRST_SEED, FIRST_SEED + arguments.seeds):
            data = dataset(images[:STUDENT_EXAMPLES], labels[:STUDENT_EXAMPLES], BATCH, seed)
            student = student_of(teacher, data, method, seed)
            found.append(accuracy(student, *unseen))
        row(method or "student alone", student.count_params(), found, alone)
        alone = alone or found


if __name__ == "__main__":
    main()
