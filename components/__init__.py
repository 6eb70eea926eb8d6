"""tfx-edge: TFX components that make a trained model small and let it pass only when it is measured to be.

Importing this package is cheap: TFX and TensorFlow are imported only when a component is first named.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tfx_edge.artifacts import EdgeReport as EdgeReport
    from tfx_edge.distiller.component import Distiller as Distiller
    from tfx_edge.edge_evaluator.component import EdgeEvaluator as EdgeEvaluator
    from tfx_edge.lite_converter.component import LiteConverter as LiteConverter
    from tfx_edge.merger.component import Merger as Merger
    from tfx_edge.models.saving import save_trainable as save_trainable
    from tfx_edge.pruner.component import Pruner as Pruner
    from tfx_edge.quantizer.component import Quantizer as Quantizer

_EXPORTS = {
    "Distiller": "tfx_edge.distiller.component",
    "EdgeEvaluator": "tfx_edge.edge_evaluator.component",
    "EdgeReport": "tfx_edge.artifacts",
    "LiteConverter": "tfx_edge.lite_converter.component",
    "Merger": "tfx_edge.merger.component",
    "Pruner": "tfx_edge.pruner.component",
    "Quantizer": "tfx_edge.quantizer.component",
    "save_trainable": "tfx_edge.models.saving",
}

__all__ = sorted(_EXPORTS)


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'tfx_edge' has no attribute {name!r}")
    value = getattr(importlib.import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
