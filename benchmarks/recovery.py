"""What wins back the accuracy that quantization costs, on models that lose some, and which measure ranks layers best.

    python benchmarks/recovery.py [--models tumours areas fashion_relu fashion_relu6] [--rankings] [--folder DIR]

Trains each model (2 minutes for a fashion one) unless the folder holds it, quantizes it and applies each method of
`tfx_edge.recovery.recover`. Methods choose on the training split alone; scores are those of the test split, accuracy
with its 95 % interval (Clopper and Pearson), R² with that of a bootstrap. Latency: the least of 200 runs, in turns
with the float model in one process on a shared machine. ``--rankings`` prints instead how the outputs get better with
the first 0, 1, 2, … layers spared, in the order that each measure of sensitivity gives.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path

import lossy_models
import numpy as np
from lossy_models import Lossy

from tfx_edge.devices.local import Local
from tfx_edge.devices.target import RunOptions
from tfx_edge.errors import ModelError
from tfx_edge.gate.intervals import proportion
from tfx_edge.gate.latency import process_ratio
from tfx_edge.lite.layers import layers
from tfx_edge.quantization.calibration import calibrate
from tfx_edge.quantization.quantize import quantize
from tfx_edge.quantization.recipe import Override, Recipe
from tfx_edge.recovery.bias_correction import correct_biases
from tfx_edge.recovery.equalize import equalize
from tfx_edge.recovery.mixed_precision import LADDERS, MixedPrecision, mix_precisions
from tfx_edge.recovery.sensitivity import exactly, sensitivity
from tfx_edge.recovery.trials import Trials, sqnr_db

MODELS: dict[str, tuple[Callable[[Path], Lossy], tuple[str, ...]]] = {
    "tumours": (lossy_models.tumours, ("int8_float_io",)),
    "areas": (lossy_models.areas, ("int8_float_io",)),
    "fashion_relu": (lambda folder: lossy_models.fashion(folder, "relu"), ("int8", "int4_weights")),
    "fashion_relu6": (lambda folder: lossy_models.fashion(folder, "relu6"), ("int8", "int4_weights")),
}
MAX_DROP = {"accuracy": 0.005, "R²": 0.01}


class Bench:
    """One model under one recipe; every row is printed as soon as it is known."""

    def __init__(
        self, name: str, model: Lossy, preset: str, calibration: Trials, held_out: Trials, test: Trials
    ) -> None:
        self.name, self.model, self.recipe = name, model, Recipe(preset=preset)
        self.calibration, self.held_out, self.test = calibration, held_out, test
        self.expected = test.outputs(model.path)

    def rows(self) -> None:
        """All methods, alone and together."""
        self.row("float", self.model.path.read_bytes())
        plain = self.quantize(self.model.path)
        self.row(f"{self.recipe.preset}", plain)
        self.row("+ bias correction", self.correct(self.model.path, plain))
        sources = [self.model.path]
        try:
            equalized = self.calibration.folder / "equalized.tflite"
            equalized.write_bytes(equalize(self.model.path, self.calibration).content)
            content = self.quantize(equalized)
            self.row("+ equalization", content)
            self.row("+ equalization, bias correction", self.correct(equalized, content))
            sources.append(equalized)
        except ModelError as error:
            print(f"({error})")
        self.mixed(self.model.path, bytes, "mixed precision")
        last = sources[-1]
        self.mixed(last, lambda content: self.correct(last, content), "mixed precision on top of both")

    def mixed(self, source: Path, finish: Callable[[bytes], bytes], label: str) -> None:
        """A row for mixed precision."""
        found = self.search(source, finish)
        kinds = ", ".join(f"{list(found.spared.values()).count(k)} {k}" for k in sorted(set(found.spared.values())))
        total = len(found.quantized.report.layers)
        self.row(
            f"{label}: {kinds or 'none'} of {total} layers" + ("" if found.met else " (not met)"),
            found.quantized.content,
        )

    def search(self, source: Path, finish: Callable[[bytes], bytes]) -> MixedPrecision:
        """Mixed precision on the held-out part of the training split."""
        return mix_precisions(
            source,
            self.recipe,
            self.held_out,
            self.score,
            MAX_DROP[self.model.metric],
            self.ranges(source),
            finish=finish,
        )

    def score(self, outputs: dict[str, np.ndarray]) -> float:
        """On the held-out part of the training split."""
        return self.model.score(outputs, self.model.held_out_labels)

    def ranges(self, source: Path) -> dict[str, dict[str, np.ndarray]]:
        """Of activations."""
        (name, values), *_ = self.model.samples.items()
        return calibrate(source, ({name: row[None]} for row in values))

    def quantize(self, source: Path, recipe: Recipe | None = None) -> bytes:
        """By the recipe alone."""
        return quantize(source, recipe or self.recipe, statistics=self.ranges(source)).content

    def correct(self, source: Path, content: bytes) -> bytes:
        """With corrected biases, if they help."""
        return correct_biases(source, content, self.calibration, self.held_out).content

    def row(self, label: str, content: bytes) -> None:
        """Prints a row of the table."""
        outputs = self.test.outputs(content)
        score = self.model.score(outputs, self.model.test_labels)
        low, high = self.interval(outputs, score)
        path = self.calibration.folder / "row.tflite"
        path.write_bytes(content)
        pair, _ = Local().compare(path, self.model.path, RunOptions(max_seconds=5))
        ratio = process_ratio(pair, "min")
        decibels = "" if label == "float" else f"{sqnr_db(self.expected, outputs):.1f}"
        print(
            f"| {self.name} | {label} | {score:.4f} ({low:.4f}–{high:.4f}) | {decibels} | {len(content):,} | "
            f"{ratio:.2f} |",
            flush=True,
        )

    def interval(self, outputs: dict[str, np.ndarray], score: float) -> tuple[float, float]:
        """95 % of the test score."""
        labels = self.model.test_labels
        if self.model.metric == "accuracy":
            estimate = proportion(round(score * len(labels)), len(labels), 0.975)
            return estimate.low, estimate.high
        rng = np.random.default_rng(0)
        draws = (rng.integers(0, len(labels), len(labels)) for _ in range(2000))
        scores = [self.model.score({"output": outputs["output"][rows]}, labels[rows]) for rows in draws]
        return float(np.quantile(scores, 0.025)), float(np.quantile(scores, 0.975))

    def rankings(self) -> None:
        """How fast the outputs get better when layers are spared in the order that each measure gives."""
        path, ranges = self.model.path, self.ranges(self.model.path)
        expected = self.held_out.outputs(path)
        costs = sensitivity(path, self.recipe, self.held_out, self.score, ranges).layers
        place = {layer.name: number for number, layer in enumerate(layers(path))}
        higher = {cost.name: LADDERS[cost.precision][0] for cost in costs}

        def spared(names: list[str]) -> tuple[float, float]:
            overrides = tuple(Override(layers=exactly(name), precision=higher[name]) for name in names)
            outputs = self.held_out.outputs(
                self.quantize(path, self.recipe.model_copy(update={"overrides": overrides}))
            )
            return sqnr_db(expected, outputs), self.score(outputs)

        alone = {cost.name: spared([cost.name]) for cost in costs}
        names = [cost.name for cost in costs]
        by_score = {cost.name: (cost.score or 0.0, place[cost.name]) for cost in costs}
        orders = {
            "SQNR, quantized alone": names,
            "score, quantized alone": sorted(names, key=by_score.__getitem__),
            "SQNR, spared alone": sorted(names, key=lambda name: -alone[name][0]),
            "score, spared alone": sorted(names, key=lambda name: (-alone[name][1], place[name])),
            "order in the graph": sorted(names, key=place.__getitem__),
        }
        for label, order in orders.items():
            found = [spared(order[:count])[0] for count in range(len(order))]
            curve = " ".join(f"{value:.1f}" for value in found)
            print(f"| {self.name} {self.recipe.preset} | {label} | {np.mean(found):.1f} | {curve} |", flush=True)


def main() -> None:
    """Prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--rankings", action="store_true", help="compare measures of sensitivity instead")
    parser.add_argument("--folder", type=Path, help="keeps the trained models, and takes those that it holds")
    arguments = parser.parse_args()
    if arguments.rankings:
        print("| model | order by | mean dB | dB with the first 0, 1, 2, … layers spared |\n|---|---|---|---|")
    else:
        print("| model | method | test score (95 %) | dB | bytes | latency, float = 1 |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for name in arguments.models:
            train, presets = MODELS[name]
            model = train(arguments.folder or Path(scratch))
            with Trials(model.samples) as calibration, Trials(model.held_out) as held_out, Trials(model.test) as test:
                for preset in presets:
                    bench = Bench(name, model, preset, calibration, held_out, test)
                    bench.rankings() if arguments.rankings else bench.rows()


if __name__ == "__main__":
    main()
