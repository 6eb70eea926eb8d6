"""How much of a model structured pruning removes, and how it is chosen."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tfx_edge.config import Config
from tfx_edge.pruning.settings import Pattern


class Structured(Config):
    """Whole filters, channels and units are removed; a smaller dense model comes out.

    Attributes:
      amount: share of what ``of`` names that is removed in all.
      of: ``"macs"`` (multiply-accumulates), ``"parameters"``, or ``"latency"``, which is measured on the machine that
        prunes.
      importance: what tells which channels matter least: the ``"l1"`` or ``"l2"`` norm of their filters, the scale of
        their ``"batch_norm"``, the distance to the other filters of the layer (``"geometric_median"``), or the loss
        that they would cost on training examples (``"taylor"``).
      ranking: ``"global"`` removes from any layer what costs the least importance for what it saves; ``"layer"``
        removes about the same share of every layer, and the least important channels of each.
      multiple_of: the number of channels that a layer keeps is a multiple of this; kernels compute in such steps.
      min_units: channels that a layer keeps at least.
      rounds: how often some is removed and the model trained after it; as large a share of what is left each time.
      layers: which layers lose channels.
    """

    kind: Literal["structured"]
    amount: float = Field(default=0.5, gt=0, lt=1)
    of: Literal["macs", "parameters", "latency"] = "macs"
    importance: Literal["l1", "l2", "batch_norm", "geometric_median", "taylor"] = "l2"
    ranking: Literal["global", "layer"] = "global"
    multiple_of: int = Field(default=8, ge=1)
    min_units: int = Field(default=8, ge=1)
    rounds: int = Field(default=1, ge=1)
    layers: Pattern = ".*"

    def share_of(self, number: int, kept: float = 1.0) -> float:
        """The share of what is left that a round is to remove.

        Args:
          number: of the round, counted from 0.
          kept: what the rounds before left, as a share of the whole.
        """
        wanted = (1 - self.amount) ** ((number + 1) / self.rounds)
        return max(0.0, 1 - wanted / kept)
