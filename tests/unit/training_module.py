"""User module of the training tests, and the stages that they train: a few numbers of two kinds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FEATURES, KINDS = 6, 3


def numbers(split: str) -> tuple[np.ndarray, np.ndarray]:
    """Points around three corners, and the number of the corner."""
    generator = np.random.default_rng(len(split))
    labels = generator.integers(0, KINDS, 96 if split == "train" else 48)
    return (generator.normal(size=(len(labels), FEATURES)) + np.eye(KINDS, FEATURES)[labels] * 2).astype("f4"), labels


def input_fn(files: list[str], fn_args: Any, batch_size: int) -> Any:
    import tensorflow as tf

    features, labels = numbers(files[0])
    return tf.data.Dataset.from_tensor_slices(({"x": features}, labels)).batch(batch_size)


def input_fn_of_odd_batches(files: list[str], fn_args: Any, batch_size: int) -> Any:
    return input_fn(files, fn_args, 7)


def build_student_fn(fn_args: Any) -> Any:
    return network(8)


def network(width: int) -> Any:
    """A classifier with dropout, which makes every step random."""
    import tf_keras

    inputs = tf_keras.Input((FEATURES,), name="x")
    x = tf_keras.layers.Dropout(0.3)(tf_keras.layers.Dense(width, activation="relu", name="hidden")(inputs))
    return tf_keras.Model(inputs, tf_keras.layers.Dense(KINDS, name="scores")(x))


def request(component: str, folder: Path, output: str, config: dict[str, Any]) -> Any:
    """What an executor would ask for: the model ``folder/trainer`` is the input, ``folder/output`` the output."""
    import json

    from tfx_edge.stages.child import Request

    return Request(
        component,
        inputs={"model": [str(folder / "trainer")]},
        outputs={"edge_model": [str(folder / output)]},
        properties={"config": json.dumps(config), "label_key": "label", "module_file": __file__},
        fn_args={
            "train_files": ["train"],
            "eval_files": ["eval"],
            "schema_path": None,
            "transform_graph_path": None,
            "base_model": str(folder / "trainer"),
            "custom_config": None,
            "examples": "[]",
        },
        payload_format="FORMAT_TF_EXAMPLE",
        state_dir=str(folder / "state"),
    )


def wait_for_a_file(request: Any, progress: Any) -> dict[str, Any]:
    """Work that says its process id and never ends."""
    import os
    import time

    Path(request.properties["pid_file"]).write_text(str(os.getpid()))
    while True:
        time.sleep(0.05)
