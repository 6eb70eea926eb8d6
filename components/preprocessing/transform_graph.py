"""Reads the graph that TFX's Transform left, takes the part that some outputs need, and puts it into another graph.

Only TensorFlow is needed: importing tensorflow_transform takes longer than a conversion. The layout is that of its
``TFTransformOutput``: a SavedModel in ``transform_fn`` with one function, from a dict of raw features to a dict of
transformed ones.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfx_edge.errors import ModelError
from tfx_edge.preprocessing import portable_ops
from tfx_edge.preprocessing.graph_splice import Splice

if TYPE_CHECKING:
    import tensorflow as tf

_PLUMBING = frozenset({"Placeholder", "Identity", "Const", "NoOp"})


class TransformGraph:
    """A loaded Transform graph.

    Attributes:
      inputs: what it takes by the name of the raw feature: a TensorSpec, or for a feature of varying length a
        SparseTensorSpec or RaggedTensorSpec. The first dimension is the batch.
      loaded: the SavedModel, which owns the vocabularies.
    """

    def __init__(self, uri: str | Path) -> None:
        """Loads it.

        Args:
          uri: the TransformGraph artifact's uri.

        Raises:
          ModelError: there is no such graph, it cannot be loaded, or it was written for TensorFlow 1.
        """
        self.loaded = _load(Path(uri, "transform_fn"))
        function = getattr(self.loaded, "transform_fn", None)
        if function is None:
            raise ModelError(
                f"{uri} holds a Transform graph in the format of TensorFlow 1: run Transform with "
                "force_tf_compat_v1=False, its default"
            )
        (function,) = getattr(function, "concrete_functions", None) or (function,)
        self._graph = function.graph
        self.inputs: Mapping[str, tf.TypeSpec] = function.structured_input_signature[0][0]
        self._outputs = _components(self._graph.structured_outputs, self._graph.outputs)
        self._placeholders = _components(self.inputs, self._graph.inputs[: -len(self._graph.captures) or None])
        self._captured = {inside.name: outside for outside, inside in self._graph.captures}

    @property
    def outputs(self) -> tuple[str, ...]:
        """The features it gives."""
        return tuple(self._outputs)

    def needs(self, outputs: Iterable[str]) -> tuple[str, ...]:
        """The raw features that some outputs are computed from, in the order of ``inputs``."""
        sources = self._ancestors(tensor for name in outputs for tensor in self._outputs[name])
        return tuple(
            name for name, tensors in self._placeholders.items() if any(tensor.op.name in sources for tensor in tensors)
        )

    def operators(self, output: str) -> frozenset[str]:
        """The types of the operators behind one output, those inside of loops and branches included."""
        found = {op.type for op in self._ancestors(self._outputs[output]).values()}
        library = {function.signature.name: function for function in self._definition.library.function}
        open_functions = [
            name for op in self._ancestors(self._outputs[output]).values() for name in _called(op.node_def)
        ]
        while open_functions:
            body = library.pop(open_functions.pop(), None)
            if body is not None:
                found |= {node.op for node in body.node_def}
                open_functions += [name for node in body.node_def for name in _called(node)]
        return frozenset(found - _PLUMBING)

    def words(self, feature: str) -> tuple[bytes, ...]:
        """The words of the vocabularies that a raw feature of strings is looked up in, perhaps after changes."""
        raw = {tensor.op.name for tensor in self._placeholders[feature]}
        lookups = [op for op in self._graph.get_operations() if op.type == "LookupTableFindV2"]
        fed = [
            op for op in lookups if op.inputs[1].dtype.name == "string" and raw & self._ancestors([op.inputs[1]]).keys()
        ]
        return tuple(dict.fromkeys(word for op in fed for word in self.tables.content(op)[0]))

    def apply(self, features: Mapping[str, tf.Tensor], outputs: Sequence[str]) -> dict[str, tf.Tensor]:
        """Computes outputs in the graph that is being built; what they do not need stays out of it.

        Operators that TFLite lacks are replaced by equal ones where there are any (see `portable_ops`).

        Args:
          features: raw features by name, dense, all that the outputs need.
          outputs: the names of the outputs.
        """
        wanted = [self._outputs[name][0] for name in outputs]
        spliced = self._spliced(features)
        needed = self._ancestors(wanted)
        for op in self._graph.get_operations():
            if op.name in needed:
                spliced.replace(op)
        return _by_name(outputs, spliced.values(wanted))

    def apply_original(self, features: Mapping[str, tf.Tensor], outputs: Sequence[str]) -> dict[str, tf.Tensor]:
        """The same with the operators that Transform wrote."""
        handles = {name: outside for name, outside in self._captured.items() if outside.dtype.name == "resource"}
        return _by_name(outputs, self._spliced(features, handles).values(self._outputs[name][0] for name in outputs))

    def _spliced(self, features: Mapping[str, tf.Tensor], handles: Mapping[str, Any] | None = None) -> Splice:
        given = {self._placeholders[name][0].name: tensor for name, tensor in features.items()}
        constants = {
            name: outside.numpy() for name, outside in self._captured.items() if outside.dtype.name != "resource"
        }
        return Splice(self._definition, {**given, **constants, **(handles or {})}, self.tables)

    @functools.cached_property
    def _definition(self) -> Any:
        """The whole graph without the order of side effects, which holds assertions alone."""
        definition = self._graph.as_graph_def()
        for node in definition.node:
            data = [name for name in node.input if not name.startswith("^")]
            del node.input[:]
            node.input.extend(data)
        return definition

    @functools.cached_property
    def tables(self) -> portable_ops.Tables:
        """Its vocabularies."""
        return portable_ops.Tables(self._captured)

    def _ancestors(self, tensors: Iterable[tf.Tensor]) -> dict[str, tf.Operation]:
        found: dict[str, tf.Operation] = {}
        waiting = [tensor.op for tensor in tensors]
        while waiting:
            op = waiting.pop()
            if op.name not in found:
                found[op.name] = op
                waiting += [tensor.op for tensor in op.inputs]
        return found


def _load(directory: Path) -> Any:
    import tensorflow as tf

    if not (directory / "saved_model.pb").is_file():
        raise ModelError(f"{directory} holds no SavedModel: give the transform_graph output of a Transform component")
    try:
        return tf.saved_model.load(str(directory))
    except Exception as error:  # custom operators that are not loaded come as any class
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"the Transform graph in {directory} cannot be loaded: {reason}") from error


def _components(structure: Mapping[str, Any], tensors: Iterable[Any]) -> dict[str, list[Any]]:
    """The plain tensors behind each name: one for a dense feature, several for a sparse or ragged one."""
    import tensorflow as tf

    remaining = iter(tensors)
    return {
        name: [next(remaining) for _ in tf.nest.flatten(structure[name], expand_composites=True)]
        for name in sorted(structure)
    }


def _by_name(names: Iterable[str], values: Iterable[Any]) -> dict[str, tf.Tensor]:
    import tensorflow as tf

    return {name: tf.convert_to_tensor(value) for name, value in zip(names, values, strict=True)}


def _called(node: Any) -> list[str]:
    return [value.func.name for value in node.attr.values() if value.HasField("func")]
