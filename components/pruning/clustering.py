"""Weight clustering: the weights of a kernel share few values, which compress well.

Method: S. Han, H. Mao and W. Dally, "Deep Compression" (2016): k-means in one dimension from evenly spaced centroids,
then training in which weights of one cluster move together. tensorflow-model-optimization does the like with wrappers
that hold centroids and assignments of their own; here both are in the weights themselves, so that a training can go on
from them. The benchmark in docs/pruner.md compares the two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf
import tf_keras

from tfx_edge.errors import ModelError
from tfx_edge.pruning.constraint import Constraint
from tfx_edge.pruning.kernels import Kernel, check_patterns, kernels
from tfx_edge.pruning.settings import Clusters

_SPARSE = 0.05
_ROUNDS = 100


@dataclass(frozen=True)
class Target:
    """A kernel that is clustered.

    Attributes:
      position: among the kernels of the model.
      kernel: itself.
      number: of the distinct values that it may have, zero included.
      zeros: True for each weight that must stay zero; None where nothing must.
    """

    position: int
    kernel: Kernel
    number: int
    zeros: np.ndarray | None

    @property
    def centroids(self) -> int:
        """The number of values beside the zero that is kept."""
        return self.number if self.zeros is None else self.number - 1


@dataclass(frozen=True)
class Plan:
    """What is clustered, and what is not.

    Attributes:
      clustered: the kernels.
      left: layers that match but stay as they are, each with the reason.
    """

    clustered: tuple[Target, ...]
    left: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: tf_keras.Model, settings: Clusters) -> Plan:
        """Decides by the names, shapes and zeros of a model's kernels.

        Raises:
          ModelError: a pattern names no layer, or there is nothing that can be clustered.
        """
        known = kernels(model)
        check_patterns(known, settings)
        clustered: list[Target] = []
        left: dict[str, str] = {}
        for position, kernel in enumerate(known):
            number = settings.number_of(kernel.layer)
            if number is None:
                continue
            values = kernel.values
            if np.unique(values).size <= number:
                left.setdefault(kernel.layer, f"its {kernel.name} has no more than {number} values as it is")
                continue
            zero = values == 0
            kept = zero if settings.preserve_sparsity and zero.mean() >= _SPARSE else None
            clustered.append(Target(position, kernel, number, kept))
        if not clustered:
            reasons = "; ".join(f"{name}: {why}" for name, why in left.items()) or "every override leaves its layers"
            raise ModelError(f"nothing can be clustered: {reasons}")
        return cls(tuple(clustered), left)


class Clustering(Constraint):
    """Lets the weights of a cluster move together while the model is trained.

    Args:
      plan: what to cluster.
    """

    def __init__(self, plan: Plan) -> None:
        super().__init__([target.kernel.variable for target in plan.clustered])
        self.plan = plan
        self._members: list[tf.Variable] = [
            tf.Variable(tf.zeros(variable.shape, tf.int32), trainable=False) for variable in self.variables
        ]

    def begin(self, epoch: int) -> None:
        """Finds the clusters, or those of a training that goes on: its distinct values."""
        for target, members in zip(self.plan.clustered, self._members, strict=True):
            values = target.kernel.values
            if not epoch:
                values = share_values(values, target.centroids, target.zeros)
                target.kernel.variable.assign(values)
            members.assign(_numbered(values, target.zeros))

    def project(self) -> list[tf.Tensor]:
        """Every weight as the mean of its cluster; zeros that are kept are cluster 0."""
        found = []
        for target, variable, members in zip(self.plan.clustered, self.variables, self._members, strict=True):
            numbers = tf.reshape(members, [-1])
            means = tf.math.unsorted_segment_mean(tf.reshape(variable, [-1]), numbers, target.number)
            if target.zeros is not None:
                means = tf.concat([tf.zeros_like(means[:1]), means[1:]], 0)
            found.append(tf.reshape(tf.gather(means, numbers), variable.shape))
        return found


def share_values(values: np.ndarray, number: int, zeros: np.ndarray | None = None) -> np.ndarray:
    """The weights with each replaced by the centroid of its cluster.

    Args:
      values: of any shape.
      number: of clusters, at most; those beside the zeros.
      zeros: True for each weight that is zero in the result and belongs to no cluster.
    """
    shared = np.zeros_like(values)
    moving = np.ones(values.shape, bool) if zeros is None else ~zeros
    flat = values[moving]
    centroids = _k_means(flat.astype(np.float64), number)
    shared[moving] = centroids[_nearest(flat, centroids)]
    return shared


def _k_means(values: np.ndarray, number: int) -> np.ndarray:
    centroids = np.linspace(values.min(), values.max(), number)
    for _ in range(_ROUNDS):
        members = _nearest(values, centroids)
        counts = np.bincount(members, minlength=number)
        means = np.bincount(members, values, number) / np.maximum(counts, 1)
        moved = np.where(counts > 0, means, centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def _nearest(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """The number of the nearest centroid, which are in order, since means of neighbouring intervals are."""
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values)


def _numbered(values: np.ndarray, zeros: np.ndarray | None) -> np.ndarray:
    if zeros is None:
        return np.unique(values, return_inverse=True)[1].reshape(values.shape)
    numbers = np.zeros(values.shape, np.int64)
    numbers[~zeros] = 1 + np.unique(values[~zeros], return_inverse=True)[1].reshape(-1)
    return numbers


def clusters(model: tf_keras.Model) -> dict[str, int]:
    """Number of distinct values in the kernels of each layer; the most of them where it has several."""
    found: dict[str, int] = {}
    for kernel in kernels(model):
        found[kernel.layer] = max(found.get(kernel.layer, 0), int(np.unique(kernel.values).size))
    return found


def check(model: tf_keras.Model, plan: Plan) -> dict[str, int]:
    """Checks that a model's kernels have no more values than a plan allows, and the zeros that it keeps.

    Args:
      model: the one that was clustered, or what was read back from where it was saved.
      plan: what was asked.

    Returns:
      What `clusters` says.

    Raises:
      ModelError: a kernel has more values, or lost a zero.
    """
    known: Sequence[Kernel] = kernels(model)
    for target in plan.clustered:
        kernel = known[target.position]
        values = kernel.values
        if np.unique(values).size > target.number:
            raise ModelError(f"{kernel} has {np.unique(values).size} values where {target.number} were asked")
        if target.zeros is not None and np.any(values[target.zeros]):
            raise ModelError(f"{kernel} lost zeros that it had before it was clustered")
    return clusters(model)
