"""User module of Transform, as TFX's templates write it."""

from __future__ import annotations

from typing import Any

import tensorflow_transform as tft

FEATURE_KEYS = ["alcohol", "malic_acid", "flavanoids", "color_intensity", "hue", "proline"]
LABEL_KEY = "cultivar"


def preprocessing_fn(inputs: dict[str, Any]) -> dict[str, Any]:
    outputs = {f"{key}_xf": tft.scale_to_z_score(inputs[key]) for key in FEATURE_KEYS}
    outputs[f"{LABEL_KEY}_xf"] = inputs[LABEL_KEY]
    return outputs
