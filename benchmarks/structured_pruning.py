"""What structured pruning gives on the image tasks, by importance and ranking.

    python benchmarks/structured_pruning.py [--tasks digits fashion_mnist] [--seeds 3] [--amount 0.5] [--methods l2 …]
                                            [--folder DIR]

Each seed trains a float model, unless the folder holds it, and every method takes a share of its MACs and fine-tunes
what is left, for fewer epochs than the float model had. Networks, examples and epochs are those of
``benchmarks/pruning.py``. Parameters, MACs and bytes are of the first seed; int8 is calibrated on 200 training
examples.
The latency is the time of one run of the float ``.tflite`` divided by that of the unpruned model's, in turns in one
process, with a 95 % interval over processes. The accuracy is that of the float model on the test examples, which
nothing was chosen on: means over the seeds, and by how many points it is below the unpruned model's, with a 95 % t
interval over the seeds; with one seed, the interval of Clopper and Pearson of the accuracy itself.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from pruning import TASKS, Task
from scipy import stats

from tfx_edge.conversion import source
from tfx_edge.conversion.convert import convert_source
from tfx_edge.gate.intervals import proportion
from tfx_edge.models.tracing import trace_as_it_is
from tfx_edge.pruning.structured.prune import prune
from tfx_edge.pruning.structured.settings import Structured
from tfx_edge.quantization.recipe import Recipe
from tfx_edge.stages import savings

LOSS = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
METHODS: dict[str, dict[str, Any]] = {
    "l2": {"importance": "l2"},
    "taylor": {"importance": "taylor"},
    "l2-layer": {"importance": "l2", "ranking": "layer"},
    "batch_norm": {"importance": "batch_norm"},
    "geometric_median": {"importance": "geometric_median"},
    "l1": {"importance": "l1"},
    "taylor-layer": {"importance": "taylor", "ranking": "layer"},
    "l2-16": {"importance": "l2", "multiple_of": 16},
    "taylor-16": {"importance": "taylor", "multiple_of": 16},
}
TAYLOR_EXAMPLES = 2048


@dataclass(frozen=True)
class Row:
    """A method's figures on one seed."""

    cost: savings.Cost
    int8: int
    before: float
    after: float
    widths: str


@dataclass(frozen=True)
class Bench:
    """A task with the models that were trained on it."""

    task: Task
    name: str
    folder: Path
    amount: float

    def float_model(self, seed: int) -> tf_keras.Model:
        """The trained model."""
        path = self.folder / f"{self.name}-{seed}.keras"
        if not path.is_file():
            tf_keras.utils.set_random_seed(seed)
            self.task.fit(self.task.build(), self.task.epochs, self.task.rate, seed).save(path)
        return tf_keras.models.load_model(path, compile=False)

    def unpruned(self, seed: int) -> Row:
        """The model that was trained."""
        return self._row(self.float_model(seed), "unpruned", seed, 0.0, "")

    def pruned(self, method: str, seed: int) -> Row:
        """By a method, and fine-tuned."""
        settings = Structured.parse({"kind": "structured", **METHODS[method]})
        images, labels = self.task.train
        batches = [
            (images[at : at + 32], labels[at : at + 32]) for at in range(0, min(TAYLOR_EXAMPLES, len(images)), 32)
        ]
        found = prune(self.float_model(seed), settings, self.amount, batches=batches, loss=LOSS)
        before = self.accuracy(found.model)
        self.task.fit(found.model, self.task.tuning, self.task.rate, seed)
        widths = ", ".join(f"{was}→{now}" for was, now in found.removed.values())
        return self._row(found.model, method, seed, before, widths)

    def accuracy(self, model: tf_keras.Model) -> float:
        """Share of right answers on the test examples."""
        images, labels = self.task.test
        parts = [model(part, training=False).numpy() for part in np.array_split(images, -(-len(images) // 500))]
        return float(np.mean(np.concatenate(parts).argmax(-1) == labels))

    def _row(self, model: tf_keras.Model, method: str, seed: int, before: float, widths: str) -> Row:
        cost = savings.cost(model, self.folder, f"{self.name}-{method}-{seed}")
        examples = [{"image": image[None]} for image in self.task.train[0][:200]]
        int8 = len(convert_source(source.of_model(model), recipe=Recipe(preset="int8"), calibration=examples).content)
        return Row(cost, int8, before, self.accuracy(model), widths)


def table(bench: Bench, seeds: int, methods: Sequence[str]) -> None:
    """Prints the figures of one task, as a table of Markdown; each row as soon as it is known."""
    base = [bench.unpruned(seed) for seed in range(seeds)]
    print("| | parameters | MACs | float bytes | int8 bytes | latency | before tuning | accuracy | points lost |")
    print("|---|---|---|---|---|---|---|---|---|")
    _print("unpruned", base, base, "1", len(bench.task.test[0]))
    for method in methods:
        rows = [bench.pruned(method, seed) for seed in range(seeds)]
        found = savings.latency(base[0].cost.path, rows[0].cost.path)
        ratio = f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f})"
        _print(f"`{method}`", rows, base, ratio, len(bench.task.test[0]))
        print(f"{method}: {rows[0].widths}", file=sys.stderr, flush=True)


def _print(name: str, rows: Sequence[Row], base: Sequence[Row], ratio: str, examples: int) -> None:
    cost = rows[0].cost
    accuracy = float(np.mean([row.after for row in rows]))
    pruned = rows is not base
    before = f"{np.mean([row.before for row in rows]):.2%}" if pruned else ""
    lost = 100 * np.array([was.after - row.after for was, row in zip(base, rows, strict=True)])
    points, interval = (f"{lost.mean():.2f}" if pruned else ""), ""
    if len(rows) == 1:
        limits = proportion(round(accuracy * examples), examples, 0.975)
        interval = f" ({limits.low:.2%} to {limits.high:.2%})"
    elif pruned:
        points += f" ± {stats.t.ppf(0.975, len(lost) - 1) * lost.std(ddof=1) / np.sqrt(len(lost)):.2f}"
    print(
        f"| {name} | {cost.parameters:,} | {cost.macs:,} | {cost.size_bytes:,} | {rows[0].int8:,} | {ratio} | "
        f"{before} | {accuracy:.2%}{interval} | {points} |",
        flush=True,
    )


def main() -> None:
    """Prints a table for each task."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=["digits"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--amount", type=float, default=0.5)
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=list(METHODS))
    parser.add_argument("--folder", type=Path, help="keeps the trained models, and takes those that it holds")
    options = parser.parse_args()
    trace_as_it_is()
    tf.get_logger().setLevel("ERROR")
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.tasks:
            bench = Bench(TASKS[name](), name, options.folder or Path(scratch), options.amount)
            bench.folder.mkdir(parents=True, exist_ok=True)
            print(f"\n{name}, seeds {options.seeds}, {len(bench.task.test[0]):,} test examples\n", flush=True)
            table(bench, options.seeds, options.methods)


if __name__ == "__main__":
    main()
