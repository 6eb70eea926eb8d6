"""What the calibration methods do to an int8 model, and what calibration and its audit cost.

    python benchmarks/calibration.py [--examples 200] [--seed 0]

A CNN is trained on scikit-learn's digits, enlarged to 32 x 32 and with the contrast of each varied at random. It is
calibrated on three kinds of examples: digits as they are, with contrast that varies (log-normal, sigma 1), and as they
are but for one pixel of one example that is 100 times too bright. Each int8 model is held against the float model on
the same 597 digits, as they are or with varied contrast: mean difference of the scores, and accuracy. Then the time of
an example by method, beside the calibration of litert-quantizer itself, and the audit's share of it.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing

from tfx_edge.devices.loaded_model import LoadedModel
from tfx_edge.examples.audit import audit
from tfx_edge.examples.sampling import Sample, draw
from tfx_edge.quantization.calibration import calibrate, calibrate_halves
from tfx_edge.quantization.quantize import quantize
from tfx_edge.quantization.recipe import Calibration, Recipe

Examples = tuple[np.ndarray, np.ndarray]
METHODS = {
    "min_max": Calibration(),
    "moving_average": Calibration(method="moving_average"),
    "percentile 99.99": Calibration(method="percentile"),
    "percentile 99.9": Calibration(method="percentile", percentile=99.9),
    "mse": Calibration(method="mse"),
}


def digits(rng: np.random.Generator) -> tuple[Examples, Examples]:
    """Training and eval split: images of shape (n, 32, 32, 1) in [0, 1], and labels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.kron(bunch.images, np.ones((4, 4)))[..., None].astype(np.float32) / 16
    order = rng.permutation(len(images))
    train, evaluation = order[:1200], order[1200:]
    return (images[train], bunch.target[train]), (images[evaluation], bunch.target[evaluation])


def varied(examples: Examples, rng: np.random.Generator) -> Examples:
    """The same with the contrast of each image multiplied by a log-normal number."""
    images, labels = examples
    return images * rng.lognormal(size=(len(images), 1, 1, 1)).astype(np.float32), labels


def train(examples: Examples, rng: np.random.Generator, path: Path) -> None:
    """Trains a CNN with logits on varied contrast, and writes it as a float ``.tflite`` for one image."""
    import tensorflow as tf
    import tf_keras as keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.layers.InputLayer((32, 32, 1), name="image"),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Conv2D(16, 3, activation="relu"),
            keras.layers.MaxPooling2D(2),
            keras.layers.Flatten(),
            keras.layers.Dense(10, name="logits"),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for _ in range(8):
        model.fit(*varied(examples, rng), batch_size=32, verbose=0)

    module = tf.Module()
    module.kept = model.variables
    spec = tf.TensorSpec((1, 32, 32, 1), tf.float32, name="image")
    module.serve = tf.function(lambda image: {"logits": model(image)}, autograph=False, input_signature=[spec])
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, {"serving_default": module.serve})
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(folder).convert())


def scores(path: Path, images: np.ndarray) -> np.ndarray:
    """Logits of each image."""
    model = LoadedModel(str(path), 1)
    return np.concatenate([model.run({"image": image[None]})["logits"] for image in images])


def compare(path: Path, calibration: Sample, evaluation: Examples) -> None:
    """Prints what each method costs the scores."""
    images, labels = evaluation
    real = scores(path, images)
    print(f"  {'float':18} {'':10} {np.mean(real.argmax(1) == labels):8.3f}")
    for name, settings in METHODS.items():
        statistics = calibrate(path, calibration.examples, settings)
        rounded = path.with_name("int8.tflite")
        rounded.write_bytes(quantize(path, Recipe(preset="int8_float_io"), statistics=statistics).content)
        found = scores(rounded, images)
        print(f"  {name:18} {np.mean(abs(found - real)):10.4f} {np.mean(found.argmax(1) == labels):8.3f}")


def seconds(function: Callable[[], Any], rounds: int = 3) -> float:
    """The shortest time of a few calls."""
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def costs(path: Path, calibration: Sample, evaluation: Examples) -> None:
    """Prints the time of calibration and audit."""
    from litert_quantizer import quantizer, recipe

    count = len(calibration.examples)
    for name, settings in METHODS.items():
        used = seconds(lambda settings=settings: calibrate(path, calibration.examples, settings))
        print(f"  {name:34} {used / count * 1e3:8.3f} ms an example")

    def theirs() -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            quantizer.Quantizer(str(path), recipe.static_wi8_ai8()).calibrate({"serving_default": calibration.examples})

    print(f"  {'litert-quantizer (moving average)':34} {seconds(theirs) / count * 1e3:8.3f} ms an example")
    calibrated = calibrate_halves(path, calibration.examples)
    whole = seconds(lambda: calibrate(path, calibration.examples))
    alone = seconds(lambda: audit(calibration, calibrated))
    images, labels = evaluation
    batches = [
        ({"image": images[start : start + 64]}, labels[start : start + 64]) for start in range(0, len(images), 64)
    ]
    reading = seconds(lambda: audit(calibration, calibrated, batches)) - alone
    print(f"  audit of the examples: {alone / whole:.1%} of calibrating them; of an eval example: ", end="")
    print(f"{reading / len(images) / (whole / count):.1%} of calibrating one")


def main() -> None:
    """Trains, calibrates, compares and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=200, help="calibration examples")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    training, evaluation = digits(rng)

    def sample(examples: Examples) -> Sample:
        return draw([({"image": examples[0]}, examples[1])], arguments.examples, arguments.seed)

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "float.tflite")
        train(training, rng, path)
        plain, contrast, broken = sample(training), sample(varied(training, rng)), sample(training)
        broken.examples[0]["image"][0, 16, 16, 0] = 100
        for title, calibration, test in (
            ("digits as they are", plain, evaluation),
            ("contrast varies", contrast, varied(evaluation, rng)),
            ("one broken pixel", broken, evaluation),
        ):
            print(f"{title}: method, mean difference of the scores, accuracy")
            compare(path, calibration, test)
        print(f"cost, {arguments.examples} examples")
        costs(path, plain, evaluation)


if __name__ == "__main__":
    main()
