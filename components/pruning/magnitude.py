"""Magnitude pruning: the smallest weights become zero, at once or step by step while training goes on.

Method: M. Zhu and S. Gupta, "To prune, or not to prune" (2017); 2:4 as in A. Mishra et al., "Accelerating Sparse Deep
Neural Networks" (2021). tensorflow-model-optimization has neither a ranking over all layers, nor blocks or 2:4 in every
kind of layer that has them here, so the masks are our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf
import tf_keras

from tfx_edge.errors import ModelError
from tfx_edge.pruning import masks
from tfx_edge.pruning.constraint import Constraint
from tfx_edge.pruning.kernels import Kernel, check_patterns, kernels
from tfx_edge.pruning.settings import Magnitude

_UPDATES = 20
_POWER = 3
_TOLERANCE = 0.02


@dataclass(frozen=True)
class Target:
    """A kernel that is pruned.

    Attributes:
      position: among the kernels of the model.
      kernel: itself.
      share: of the zeros that it is to have in the end.
      ranked_together: the share is that of all kernels which are ranked together, and this one's may differ.
    """

    position: int
    kernel: Kernel
    share: float
    ranked_together: bool


@dataclass(frozen=True)
class Plan:
    """What is pruned, and what is not.

    Attributes:
      settings: how.
      pruned: the kernels.
      left: layers, or kernels of them, that match but stay whole, each with the reason.
    """

    settings: Magnitude
    pruned: tuple[Target, ...]
    left: dict[str, str] = field(default_factory=dict)

    @property
    def wanted(self) -> dict[str, float]:
        """The share of zeros that each layer is to have, or all that are ranked together have."""
        return {target.kernel.layer: target.share for target in self.pruned}

    @classmethod
    def of(cls, model: tf_keras.Model, settings: Magnitude) -> Plan:
        """Decides by the names and shapes of a model's kernels.

        Raises:
          ModelError: a pattern names no layer, an override names one that cannot be pruned as it asks, or there is
            nothing that can be pruned.
        """
        known = kernels(model)
        check_patterns(known, settings)
        pruned: list[Target] = []
        left: dict[str, str] = {}
        for position, kernel in enumerate(known):
            share = settings.sparsity_of(kernel.layer)
            why = _obstacle(kernel, settings) if share else None
            if why and settings.is_overridden(kernel.layer):
                raise ModelError(f"an override asks to prune layer {kernel.layer!r}, but {why}")
            if why:
                left.setdefault(kernel.layer, why)
            elif share:
                together = settings.ranking == "global" and not settings.is_overridden(kernel.layer)
                pruned.append(Target(position, kernel, share, together))
        if not pruned:
            reasons = "; ".join(f"{name}: {why}" for name, why in left.items()) or "every override asks for 0"
            raise ModelError(f"nothing can be pruned: {reasons}")
        return cls(settings, tuple(pruned), left)


def _obstacle(kernel: Kernel, settings: Magnitude) -> str | None:
    shape = tuple(kernel.variable.shape)
    if settings.pattern == "2:4":
        if kernel.input_axis is None:
            return f"pattern '2:4' needs one dimension of inputs, which its {kernel.name} {shape} does not have"
        if shape[kernel.input_axis] < 4:
            return f"pattern '2:4' needs four inputs, and its {kernel.name} {shape} has {shape[kernel.input_axis]}"
    if settings.block_size:
        blocks = masks.Blocks(shape, settings.block_size)
        if any(have < need for have, need in zip(blocks.matrix, settings.block_size, strict=True)):
            return f"its {kernel.name} {shape} is smaller than a block of {settings.block_size}"
        if blocks.matrix == settings.block_size:
            return f"its {kernel.name} {shape} is a single block of {settings.block_size}"
    return None


class Pruning(Constraint):
    """Zeroes the weights of a plan while the model is trained.

    Args:
      plan: what to prune.
      steps: training steps of an epoch.
      epochs: of the training.

    Attributes:
      end_step: how many steps it takes until the last zeros are there.
    """

    def __init__(self, plan: Plan, steps: int, epochs: int) -> None:
        super().__init__([target.kernel.variable for target in plan.pruned])
        self.plan = plan
        self.steps = steps
        gradual = plan.settings.schedule == "polynomial"
        self.end_step = max(1, int(steps * epochs * plan.settings.ramp)) if gradual else 0
        self._kept = [tf.Variable(tf.ones(variable.shape, tf.bool), trainable=False) for variable in self.variables]

    def begin(self, epoch: int) -> None:
        """Draws the first masks, or finds them in the zeros of a training that goes on."""
        if epoch:
            self._keep([target.kernel.values != 0 for target in self.plan.pruned])
        else:
            self._keep(draw(self.plan, self.progressed(0)))

    def step(self, epoch: int, batch: int) -> None:
        """Draws new masks every now and then, until the last share is reached."""
        done = epoch * self.steps + batch + 1
        if done <= self.end_step and (done == self.end_step or done % max(1, self.end_step // _UPDATES) == 0):
            self._keep(draw(self.plan, self.progressed(done)))

    def project(self) -> list[tf.Tensor]:
        """The weights with zeros where none is kept."""
        return [
            tf.where(kept, variable, tf.zeros_like(variable))
            for variable, kept in zip(self.variables, self._kept, strict=True)
        ]

    def progressed(self, done: int) -> float:
        """How much of the way to the last share is behind after so many steps, 0 to 1."""
        return 1.0 if done >= self.end_step else 1 - (1 - done / self.end_step) ** _POWER

    def _keep(self, kept: Sequence[np.ndarray]) -> None:
        for mask, found in zip(self._kept, kept, strict=True):
            mask.assign(found)


def draw(plan: Plan, progressed: float = 1.0) -> list[np.ndarray]:
    """True for each weight that stays, kernel by kernel.

    Args:
      plan: what is pruned.
      progressed: how much of the way from the initial to the final sparsity is behind.
    """
    settings = plan.settings
    scores = [np.abs(target.kernel.values) for target in plan.pruned]
    if settings.pattern == "2:4":
        axes = [target.kernel.input_axis for target in plan.pruned]
        return [masks.two_of_four(score, axis) for score, axis in zip(scores, axes, strict=True) if axis is not None]
    blocks = [_blocks(target.kernel, settings) for target in plan.pruned]
    units = [block.reduced(score) if block else score for block, score in zip(blocks, scores, strict=True)]
    shares = [_share_at(target.share, settings.initial_sparsity, progressed) for target in plan.pruned]
    kept = [masks.smallest_go(unit, share) for unit, share in zip(units, shares, strict=True)]
    together = [number for number, target in enumerate(plan.pruned) if target.ranked_together]
    if together:
        ranked = masks.smallest_of_all_go([units[number] for number in together], shares[together[0]])
        for number, mask in zip(together, ranked, strict=True):
            kept[number] = mask
    return [block.expanded(mask) if block else mask for block, mask in zip(blocks, kept, strict=True)]


def _share_at(final: float, initial: float, progressed: float) -> float:
    return final if final <= initial else initial + (final - initial) * progressed


def _blocks(kernel: Kernel, settings: Magnitude) -> masks.Blocks | None:
    return masks.Blocks(tuple(kernel.variable.shape), settings.block_size) if settings.block_size else None


def sparsity(model: tf_keras.Model) -> dict[str, float]:
    """Share of exact zeros in the kernels of each layer, 0 to 1."""
    zeros: dict[str, list[np.ndarray]] = {}
    for kernel in kernels(model):
        zeros.setdefault(kernel.layer, []).append((kernel.values == 0).ravel())
    return {layer: float(np.mean(np.concatenate(parts))) for layer, parts in zeros.items()}


def overall(model: tf_keras.Model) -> float:
    """Share of exact zeros in all kernels, 0 to 1."""
    zeros = [(kernel.values == 0).ravel() for kernel in kernels(model)]
    return float(np.mean(np.concatenate(zeros))) if zeros else 0.0


def check(model: tf_keras.Model, plan: Plan) -> dict[str, float]:
    """Checks that a model has the zeros that a plan asks for, in its pattern.

    Args:
      model: the one that was pruned, or what was read back from where it was saved.
      plan: what was asked.

    Returns:
      What `sparsity` says.

    Raises:
      ModelError: a kernel, or under ranking ``"global"`` all of them, has fewer zeros than asked, or in other places.
    """
    known, settings = kernels(model), plan.settings
    together, wanted = [], 0.0
    for target in plan.pruned:
        kernel = known[target.position]
        zeros = _zero_units(kernel, settings)
        if settings.pattern == "2:4":
            if not zeros.all():
                raise ModelError(f"{kernel} has four neighbours with fewer than two zeros: 2:4 pruning failed")
        elif target.ranked_together:
            together.append(zeros.ravel())
            wanted = target.share
        elif zeros.mean() < target.share - max(_TOLERANCE, 1 / zeros.size):
            raise _short(str(kernel), float(zeros.mean()), target.share)
    if together:
        share = float(np.mean(np.concatenate(together)))
        if share < wanted - _TOLERANCE:
            raise _short("the layers that are ranked together", share, wanted)
    return sparsity(model)


def _zero_units(kernel: Kernel, settings: Magnitude) -> np.ndarray:
    """True for each weight, block or half of four that is zero."""
    zero = kernel.values == 0
    if kernel.input_axis is not None and settings.pattern == "2:4":
        return zero | masks.two_of_four((~zero).astype(float), kernel.input_axis)
    blocks = _blocks(kernel, settings)
    return blocks.reduced(zero.astype(float)) == 1 if blocks else zero


def _short(what: str, found: float, wanted: float) -> ModelError:
    return ModelError(f"{what} ended at sparsity {found:.3f} where {wanted:.3f} was asked: exclude it by layers")
