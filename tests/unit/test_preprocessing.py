"""A Transform graph inside the .tflite: raw features in, and outputs equal to those of Transform and then the model.

The graphs are written with the operators that tensorflow_transform writes, in its layout; tests/pipelines/test_baked.py
has one of a real Transform.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_edge.conversion import convert, source
from tfx_edge.devices.local import infer
from tfx_edge.errors import ModelError
from tfx_edge.lite.inspect import LiteModel, inspect
from tfx_edge.preprocessing.bake import SCOPE, Preprocessing
from tfx_edge.quantization.quantize import quantize
from tfx_edge.quantization.recipe import Recipe

WORDS = ["cat", "dog", "eel"]
NUMBERS = [7, 40, 2]
BOUNDARIES = [-1.0, 0.0, 2.5]


def transform(uri: Path) -> Path:
    """Writes a TransformGraph whose outputs each do what one function of tensorflow_transform does."""
    import tensorflow as tf

    words, numbers = uri / "words", uri / "numbers"
    uri.mkdir()
    words.write_text("\n".join(WORDS))
    numbers.write_text("\n".join(map(str, NUMBERS)))

    def table(file: Path, key: Any) -> Any:
        by_line = (tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER)
        initializer = tf.lookup.TextFileInitializer(str(file), key, tf.lookup.TextFileIndex.WHOLE_LINE, *by_line)
        return tf.lookup.StaticHashTable(initializer, -1)

    module = tf.Module()
    module.words, module.numbers = table(words, tf.string), table(numbers, tf.int64)
    module.oov = tf.lookup.StaticVocabularyTable(module.words._initializer, 1)
    constants = [tf.constant(value) for value in (3.0, 4.0)]
    specs = {
        "size": tf.TensorSpec([None], tf.float32),
        "pixels": tf.TensorSpec([None, 4], tf.int64),
        "pet": tf.TensorSpec([None, 1], tf.string),
        "code": tf.TensorSpec([None], tf.int64),
        "visits": tf.SparseTensorSpec([None, None], tf.float32),
        "label": tf.TensorSpec([None], tf.int64),
    }

    @tf.function(input_signature=[specs], autograph=False)
    def transform_fn(inputs: dict[str, Any]) -> dict[str, Any]:
        mean, variance = constants
        size = inputs["size"]
        varies = tf.cast(tf.cast(tf.not_equal(variance, 0), tf.float32) + tf.zeros_like(size), tf.bool)
        with tf.control_dependencies([tf.debugging.assert_all_finite(size, "size")]):
            scaled = tf.where(varies, (size - mean) / tf.sqrt(variance), size - mean)
        rows = tf.stack([tf.shape(size)[0], 1])
        bounds = tf.tile(tf.constant([BOUNDARIES]), rows)
        return {
            "size_xf": scaled,
            "image": tf.reshape(tf.cast(inputs["pixels"], tf.float32) / 255.0, [-1, 2, 2, 1]),
            "pet_id": module.words.lookup(inputs["pet"]),
            "pet_or_new": module.oov.lookup(inputs["pet"]),
            "code_id": module.numbers.lookup(inputs["code"]),
            "bucket": tf.searchsorted(bounds, size[:, tf.newaxis], side="right")[:, 0],
            "bucket_left": tf.searchsorted(bounds, size[:, tf.newaxis], side="left")[:, 0],
            "hashed": tf.strings.to_hash_bucket_fast(inputs["pet"], 10),
            "visited": tf.sparse.to_dense(inputs["visits"])[:, :1],
            "label_xf": inputs["label"],
            "pet_name": inputs["pet"],
        }

    module.transform_fn = transform_fn
    tf.saved_model.save(module, str(uri / "transform_fn"), signatures=None)
    return uri


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return transform(tmp_path_factory.mktemp("transform") / "graph")


def model(**inputs: tuple[tuple[int, ...], str]) -> Any:
    """A dense layer of three on all inputs, side by side as floats."""
    import tf_keras as keras

    keras.utils.set_random_seed(3)
    tensors = {name: keras.Input(shape, name=name, dtype=dtype) for name, (shape, dtype) in inputs.items()}
    flat = [keras.layers.Flatten()(tensor) for tensor in tensors.values()]
    joined = keras.layers.Concatenate()(flat) if len(flat) > 1 else flat[0]
    return keras.Model(tensors, keras.layers.Dense(3, name="score")(joined))


def raw(generator: np.random.Generator, examples: int = 40) -> dict[str, np.ndarray]:
    sizes = generator.choice([*BOUNDARIES, -3.0, 1.2, 9.0], examples).astype(np.float32)
    return {
        "size": sizes,
        "pixels": generator.integers(0, 256, (examples, 4)),
        "pet": generator.choice(np.array([*(word.encode() for word in WORDS), b"gnu"], object), (examples, 1)),
        "code": generator.choice([*NUMBERS, 99], examples),
    }


EXAMPLES = raw(np.random.default_rng(5))


def baked(graph: Path, folder: Path, float_model: Any, **options: Any) -> tuple[Path, LiteModel]:
    preprocessing = Preprocessing(graph)
    with preprocessing.explained():
        before = preprocessing.before(source.of_model(float_model))
        made = convert.convert_source(before, batches=[EXAMPLES], **options)
    path = folder / "tflite"
    path.write_bytes(made.content)
    assert made.agreement.examples == len(EXAMPLES["size"])
    return path, inspect(path)


FLOAT, INTEGER = ((1,), "float32"), ((1,), "int64")
CASES = {
    "size_xf": (FLOAT, {"size"}),
    "image": (((2, 2, 1), "float32"), {"pixels"}),
    "pet_id": (FLOAT, {"pet"}),
    "pet_or_new": (FLOAT, {"pet"}),
    "code_id": (FLOAT, {"code"}),
    "bucket": (FLOAT, {"size"}),
    "bucket_left": (FLOAT, {"size"}),
}


@pytest.mark.parametrize("name", CASES)
def test_one_feature(name: str, graph: Path, tmp_path: Path) -> None:
    spec, features = CASES[name]
    _, found = baked(graph, tmp_path, model(**{name: spec}))
    assert {tensor.name for tensor in found.inputs} == features
    assert not found.flex_ops


@pytest.mark.parametrize("batch_size", [1, 4, None])
def test_all_features_together(batch_size: int | None, graph: Path, tmp_path: Path) -> None:
    whole = model(**{name: spec for name, (spec, _) in CASES.items()})
    path, found = baked(graph, tmp_path, whole, batch_size=batch_size)
    assert {tensor.name: tensor.dtype for tensor in found.inputs} == {
        "size": "float32",
        "pixels": "int64",
        "pet": "string",
        "code": "int64",
    }
    ids = {b"cat": 0, b"dog": 1, b"eel": 2}
    pets = np.array([ids.get(word, -1) for word in EXAMPLES["pet"].flat])
    codes = np.array([NUMBERS.index(code) if code in NUMBERS else -1 for code in EXAMPLES["code"]])
    by_hand = {
        "size_xf": (EXAMPLES["size"] - 3) / 2,
        "image": EXAMPLES["pixels"].reshape(-1, 2, 2, 1) / 255,
        "pet_id": pets,
        "pet_or_new": np.where(pets < 0, 3, pets),
        "code_id": codes,
        "bucket": np.searchsorted(BOUNDARIES, EXAMPLES["size"], side="right"),
        "bucket_left": np.searchsorted(BOUNDARIES, EXAMPLES["size"], side="left"),
    }
    shaped = {name: np.float32(by_hand[name]).reshape(-1, *CASES[name][0][0]) for name in CASES}
    (outputs,) = infer(path, [EXAMPLES])
    np.testing.assert_allclose(outputs["score"], whole.predict(shaped, verbose=0), atol=1e-4)


def test_scaling_is_folded_into_the_dense_layer(graph: Path, tmp_path: Path) -> None:
    _, found = baked(graph, tmp_path, model(size_xf=FLOAT))
    assert [op.name for op in found.subgraphs[0].ops] == ["FULLY_CONNECTED"]


def test_equal_graphs_give_equal_bytes(graph: Path, tmp_path: Path) -> None:
    float_model = model(pet_or_new=FLOAT, bucket=FLOAT)
    first, second = (baked(graph, tmp_path, float_model)[0].read_bytes() for _ in range(2))
    assert first == second


def test_samples_serve_where_there_are_no_examples(graph: Path) -> None:
    preprocessing = Preprocessing(graph)
    samples = preprocessing.samples()
    assert {b"cat", b"dog", b"eel", b"(unknown)"} == {*samples[0]["pet"].flat}
    before = preprocessing.before(source.of_model(model(pet_id=FLOAT, size_xf=FLOAT)))
    assert convert.convert_source(before, batches=samples).agreement.examples == 32


def test_operators_that_tflite_lacks_are_named_with_their_features(graph: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"StringToHashBucketFast for 'hashed', made of 'pet'\. Move that") as refused:
        baked(graph, tmp_path, model(hashed=FLOAT, size_xf=FLOAT))
    assert "size_xf" not in str(refused.value)


def test_they_are_accepted_when_allowed(graph: Path, tmp_path: Path) -> None:
    from tfx_edge.conversion.tf_converter import Operators

    before = Preprocessing(graph).before(source.of_model(model(hashed=FLOAT)))
    made = convert.convert_source(before, operators=Operators(tensorflow=True), batches=[EXAMPLES])
    path = tmp_path / "tflite"
    path.write_bytes(made.content)
    assert [op.name for op in inspect(path).flex_ops] == ["FlexStringToHashBucketFast"]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"visited": FLOAT}, "'visited' is made of 'visits', which may have any number of values"),
        ({"weight": FLOAT}, "the model's input 'weight' is not among the features that Transform gives"),
        ({"image": ((3,), "float32")}, r"Transform gives 'image' as float32 of shape \(2, 2, 1\)"),
        ({"pet_name": FLOAT}, "Transform gives 'pet_name' as string"),
    ],
)
def test_what_does_not_fit_is_refused(inputs: dict[str, Any], message: str, graph: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message):
        baked(graph, tmp_path, model(**inputs))


def test_no_transform_graph_there(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="transform_graph output of a Transform component"):
        Preprocessing(tmp_path)


def singles(names: tuple[str, ...]) -> list[dict[str, np.ndarray]]:
    return [{name: EXAMPLES[name][row : row + 1] for name in names} for row in range(len(EXAMPLES["size"]))]


def test_scaled_floats_become_whole_integer_models(graph: Path, tmp_path: Path) -> None:
    path, _ = baked(graph, tmp_path, model(size_xf=FLOAT))
    found = quantize(path, Recipe(preset="int8"), singles(("size",)))
    assert found.model.float_ops == ()
    assert [tensor.dtype for tensor in found.model.inputs] == ["int8"]


def test_other_preprocessing_stays_in_float_by_one_override(graph: Path, tmp_path: Path) -> None:
    names = ("size", "pixels", "pet")
    path, _ = baked(graph, tmp_path, model(image=((2, 2, 1), "float32"), bucket=FLOAT, pet_id=FLOAT))
    with pytest.raises(ModelError, match="CAST"):
        quantize(path, Recipe(preset="int8_float_io"), singles(names))
    recipe = Recipe.parse({"preset": "int8_float_io", "overrides": [{"layers": f"{SCOPE}/", "precision": "float32"}]})
    found = quantize(path, recipe, singles(names))
    assert [outcome.op for outcome in found.report.layers if outcome.got == "int8"].count("FULLY_CONNECTED") == 1
    quantized = tmp_path / "int8"
    quantized.write_bytes(found.content)
    (wanted,), (outputs,) = infer(path, [EXAMPLES]), infer(quantized, [EXAMPLES])
    largest = np.abs(wanted["score"]).max()
    assert np.abs(outputs["score"] - wanted["score"]).max() < 0.05 * largest
