"""User module that gives tfx-edge's components the architecture of the stock Trainer's model, in tf_keras."""

from __future__ import annotations

import tf_keras
from tfx.components.trainer.fn_args_utils import FnArgs

FEATURE_KEYS = ["alcohol", "malic_acid", "flavanoids", "color_intensity", "hue", "proline"]


def build_model_fn(fn_args: FnArgs) -> tf_keras.Model:
    inputs = [tf_keras.Input((1,), name=f"{key}_xf") for key in FEATURE_KEYS]
    d = tf_keras.layers.concatenate(inputs)
    for _ in range(2):
        d = tf_keras.layers.Dense(16, activation="relu")(d)
    return tf_keras.Model(inputs=inputs, outputs=tf_keras.layers.Dense(3)(d))
