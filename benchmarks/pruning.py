"""What pruning and clustering give, beside tensorflow-model-optimization's plain recipes on the same models.

    python benchmarks/pruning.py [--tasks digits fashion_mnist] [--seeds 5] [--methods prune-80 …]

Each seed trains a float model and applies every method to it, with as many epochs of Adam at the same rate for ours as
for tensorflow-model-optimization's recipe (its guides' schedules, schemes and converter options). Figures are means
over the seeds: bytes of the ``.tflite``, its gzip, accuracy on the test examples, which nothing was chosen on, and by
how much it is below the float model's, in points, with a 95 % t interval over the seeds (with one seed, none). int8
files take and give float. ``fashion_mnist`` (one seed: half an hour) needs Debian's dataset-fashion-mnist.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from scipy import stats

from tfx_edge.conversion import source
from tfx_edge.conversion.convert import convert_source
from tfx_edge.devices.local import infer
from tfx_edge.lite.inspect import inspect
from tfx_edge.models.tracing import trace_as_it_is
from tfx_edge.pruning import clustering, magnitude
from tfx_edge.pruning.settings import Clusters, Magnitude
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.quantize_aware import quantize_aware
from tfx_edge.training import training
from tfx_edge.training.data import TrainingData
from tfx_edge.training.types import FitConfig

KL = tf_keras.layers
QAT = Recipe(preset="qat_int8", io_dtype="float32")


@dataclass(frozen=True)
class Task:
    """A network, its examples, and how long each phase trains."""

    build: Callable[[], tf_keras.Model]
    train: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]
    batch_size: int
    epochs: int
    tuning: int
    quantizing: int
    rate: float

    @property
    def steps(self) -> int:
        """Training steps of an epoch."""
        return -(-len(self.train[0]) // self.batch_size)

    def fit(
        self, model: tf_keras.Model, epochs: int, rate: float, seed: int, callbacks: Sequence[Any] = ()
    ) -> tf_keras.Model:
        """Trains a model on the training examples."""
        trained = tf_keras.models.clone_model(model, clone_function=lambda layer: layer)
        loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        trained.compile(tf_keras.optimizers.Adam(rate), loss)
        batches = tf.data.Dataset.from_tensor_slices(({"image": self.train[0]}, self.train[1])).batch(self.batch_size)
        data = TrainingData(batches.cache(), None, self.steps, self.batch_size, seed)
        training.fit(trained, data, FitConfig(epochs=epochs, seed=seed), lambda line: None, callbacks=list(callbacks))
        return model


def digits() -> Task:
    """The network of the demo (pipelines/digits) on scikit-learn's digits; every fourth is for the test."""
    from sklearn import datasets

    found = datasets.load_digits()
    images, labels = (found.data / 16).reshape(-1, 8, 8, 1).astype(np.float32), found.target
    kept = np.arange(len(images)) % 4 == 0

    def build() -> tf_keras.Model:
        image = tf_keras.Input((8, 8, 1), name="image")
        x = KL.Conv2D(32, 3, padding="same", use_bias=False)(image)
        x = KL.MaxPooling2D()(KL.ReLU()(KL.BatchNormalization()(x)))
        x = KL.Flatten()(KL.Conv2D(64, 3, padding="same", activation="relu")(x))
        return tf_keras.Model(image, KL.Dense(10, name="scores")(KL.Dense(64, activation="relu")(x)))

    return Task(build, (images[~kept], labels[~kept]), (images[kept], labels[kept]), 32, 20, 10, 5, 1e-3)


def fashion_mnist() -> Task:
    """The small MobileNet of pipelines/fashion_mnist."""
    from tfx_edge.pipelines.fashion_mnist.task import PACKAGE
    from tfx_edge.pipelines.idx_files import parse

    PACKAGE.fetch()

    def read(prefix: str) -> tuple[np.ndarray, np.ndarray]:
        pixels = parse(PACKAGE.read(f"{prefix}-images-idx3-ubyte.gz")).reshape(-1, 28, 28, 1)
        return (pixels / 255).astype(np.float32), parse(PACKAGE.read(f"{prefix}-labels-idx1-ubyte.gz")).astype(int)

    def normalized(x: Any) -> Any:
        return KL.ReLU()(KL.BatchNormalization()(x))

    def build() -> tf_keras.Model:
        image = tf_keras.Input((28, 28, 1), name="image")
        x = normalized(KL.Conv2D(32, 3, strides=2, padding="same", use_bias=False)(image))
        for filters, stride in ((64, 1), (128, 2), (128, 2)):
            x = normalized(KL.DepthwiseConv2D(3, strides=stride, padding="same", use_bias=False)(x))
            x = normalized(KL.Conv2D(filters, 1, use_bias=False)(x))
        x = KL.Dropout(0.3)(KL.Flatten()(x))
        x = KL.Dropout(0.3)(KL.Dense(128, activation="relu")(x))
        return tf_keras.Model(image, KL.Dense(10, name="scores")(x))

    return Task(build, read("train"), read("t10k"), 64, 4, 3, 1, 1e-3)


@dataclass(frozen=True)
class Bench:
    """One trained float model and what the methods make of it."""

    task: Task
    seed: int
    folder: Path

    def float_model(self) -> tf_keras.Model:
        """The trained model, anew each time."""
        path = self.folder / f"float-{self.seed}.keras"
        if not path.is_file():
            tf_keras.utils.set_random_seed(self.seed)
            self.task.fit(self.task.build(), self.task.epochs, self.task.rate, self.seed).save(path)
        return tf_keras.models.load_model(path, compile=False)

    def pruned(self, model: tf_keras.Model, **settings: Any) -> tf_keras.Model:
        """By Pruner's method ``magnitude``."""
        plan = magnitude.Plan.of(model, Magnitude.parse(settings))
        callback = magnitude.Pruning(plan, self.task.steps, self.task.tuning)
        self.task.fit(model, self.task.tuning, self.task.rate, self.seed, [callback])
        magnitude.check(model, plan)
        return model

    def clustered(self, model: tf_keras.Model, number: int) -> tf_keras.Model:
        """By Pruner's method ``clusters``."""
        plan = clustering.Plan.of(model, Clusters(kind="clusters", number=number))
        self.task.fit(model, self.task.tuning, self.task.rate, self.seed, [clustering.Clustering(plan)])
        clustering.check(model, plan)
        return model

    def quantized(self, model: tf_keras.Model) -> tf_keras.Model:
        """By Quantizer's recipe ``qat_int8``, which keeps zeros and clusters."""
        wrapped, _ = quantize_aware.wrap(model, QAT)
        return self.task.fit(wrapped, self.task.quantizing, self.task.rate, self.seed)

    def tfmot_pruned(self, model: tf_keras.Model, sparsity: float) -> tf_keras.Model:
        """As the guide "Pruning in Keras" has it: from 50 % on, over all steps."""
        end = self.task.steps * self.task.tuning
        schedule = tfmot.sparsity.keras.PolynomialDecay(0.5, sparsity, begin_step=0, end_step=end)
        wrapped = tfmot.sparsity.keras.prune_low_magnitude(model, pruning_schedule=schedule)
        step = tfmot.sparsity.keras.UpdatePruningStep()
        self.task.fit(wrapped, self.task.tuning, self.task.rate, self.seed, [step])
        return tfmot.sparsity.keras.strip_pruning(wrapped)

    def tfmot_clustered(self, model: tf_keras.Model, number: int) -> tf_keras.Model:
        """As the guide "Weight clustering in Keras" has it."""
        initial = tfmot.clustering.keras.CentroidInitialization.LINEAR
        wrapped = tfmot.clustering.keras.cluster_weights(model, number, initial)
        self.task.fit(wrapped, self.task.tuning, self.task.rate, self.seed)
        return tfmot.clustering.keras.strip_clustering(wrapped)

    def tfmot_quantized(self, model: tf_keras.Model) -> tf_keras.Model:
        """As the guide "Sparsity preserving quantization aware training" has it."""
        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme()
        wrapped = tfmot.quantization.keras.quantize_apply(annotated, scheme)
        return self.task.fit(wrapped, self.task.quantizing, self.task.rate, self.seed)

    def figures(self, model: tf_keras.Model) -> tuple[float, float, float]:
        """Bytes, gzip and accuracy of the ``.tflite``."""
        path = self.folder / "model.tflite"
        path.write_bytes(convert_source(source.of_model(model)).content)
        found, (images, labels) = inspect(path), self.task.test
        outputs = np.concatenate([next(iter(out.values())) for out in infer(path, [{"image": images}])])
        return found.size_bytes, found.gzip_bytes, float(np.mean(outputs.argmax(-1) == labels))


Method = Callable[[Bench, tf_keras.Model], tf_keras.Model]
METHODS: dict[str, tuple[str, Method]] = {
    "float": ("float", lambda bench, model: model),
    "prune-80": ("80 % zeros", lambda bench, model: bench.pruned(model, final_sparsity=0.8)),
    "prune-80-global": (
        "80 % zeros, ranked globally",
        lambda bench, model: bench.pruned(model, final_sparsity=0.8, ranking="global"),
    ),
    "tfmot-prune-80": ("80 % zeros, tfmot", lambda bench, model: bench.tfmot_pruned(model, 0.8)),
    "2:4": ("2:4", lambda bench, model: bench.pruned(model, pattern="2:4")),
    "block": (
        "80 % zeros in blocks of 4 inputs",
        lambda bench, model: bench.pruned(model, final_sparsity=0.8, pattern="block", block_size=(4, 1)),
    ),
    "clusters-32": ("32 clusters", lambda bench, model: bench.clustered(model, 32)),
    "tfmot-clusters-32": ("32 clusters, tfmot", lambda bench, model: bench.tfmot_clustered(model, 32)),
    "prune-clusters": (
        "80 % zeros globally, then 32 clusters",
        lambda bench, model: bench.clustered(bench.pruned(model, final_sparsity=0.8, ranking="global"), 32),
    ),
    "qat": ("int8 by `qat_int8`", lambda bench, model: bench.quantized(model)),
    "prune-qat": (
        "80 % zeros globally, then `qat_int8`",
        lambda bench, model: bench.quantized(bench.pruned(model, final_sparsity=0.8, ranking="global")),
    ),
    "prune-clusters-qat": (
        "80 % zeros globally, 32 clusters, `qat_int8`",
        lambda bench, model: bench.quantized(
            bench.clustered(bench.pruned(model, final_sparsity=0.8, ranking="global"), 32)
        ),
    ),
    "tfmot-prune-qat": (
        "80 % zeros, then QAT, tfmot",
        lambda bench, model: bench.tfmot_quantized(bench.tfmot_pruned(model, 0.8)),
    ),
}
TASKS = {"digits": digits, "fashion_mnist": fashion_mnist}


def table(task: Task, seeds: int, methods: Sequence[str]) -> None:
    """Prints the figures of one task, as a table of Markdown."""
    found: dict[str, list[tuple[float, float, float]]] = {name: [] for name in methods}
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            bench = Bench(task, seed, Path(folder))
            for name in methods:
                found[name].append(bench.figures(METHODS[name][1](bench, bench.float_model())))
                size, gzip, accuracy = found[name][-1]
                print(f"seed {seed}, {name}: {size:,.0f} {gzip:,.0f} {accuracy:.4f}", file=sys.stderr, flush=True)
    base = np.array(found["float"])
    print("| | bytes | gzip | of the float gzip | accuracy | points lost |")
    print("|---|---|---|---|---|---|")
    for name in methods:
        figures = np.array(found[name])
        size, gzip, accuracy = figures.mean(axis=0)
        share = float(np.mean(figures[:, 1] / base[:, 1]))
        lost = _interval(100 * (base[:, 2] - figures[:, 2]))
        print(f"| {METHODS[name][0]} | {size:,.0f} | {gzip:,.0f} | {share:.3f} | {accuracy:.2%} | {lost} |")


def _interval(values: np.ndarray) -> str:
    if not np.any(values):
        return "0"
    if len(values) < 2:
        return f"{values[0]:.2f}"
    reach = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return f"{values.mean():.2f} ± {reach:.2f}"


def main() -> None:
    """Prints a table for each task."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=["digits"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    options = parser.parse_args()
    trace_as_it_is()
    methods = list(dict.fromkeys(["float", *options.methods]))
    for name in options.tasks:
        task = TASKS[name]()
        print(f"\n{name}, {options.seeds} seeds, {len(task.test[0]):,} test examples\n", flush=True)
        table(task, options.seeds, methods)


if __name__ == "__main__":
    main()
