"""Which channels go: the least important ones of each block, from which block step by step until the cost is right."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tfx_edge.pruning.structured.counts import Counts
from tfx_edge.pruning.structured.dependencies import Block

Ranking = Literal["global", "layer"]
Levels = tuple[int, ...]
"""For each block, which of its ``lengths`` it has."""


@dataclass(frozen=True)
class Choice:
    """A number of channels for every block.

    Attributes:
      removed: numbers of the groups that go.
      cost: what is left of the cost.
    """

    removed: np.ndarray
    cost: float


class Descent:
    """The way from the whole model to the smallest one, a step of one block at a time.

    ``"global"`` takes the step that loses least for each unit of cost that it saves. What a layer loses is by how much
    the logarithm of its importance falls, so that its last channels are dear: by the importance itself, the layers that
    compute most would be taken down to their smallest first. ``"layer"`` takes the step of the block of which the
    largest share is left after it.

    Args:
      blocks: of the model.
      scores: importance of each group.
      counts: the cost that steps save.
      ranking: how the next step is chosen.
    """

    def __init__(self, blocks: tuple[Block, ...], scores: np.ndarray, counts: Counts, ranking: Ranking) -> None:
        self.blocks = blocks
        self.counts = counts
        self.ranking = ranking
        self.scores = scores
        self.orders = [block.groups[np.argsort(scores[block.groups], kind="stable")] for block in blocks]
        self.levels: Levels = (0,) * len(blocks)
        self.lengths = counts.lengths(np.array([], np.int64))
        self.cost = counts.total(self.lengths)

    def step_down(self, until: float) -> bool:
        """Takes the next step, to a cost not below ``until`` where it can; False where no step brings it nearer."""
        steps = [step for number in range(len(self.blocks)) for step in self._step(number)]
        if not steps:
            return False
        best = min(steps, key=lambda step: step.rank)
        if best.cost < until:
            best = min(steps, key=lambda step: abs(step.cost - until))
            if abs(best.cost - until) >= abs(self.cost - until):
                return False
        self.levels, self.lengths, self.cost = best.levels, best.lengths, best.cost
        return True

    def removed(self, levels: Levels) -> np.ndarray:
        """The groups that are gone at certain levels."""
        gone = [
            order[: len(order) - block.lengths[level]]
            for block, order, level in zip(self.blocks, self.orders, levels, strict=True)
        ]
        return np.concatenate(gone)

    def _step(self, number: int) -> Iterator[_Step]:
        block, order, level = self.blocks[number], self.orders[number], self.levels[number]
        if level + 1 == len(block.lengths):
            return
        now, then = (len(order) - block.lengths[at] for at in (level, level + 1))
        gone = order[now:then]
        lengths = self.lengths - np.append(self.counts.positions[:, gone].sum(axis=1), 0)
        cost = self.counts.total(lengths)
        if self.ranking == "layer":
            rank = -block.lengths[level + 1] / len(order)
        else:
            importance = self.scores[order]
            lost = math.log(_positive(importance[now:])) - math.log(_positive(importance[then:]))
            rank = len(block.layers) * lost / max(self.cost - cost, 1)
        yield _Step((*self.levels[:number], level + 1, *self.levels[number + 1 :]), lengths, cost, rank)


def _positive(scores: np.ndarray) -> float:
    return max(float(scores.sum()), float(np.finfo(float).tiny))


@dataclass(frozen=True)
class _Step:
    levels: Levels
    lengths: np.ndarray
    cost: int
    rank: float


def by_count(descent: Descent, share: float) -> Choice:
    """Removes a share of the counted cost, to the nearest possible step."""
    wanted = (1 - share) * descent.cost
    while descent.cost > wanted and descent.step_down(wanted):
        pass
    return Choice(descent.removed(descent.levels), descent.cost)


def by_measurement(descent: Descent, share: float, measure: Callable[[np.ndarray], float]) -> tuple[Choice, float]:
    """Removes a share of a measured cost, which is taken to fall along the descent, so that few models are measured.

    Args:
      descent: by a cost that can be counted.
      share: of the measured cost.
      measure: the cost without the groups of given numbers.

    Returns:
      The choice, and the cost of the whole.
    """
    way = [descent.levels]
    while descent.step_down(0):
        way.append(descent.levels)
    known: dict[int, float] = {}

    def cost(step: int) -> float:
        if step not in known:
            known[step] = measure(descent.removed(way[step]))
        return known[step]

    wanted = (1 - share) * cost(0)
    high, low = 0, len(way) - 1
    while low - high > 1:
        middle = (high + low) // 2
        if cost(middle) > wanted:
            high = middle
        else:
            low = middle
    nearest = min((high, low), key=lambda step: abs(cost(step) - wanted))
    return Choice(descent.removed(way[nearest]), cost(nearest)), cost(0)
