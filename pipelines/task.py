"""What the presets' pipeline and the table need to know of a task: its data, its model and what may be lost."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tfx_edge.pipelines
from tfx_edge.errors import ConfigError
from tfx_edge.quantization.recipe import PRESETS

BASELINE = "float32"
TRAINED = "qat_int8"
RECOVERED = "int8_recovered"
SIZE_RATIOS = {"int8": 0.3, "qat_int8": 0.3, RECOVERED: 0.3, "int4_weights": 0.2, "int4_blockwise": 0.2}
"""How large a variant may be, as a share of the float file."""


@dataclass(frozen=True)
class Task:
    """A task with real data, trained for real. It is importable without TensorFlow.

    Attributes:
      name: of its package below ``tfx_edge.pipelines``, whose module ``task`` holds it as ``TASK``.
      title: what people call it.
      write_examples: writes ``train/*.tfrecord`` and ``eval/*.tfrecord``, two disjoint splits, below a directory.
      module: dotted name of the user's module: ``preprocessing_fn``, ``run_fn``, and what else a TFX user may define.
        Its ``run_fn`` finds ``epochs`` in ``custom_config``.
      epochs: of Trainer.
      label_key: the label among the transformed features.
      metric: the quality metric of the table.
      min_quality: the least of it that the float model must have to be blessed.
      max_drop: how much of it a variant may lose against the float model to be blessed.
      max_size_ratio: what a preset's file may be at most, as a share of the float file, to be blessed.
      fetch: gets the data onto this machine, for ``make data``; None where it comes with the dependencies.
      pushed: the preset whose model is pushed when it is blessed.
      training: configuration of the Quantizer that trains quantization-aware, beside its recipe.
      gate: configuration of every EdgeEvaluator, beside its thresholds.
      recipes: recipes that depart from a bare preset, by preset.
      recovery: the Quantizer's ``recovery`` for one more variant, int8 recovered by mixed precision.
      inapplicable: why, for each preset that cannot be had.
    """

    name: str
    title: str
    write_examples: Callable[[Path], None]
    module: str
    epochs: int
    label_key: str = "label"
    metric: str = "accuracy"
    min_quality: float = 0.9
    max_drop: float = 0.01
    max_size_ratio: Mapping[str, float] = field(default_factory=lambda: SIZE_RATIOS)
    fetch: Callable[[], None] | None = None
    pushed: str = "int8"
    training: Mapping[str, Any] = field(default_factory=dict)
    gate: Mapping[str, Any] = field(default_factory=dict)
    recipes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recovery: Mapping[str, Any] | None = None
    inapplicable: Mapping[str, str] = field(default_factory=dict)

    @property
    def variants(self) -> tuple[str, ...]:
        """What the table shows: every preset, and int8 recovered where the task asks for it."""
        return (*PRESETS, *([RECOVERED] if self.recovery is not None else []))


def names() -> list[str]:
    """The packages below ``tfx_edge.pipelines`` that hold a task, sorted."""
    packages = [each.name for each in pkgutil.iter_modules(tfx_edge.pipelines.__path__) if each.ispkg]
    return sorted(name for name in packages if importlib.util.find_spec(f"tfx_edge.pipelines.{name}.task"))


def load(name: str) -> Task:
    """The task of a package.

    Raises:
      ConfigError: there is no such task.
    """
    if name not in names():
        raise ConfigError(f"there is no task {name!r}; there are {', '.join(names())}")
    return importlib.import_module(f"tfx_edge.pipelines.{name}.task").TASK
