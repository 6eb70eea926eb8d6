"""What merging gives: an ensemble shipped as one ``.tflite``, and a multi-branch network collapsed for inference.

    python benchmarks/merging.py [--groups 5] [--cases ensemble trunk branches]

The data are scikit-learn's digits; every fourth is for the test. Each group trains its own networks.
``ensemble``: three networks of different seeds, the average of their scores. ``trunk``: three heads on the convolutions
of one trained network, which are not trained further. ``branches``: a RepVGG-like network, each block a 3x3, a 1x1 and
an identity branch with batch normalization. Accuracy is that of the ``.tflite`` files, with a 95 % t interval over the
groups of what the merged model gains on the mean of its members. Figures of size and time are those of the first group:
time as a ratio within processes that time both models in turns, with its 95 % interval. ``three files`` is the sum of
the members' times; ``composed`` is the three and their function in one file, without anything merged.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tf_keras
from scipy import stats
from sklearn import datasets

from tfx_edge.devices.local import infer
from tfx_edge.merging.merge import Merged, difference, merge
from tfx_edge.models.tracing import trace_as_it_is
from tfx_edge.stages.savings import Cost, cost, latency

KL = tf_keras.layers
Maker = Callable[[int], list[tf_keras.Model]]
EPOCHS = 20

_DIGITS = datasets.load_digits()
IMAGES = (_DIGITS.data / 16).reshape(-1, 8, 8, 1).astype(np.float32)
LABELS = _DIGITS.target
TEST = np.arange(len(IMAGES)) % 4 == 0


def main() -> None:
    """Prints a table for each case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--groups", type=int, default=5)
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    options = parser.parse_args()
    trace_as_it_is()
    for name in options.cases:
        print(f"\n{name}, {options.groups} groups, {TEST.sum()} test examples\n", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            table(CASES[name], options.groups, Path(folder))


def table(make: Maker, groups: int, folder: Path) -> None:
    """Prints the figures of one case, as a table of Markdown."""
    accuracies, costs, first = [], {}, None
    for group in range(groups):
        models = make(group)
        made = merge(models)
        files = {"composed": cost(made.composed, folder, "composed"), "merged": cost(made.model, folder, "merged")}
        files |= {f"model {number}": cost(model, folder, f"model_{number}") for number, model in enumerate(models, 1)}
        accuracies.append({name: accuracy(found) for name, found in files.items()})
        print(f"group {group}: {accuracies[-1]}", file=sys.stderr, flush=True)
        if group == 0:
            costs, first = files, made
            times = ratios(files, len(models))
    assert isinstance(first, Merged)
    print("| | operators | MACs | bytes | gzip | accuracy | time of the merged one / its time |")
    print("|---|---|---|---|---|---|---|")
    members = [name for name in costs if name.startswith("model")]
    for name in [*(members if len(members) > 1 else []), "composed", "merged"]:
        row(name, [costs[name]], [each[name] for each in accuracies], times.get(name, "1"))
    if len(members) > 1:
        mean = [float(np.mean([each[name] for name in members])) for each in accuracies]
        row("three files (mean accuracy)", [costs[name] for name in members], mean, times["three files"])
        gain = [100 * (each["merged"] - one) for each, one in zip(accuracies, mean, strict=True)]
        print(f"\nThe merged model gains {interval(gain)} points on the mean of its members.")
    batch = {"image": IMAGES[TEST]}
    print(
        f"Largest difference of outputs from the composed model: {difference(first.composed, first.model, [batch]):.2g}"
    )
    print(f"Done: {', '.join(f'{kind} {number:,}' for kind, number in first.done.items())}", flush=True)


def ratios(files: dict[str, Cost], members: int) -> dict[str, str]:
    """How long the merged model takes beside the composed one and beside its members one after the other."""
    found = {name: latency(files[name].path, files["merged"].path) for name in files if name != "merged"}
    texts = {name: f"{each.value:.3f} ({each.low:.3f} to {each.high:.3f})" for name, each in found.items()}
    if members > 1:
        values = [
            1 / sum(1 / getattr(each, bound) for name, each in found.items() if name != "composed")
            for bound in ("value", "low", "high")
        ]
        texts["three files"] = f"{values[0]:.3f} ({values[1]:.3f} to {values[2]:.3f})"
    return texts


def row(name: str, costs: Sequence[Cost], accuracies: Sequence[float], time: str) -> None:
    """A line of the table; files are added up."""
    figures = [sum(getattr(each, key) for each in costs) for key in ("operators", "macs", "size_bytes", "gzip_bytes")]
    print(f"| {name} | {' | '.join(f'{figure:,}' for figure in figures)} | {np.mean(accuracies):.2%} | {time} |")


def accuracy(found: Cost) -> float:
    """Of a file, on the test examples."""
    outputs = np.concatenate([next(iter(out.values())) for out in infer(found.path, [{"image": IMAGES[TEST]}])])
    return float(np.mean(outputs.argmax(-1) == LABELS[TEST]))


def interval(values: Sequence[float]) -> str:
    """The mean and how far it may be off."""
    if len(values) < 2:
        return f"{values[0]:.2f}"
    reach = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return f"{np.mean(values):.2f} ± {reach:.2f}"


def trained(model: tf_keras.Model, epochs: int = EPOCHS) -> tf_keras.Model:
    """Trains on the training examples."""
    model.compile(tf_keras.optimizers.Adam(1e-3), tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(IMAGES[~TEST], LABELS[~TEST], batch_size=32, epochs=epochs, verbose=0)
    return model


def convolutional(seed: int, filters: int = 16) -> tf_keras.Model:
    """A small network like that of pipelines/digits."""
    tf_keras.utils.set_random_seed(seed)
    image = tf_keras.Input((8, 8, 1), name="image")
    x = KL.Conv2D(filters, 3, padding="same", use_bias=False)(image)
    x = KL.MaxPooling2D()(KL.ReLU()(KL.BatchNormalization()(x)))
    x = KL.Flatten()(KL.Conv2D(2 * filters, 3, padding="same", activation="relu")(x))
    x = KL.Dropout(0.3)(KL.Dense(2 * filters, activation="relu", name="hidden")(x))
    return trained(tf_keras.Model(image, KL.Dense(10, name="scores")(x)))


def ensemble(group: int) -> list[tf_keras.Model]:
    """Three networks of different seeds."""
    return [convolutional(3 * group + number) for number in range(3)]


def trunk(group: int) -> list[tf_keras.Model]:
    """Three networks whose convolutions are those of the first."""
    first = convolutional(group)
    models = [first]
    for number in range(1, 3):
        model = tf_keras.models.clone_model(first)
        tf_keras.utils.set_random_seed(1000 * number + group)
        for source, layer in zip(first.layers, model.layers, strict=True):
            if layer.name in ("hidden", "scores"):
                layer.set_weights([np.random.normal(0, 0.1, weight.shape) for weight in source.get_weights()])
            else:
                layer.set_weights(source.get_weights())
                layer.trainable = False
        models.append(trained(model))
    return models


def branches(group: int) -> list[tf_keras.Model]:
    """A RepVGG-like network of five blocks; the second and the fourth halve the image."""
    tf_keras.utils.set_random_seed(group)
    x = image = tf_keras.Input((8, 8, 1), name="image")
    for filters, stride in ((16, 1), (32, 2), (32, 1), (64, 2), (64, 1)):
        sides = [
            KL.BatchNormalization()(KL.Conv2D(filters, size, stride, padding="same", use_bias=False)(x))
            for size in (3, 1)
        ]
        if x.shape[-1] == filters and stride == 1:
            sides.append(KL.BatchNormalization()(x))
        x = KL.ReLU()(KL.Add()(sides))
    return [trained(tf_keras.Model(image, KL.Dense(10, name="scores")(KL.GlobalAveragePooling2D()(x))))]


CASES: dict[str, Maker] = {"ensemble": ensemble, "trunk": trunk, "branches": branches}


if __name__ == "__main__":
    main()
