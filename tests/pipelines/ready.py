"""Artifacts that a pipeline can begin with: scikit-learn's wine data as examples, and a small model trained on it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LABEL_KEY = "cultivar"
SPLITS = '["train", "eval"]'
_SCHEMA = """
feature { name: "measures" type: FLOAT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 13 } } }
feature { name: "cultivar" type: INT presence { min_fraction: 1 min_count: 1 } shape { dim { size: 1 } } }
"""


@dataclass(frozen=True)
class Ready:
    """Folders of artifacts.

    Attributes:
      examples: with the splits ``train`` and ``eval``.
      schema: of these examples.
      model: a trainable stage.
      lite: the same model as a float lite stage.
    """

    examples: Path
    schema: Path
    model: Path
    lite: Path


def make(folder: Path) -> Ready:
    """Writes the artifacts below a folder. Takes some ten seconds, most of them to import TensorFlow."""
    import tensorflow as tf
    import tf_keras
    from sklearn import datasets, preprocessing

    from tfx_edge.conversion import source
    from tfx_edge.conversion.convert import convert_source
    from tfx_edge.lite.bundle import write_bundle
    from tfx_edge.models import saving

    ready = Ready(*(folder / name for name in ("examples", "schema", "model", "lite")))
    measures, labels = datasets.load_wine(return_X_y=True)
    measures = preprocessing.scale(measures).astype("float32")
    for split, rows in (("train", slice(0, None, 2)), ("eval", slice(1, None, 2))):
        file = ready.examples / f"Split-{split}" / "data_tfrecord-00000-of-00001.gz"
        file.parent.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(file), tf.io.TFRecordOptions(compression_type="GZIP")) as writer:
            for row, label in zip(measures[rows], labels[rows], strict=True):
                values = {
                    "measures": tf.train.Feature(float_list=tf.train.FloatList(value=row)),
                    LABEL_KEY: tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=values))
                writer.write(example.SerializeToString())
    ready.schema.mkdir()
    (ready.schema / "schema.pbtxt").write_text(_SCHEMA)
    tf_keras.utils.set_random_seed(0)
    inputs = tf_keras.Input((measures.shape[1],), name="measures")
    hidden = tf_keras.layers.Dense(32, activation="relu")(inputs)
    model = tf_keras.Model(inputs, tf_keras.layers.Dense(3, name="scores")(hidden))
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(tf_keras.optimizers.Adam(0.01), loss)
    model.fit(measures[::2], labels[::2], epochs=20, verbose=0)
    saving.save_stage(model, ready.model, [])
    content = convert_source(source.of_model(model)).content
    write_bundle(ready.lite, content, [{"component": "LiteConverter", "recipe": {}}], str(ready.model), None)
    return ready
