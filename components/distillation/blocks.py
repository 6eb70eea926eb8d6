"""The blocks of which a network is a chain, and which of them repeat one another."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf
import tf_keras

from tfx_edge.errors import ModelError


@dataclass
class Block:
    """A layer with weights, or layers in parallel, and what follows them without weights and keeps the shape.

    Attributes:
      before: shape of what comes in.
      after: shape of what comes out.
      layers: all layers in between.
      learns: whether there are kernels among them.
      shared: whether a layer is used elsewhere too.
    """

    before: tuple[int | None, ...]
    after: tuple[int | None, ...]
    layers: list[str] = field(default_factory=list)
    learns: bool = False
    shared: bool = False

    @property
    def repeats(self) -> bool:
        """Whether the network works without it: shapes agree."""
        return self.learns and self.before == self.after and not self.shared


def superfluous(model: tf_keras.Model, depth: float) -> set[str]:
    """Layers to leave out so that a share of the blocks of each stage stays.

    A stage is a block and the blocks behind it that give what they take in, in shape. Its first block stays, and
    the last ones go. The block with the output stays.

    Args:
      model: a Functional model without models inside.
      depth: the share that stays, rounded up.

    Raises:
      ModelError: no block can go.
    """
    blocks = list(_blocks(model))
    dropped: set[str] = set()
    for stage in _stages(blocks):
        kept = max(1, math.ceil(len(stage) * depth - 1e-9))
        for block in stage[kept:]:
            dropped.update(block.layers)
    if not dropped:
        shapes = "; ".join(f"{' + '.join(block.layers)}: {block.before} to {block.after}" for block in blocks)
        raise ModelError(
            f"depth {depth:g} drops nothing: no block repeats the shape of the one before ({shapes}). Give a width, or "
            "define build_student_fn(fn_args) instead of student"
        )
    return dropped


def _stages(blocks: list[Block]) -> Iterator[list[Block]]:
    stage: list[Block] = []
    for block in blocks[:-1]:
        if not (block.repeats and stage):
            yield stage
            stage = []
        stage.append(block)
    yield stage


def _blocks(model: tf_keras.Model) -> Iterator[Block]:
    block: Block | None = None
    for piece in _pieces(model):
        if block is None:
            block = piece
        elif block.learns and (piece.learns or piece.before != piece.after):
            yield block
            block = piece
        else:
            block = Block(
                block.before,
                piece.after,
                block.layers + piece.layers,
                block.learns or piece.learns,
                block.shared or piece.shared,
            )
    if block:
        yield block


def _pieces(model: tf_keras.Model) -> Iterator[Block]:
    """The parts between two tensors through which everything goes."""
    nodes = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
    nodes = [node for node in nodes if not node.is_input]
    uses = {str(id(tensor)): 0 for tensor in model.inputs}
    for node in nodes:
        for tensor in node.keras_inputs:
            uses[str(id(tensor))] = uses.get(str(id(tensor)), 0) + 1
    for tensor in model.outputs:
        uses[str(id(tensor))] = uses.get(str(id(tensor)), 0) + 1
    own = [node.layer.name for node in nodes]
    living = {str(id(tensor)) for tensor in model.inputs}
    before = tuple(model.inputs[0].shape)
    part = Block(before, before)
    for node in nodes:
        part.layers.append(node.layer.name)
        part.learns |= _has_kernel(node.layer)
        part.shared |= own.count(node.layer.name) > 1
        for tensor in node.keras_inputs:
            key = str(id(tensor))
            uses[key] -= 1
            if not uses[key]:
                living.discard(key)
        outputs: list[Any] = tf.nest.flatten(node.outputs)
        living |= {str(id(tensor)) for tensor in outputs if uses.get(str(id(tensor)))}
        if len(living) == 1 and len(outputs) == 1 and str(id(outputs[0])) in living:
            part.after = tuple(outputs[0].shape)
            yield part
            part = Block(part.after, part.after)
    if part.layers:
        part.after = ()
        yield part


def _has_kernel(layer: Any) -> bool:
    """Whether the layer has weights that mix channels or positions: a normalization has not."""
    return any(weight.shape.rank > 1 for weight in layer.trainable_weights)
