"""Models that lose accuracy when they are quantized, trained here on real data, for ``benchmarks/recovery.py``.

Nothing is scaled by hand. The convolutional nets are small MobileNets on Fashion-MNIST with batch normalisation, which
the converter folds. The dense nets take the 30 raw measurements of scikit-learn's breast cancer data, areas of 1,000
beside slopes of 0.01, and standardize them in their first layer, as keras.layers.Normalization makes it easy to do.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Lossy:
    """A trained float model and its data.

    Attributes:
      path: the float ``.tflite``.
      samples: of the training split, to calibrate on.
      held_out: others of the training split, with ``held_out_labels``: recovery scores its candidates on them.
      test: the test split, with ``test_labels``, which only the final figures are taken on.
      metric: ``"accuracy"`` or ``"R²"``.
    """

    path: Path
    samples: Batch
    held_out: Batch
    held_out_labels: np.ndarray
    test: Batch
    test_labels: np.ndarray
    metric: str

    def score(self, outputs: Mapping[str, np.ndarray], labels: np.ndarray) -> float:
        """The metric of a model's outputs."""
        values = next(iter(outputs.values()))
        if self.metric == "accuracy":
            return float(np.mean(values.argmax(axis=-1) == labels))
        missed = np.sum(np.square(values[:, 0].astype(np.float64) - labels))
        return float(1 - missed / np.sum(np.square(labels - labels.mean())))


def fashion(folder: Path, activation: str) -> Lossy:
    """A depthwise separable CNN (28 x 28 grey, 13 convolutions) with ReLU or ReLU6."""
    images, labels = _fashion("train")
    test_images, test_labels = _fashion("t10k")
    path = folder / f"fashion_{activation}.tflite"
    if not path.is_file():
        _train_separable(path, activation, images[:20_000], labels[:20_000])
    return Lossy(
        path,
        {"image": images[20_000:20_128]},
        {"image": images[21_000:23_000]},
        labels[21_000:23_000],
        {"image": test_images},
        test_labels,
        "accuracy",
    )


def _train_separable(path: Path, activation: str, images: np.ndarray, labels: np.ndarray) -> None:
    import tf_keras as keras

    keras.utils.set_random_seed(0)
    layers = keras.layers

    def block(x: Any, convolution: Any) -> Any:
        x = layers.BatchNormalization(momentum=0.9)(convolution(x))
        return layers.ReLU(6.0 if activation == "relu6" else None)(x)

    x = inputs = keras.Input(images.shape[1:], name="image")
    x = block(x, layers.Conv2D(16, 3, 2, padding="same", use_bias=False))
    for channels, stride in ((32, 1), (64, 2), (64, 1), (64, 1), (96, 2), (96, 1)):
        x = block(x, layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False))
        x = block(x, layers.Conv2D(channels, 1, use_bias=False))
    x = layers.Softmax()(layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))
    model = keras.Model(inputs, x)
    model.compile(keras.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
    model.fit(images, labels, batch_size=64, epochs=8, verbose=0)
    _convert(model, path, "image", images.shape[1:])


def tumours(folder: Path) -> Lossy:
    """Malignant or benign, from 30 raw measurements: dense 32, 16, 2 behind a standardization."""
    import tf_keras as keras

    features, labels, _ = _measurements()
    return _dense(
        folder / "tumours.tflite", features, labels, lambda x: keras.layers.Dense(2, "softmax")(x), "accuracy"
    )


def areas(folder: Path) -> Lossy:
    """The area of a tumour's largest cells, of 200 to 4,000, from the 20 other measurements: dense 32, 16, 1."""
    features, _, areas = _measurements()
    spread, mean = float(areas[:300].std()), float(areas[:300].mean())

    def head(x: Any) -> Any:
        import tf_keras as keras

        return keras.layers.Rescaling(spread, mean)(keras.layers.Dense(1)(x))

    return _dense(folder / "areas.tflite", features[:, :20], areas, head, "R²")


def _dense(path: Path, features: np.ndarray, labels: np.ndarray, head: Callable[[Any], Any], metric: str) -> Lossy:
    if not path.is_file():
        _train_dense(path, features[:300], labels[:300], head, metric)
    parts = [{"features": features[start:end]} for start, end in ((0, 200), (200, 300), (300, None))]
    return Lossy(path, parts[0], parts[1], labels[200:300], parts[2], labels[300:], metric)


def _train_dense(path: Path, features: np.ndarray, labels: np.ndarray, head: Callable[[Any], Any], metric: str) -> None:
    import tf_keras as keras

    keras.utils.set_random_seed(0)
    standardize = keras.layers.Normalization()
    standardize.adapt(features)
    x = inputs = keras.Input(features.shape[1:], name="features")
    x = keras.layers.Dense(32, "relu")(standardize(x))
    model = keras.Model(inputs, head(keras.layers.Dense(16, "relu")(x)))
    spread = float(np.std(labels)) if metric == "R²" else 1.0
    loss = "sparse_categorical_crossentropy" if metric == "accuracy" else lambda y, p: ((y - p) / spread) ** 2
    model.compile(keras.optimizers.Adam(3e-3), loss)
    model.fit(features, labels[:, None], batch_size=16, epochs=60, verbose=0)
    _convert(model, path, "features", features.shape[1:])


def _measurements() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (569, 30), malignant or not, and the worst area, shuffled."""
    from sklearn.datasets import load_breast_cancer

    data = load_breast_cancer()
    order = np.random.default_rng(0).permutation(len(data.data))
    features = data.data[order].astype(np.float32)
    return features, data.target[order], features[:, 23]


def _fashion(split: str) -> tuple[np.ndarray, np.ndarray]:
    from tfx_edge.pipelines.debian_data import DebianPackage
    from tfx_edge.pipelines.idx_files import parse

    package = DebianPackage("dataset-fashion-mnist", Path("usr/share/datasets/fashion-mnist"))
    package.fetch()
    images = parse(package.read(f"{split}-images-idx3-ubyte.gz"))
    labels = parse(package.read(f"{split}-labels-idx1-ubyte.gz"))
    return images[..., None].astype(np.float32) / 255, labels.astype(np.int64)


def _convert(model: Any, path: Path, name: str, shape: tuple[int, ...]) -> None:
    import tensorflow as tf

    module = tf.Module()
    module.kept = model.variables
    spec = tf.TensorSpec((1, *shape), tf.float32, name=name)
    module.serve = tf.function(lambda x: {"output": model(x)}, autograph=False, input_signature=[spec])
    with tempfile.TemporaryDirectory() as scratch:
        tf.saved_model.save(module, scratch, {"serving_default": module.serve})
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(scratch).convert())
