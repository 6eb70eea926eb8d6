"""What is converted: entry points that can be traced with any batch, whatever they were made of.

A Keras model, the signatures of a SavedModel, and a model behind its preprocessing all become a `Source`. It is written
as a SavedModel for the converter, and its entry points are run to compare the ``.tflite`` with.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_edge.conversion import signature_order
from tfx_edge.devices.loaded_model import rows
from tfx_edge.errors import ModelError
from tfx_edge.models import saving, trainable

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

Batch = dict[str, np.ndarray]

MAIN = "serving_default"
_ASSIGNMENTS = frozenset({"AssignVariableOp", "AssignAddVariableOp", "AssignSubVariableOp"})


@dataclass(frozen=True)
class EntryPoint:
    """A function from tensors to tensors, both by name.

    Attributes:
      name: the key of its signature.
      call: takes tensors by keyword, gives a dict of tensors.
      specs: shape and type by input name. The first dimension is the batch: None where any will do.
      variants: the same function for one batch size alone, where it was traced so (a recurrent layer of a SavedModel).
    """

    name: str
    call: Callable[..., Mapping[str, tf.Tensor]]
    specs: Mapping[str, tf.TensorSpec]
    variants: Mapping[int, Callable[..., Mapping[str, tf.Tensor]]] = dataclasses.field(default_factory=dict)

    @property
    def fixed_batch(self) -> int | None:
        """The only batch size it takes, or None."""
        return next((spec.shape[0] for spec in self.specs.values() if spec.shape[0]), None)

    def written_specs(self, batch_size: int | None) -> list[tf.TensorSpec]:
        """The inputs with the batch filled in."""
        import tensorflow as tf

        return [
            tf.TensorSpec([batch_size, *spec.shape[1:]], spec.dtype, name=name) for name, spec in self.specs.items()
        ]

    def run(self, batch: Batch) -> Batch:
        """The outputs for any number of examples, or of a fixed batch for as many such batches as they fill."""
        size, examples = self.fixed_batch, len(next(iter(batch.values()), ()))
        if size in (None, examples):
            return self.invoke(batch)
        parts = [
            self.invoke({name: rows(values, start, size) for name, values in batch.items()})
            for start in range(0, examples, size)
        ]
        return {name: np.concatenate([part[name] for part in parts])[:examples] for name in parts[0]}

    def invoke(self, inputs: Batch) -> Batch:
        """The outputs of one call."""
        import tensorflow as tf

        tensors = {name: tf.constant(values, self.specs[name].dtype) for name, values in inputs.items()}
        return {name: np.asarray(value) for name, value in self.call(**tensors).items()}

    def check_batch(self, batch_size: int | None) -> None:
        """Raises ModelError when an input cannot have this batch size."""
        for name, spec in self.specs.items():
            if not spec.shape.rank:
                raise ModelError(
                    f"input {name!r} of signature {self.name!r} has no batch dimension: export it with one"
                )
            if spec.shape[0] not in (None, batch_size):
                raise ModelError(
                    f"input {name!r} of the SavedModel takes batches of {spec.shape[0]}, which cannot become "
                    f"{batch_size or 'any'}: set batch_size to {spec.shape[0]}, or export it with an open batch"
                )


@dataclass(frozen=True)
class Source:
    """Entry points that share their variables.

    Attributes:
      entry_points: the first one becomes the main graph of the ``.tflite``.
      tracked: what holds the variables, tables and files that the entry points use; anything that a ``tf.Module``
        tracks.
    """

    entry_points: tuple[EntryPoint, ...]
    tracked: Any

    @property
    def main(self) -> EntryPoint:
        """The entry point that tools run when nobody names one."""
        return self.entry_points[0]

    def write(self, directory: Path, batch_size: int | None) -> Written:
        """Writes a SavedModel with a signature for each entry point.

        Args:
          directory: where it goes.
          batch_size: the first dimension of every input, or None for any.

        Raises:
          ModelError: an input cannot have that batch size.
        """
        import tensorflow as tf

        for entry in self.entry_points:
            entry.check_batch(batch_size)
        names = tuple(entry.name for entry in self.entry_points)
        keys = signature_order.numbered(names)
        functions = {key: _traced(entry, batch_size) for key, entry in zip(keys, self.entry_points, strict=True)}
        module = tf.Module()
        module.tracked = self.tracked
        tf.saved_model.save(module, str(directory), signatures=functions)
        operations = {op for function in functions.values() for op in _operations(function)}
        return Written(
            directory,
            names,
            keys,
            quantization_aware=any(op.startswith("FakeQuant") for op in operations),
            state=State(module) if operations & _ASSIGNMENTS else None,
        )


@dataclass(frozen=True)
class Written:
    """A source as a SavedModel.

    Attributes:
      directory: where it lies.
      signatures: names of the signatures, in the order of the source's entry points.
      keys: what they are called in the SavedModel (see `tfx_edge.conversion.signature_order`).
      quantization_aware: it simulates quantization.
      state: the variables, where a call changes some on which later calls depend.
    """

    directory: Path
    signatures: tuple[str, ...]
    keys: tuple[str, ...]
    quantization_aware: bool
    state: State | None


class State:
    """The variables of a model as they were, to put them back after calls that change them."""

    def __init__(self, module: tf.Module) -> None:
        import tensorflow as tf

        found = tf.train.TrackableView(module).descendants()
        self._initial = [(item, item.numpy()) for item in found if isinstance(item, tf.Variable)]

    def reset(self) -> None:
        """Gives every variable its first value again."""
        for variable, value in self._initial:
            variable.assign(value)


def of_model(model: tf_keras.Model) -> Source:
    """A tf_keras model with named inputs as the signature ``serving_default``."""
    import tensorflow as tf

    names = saving.model_input_names(model)
    stateful = saving.recurrent_states(model)
    specs = {
        name: tf.TensorSpec([tensor.shape[0] if stateful else None, *tensor.shape[1:]], tensor.dtype)
        for name, tensor in zip(names, model.inputs, strict=True)
    }

    def call(**tensors: tf.Tensor) -> Mapping[str, tf.Tensor]:
        inputs = saving.pack_inputs(model, [tensors[name] for name in names])
        return saving.named_outputs(model(inputs, training=False), model.output_names)

    return Source((EntryPoint(MAIN, call, specs),), [*model.variables, *stateful])


def of_saved_model(loaded: Any, signatures: tuple[str, ...] | None = None) -> Source:
    """Signatures of a loaded SavedModel.

    Args:
      loaded: what ``tf.saved_model.load`` gave.
      signatures: their keys, the main one first; None takes ``serving_default``.

    Raises:
      ModelError: there is no such signature, or it takes strings, which no device can.
    """
    wanted = signatures or (MAIN,)
    lacking = [key for key in wanted if key not in loaded.signatures]
    if lacking:
        raise ModelError(
            f"the SavedModel has no signature {', '.join(map(repr, lacking))}: it has "
            f"{', '.join(map(repr, loaded.signatures)) or 'none'}"
        )
    for key in wanted:
        if _takes_strings(loaded.signatures[key]):
            others = ", ".join(repr(key) for key, other in loaded.signatures.items() if not _takes_strings(other))
            way_out = f"name another one in signatures ({others})" if others else trainable.SAVE_HINT
            raise ModelError(
                f"signature {key!r} of the SavedModel takes strings, such as serialized tf.Example, which cannot be "
                f"parsed on a device: {way_out}"
            )
    return Source(tuple(_of_signature(loaded, key) for key in wanted), loaded)


def _takes_strings(function: Any) -> bool:
    return any(spec.dtype.name == "string" for spec in function.structured_input_signature[1].values())


def _of_signature(loaded: Any, key: str) -> EntryPoint:
    function = loaded.signatures[key]
    batch_1 = loaded.signatures.get(saving.fixed_batch_signature(1)) if key == MAIN else None
    return EntryPoint(key, function, dict(function.structured_input_signature[1]), {1: batch_1} if batch_1 else {})


def _traced(entry: EntryPoint, batch_size: int | None) -> Any:
    import tensorflow as tf

    call = entry.variants.get(batch_size, entry.call) if batch_size else entry.call
    names = list(entry.specs)

    @tf.function(input_signature=entry.written_specs(batch_size), autograph=False)
    def serve(*tensors: tf.Tensor) -> Mapping[str, tf.Tensor]:
        return call(**dict(zip(names, tensors, strict=True)))

    return serve


def _operations(function: Any) -> Iterator[str]:
    graph = function.get_concrete_function().graph.as_graph_def()
    yield from (node.op for node in graph.node)
    yield from (node.op for body in graph.library.function for node in body.node_def)
