"""Bakes a Transform graph into a model, so that the ``.tflite`` takes raw features.

The part of the graph that the model's inputs need is put before the model; labels and whatever else Transform makes
stay out. What TFLite cannot compute is found by converting each transformed feature alone, and named.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_edge.conversion import tf_converter
from tfx_edge.conversion.source import EntryPoint, Source
from tfx_edge.errors import ModelError
from tfx_edge.lite.inspect import inspect
from tfx_edge.preprocessing.transform_graph import TransformGraph

if TYPE_CHECKING:
    import tensorflow as tf

Batch = dict[str, np.ndarray]

SCOPE = "transform"
"""The names of all layers that compute Transform's part begin with this and a slash."""
_EXAMPLES = 16
_INTEGERS = 10
_REMEDIES = (
    "Move that preprocessing into the app and give the model its result as a raw feature, set allow_select_tf_ops if "
    "the device has TensorFlow's Flex runtime, or leave transform_graph out and let the app do all of Transform's work"
)


class Preprocessing:
    """A Transform graph that is to go before a model."""

    def __init__(self, uri: str | Path) -> None:
        """Loads the graph.

        Args:
          uri: the TransformGraph artifact's uri.

        Raises:
          ModelError: there is no such graph, or it cannot be loaded.
        """
        self._transform = TransformGraph(uri)
        self._baked: tuple[str, ...] = ()

    def before(self, source: Source) -> Source:
        """The same entry points on raw features.

        Called for their result, they run the graph as Transform wrote it; traced, with operators that TFLite lacks
        replaced by equal ones: so a comparison with the ``.tflite`` proves the replacements too.

        Args:
          source: a model whose inputs have the names of transformed features.

        Raises:
          ModelError: an input is no transformed feature, its shape or type does not fit, or it needs a raw feature that
            has no fixed length.
        """
        inputs = dict.fromkeys(name for entry in source.entry_points for name in entry.specs)
        lacking = [name for name in inputs if name not in self._transform.outputs]
        if lacking:
            raise ModelError(
                f"the model's input {', '.join(map(repr, lacking))} is not among the features that Transform gives, "
                f"{', '.join(map(repr, sorted(self._transform.outputs)))}: name the model's inputs after them, or "
                "leave transform_graph out"
            )
        self._check_dense(inputs)
        self._baked = tuple(inputs)
        entry_points = tuple(self._on_raw_features(entry) for entry in source.entry_points)
        return Source(entry_points, [source.tracked, self._transform.tables.made])

    def samples(self) -> list[Batch]:
        """All raw features of fixed shape, to compare on where there are no examples: seeded, two batches of 16.

        Floats are normally distributed, then their magnitudes; integers from 0 to 9; strings are words of the
        vocabularies that the feature is looked up in, and one that is in none, all as often.
        """
        import tensorflow as tf

        generator = np.random.default_rng(0)
        # A saved signature comes back in any order, and the draw depends on it.
        specs = {name: spec for name, spec in sorted(self._transform.inputs.items()) if isinstance(spec, tf.TensorSpec)}

        def values(name: str, *, negative: bool) -> np.ndarray:
            spec = specs[name]
            shape = [_EXAMPLES, *spec.shape[1:]]
            if spec.dtype.name == "string":
                return generator.permuted(np.resize([*self._transform.words(name), b"(unknown)"], shape))
            if spec.dtype.is_floating:
                numbers = generator.normal(size=shape)
                return (numbers if negative else np.abs(numbers)).astype(spec.dtype.as_numpy_dtype)
            return generator.integers(_INTEGERS, size=shape).astype(spec.dtype.as_numpy_dtype)

        return [{name: values(name, negative=negative) for name in specs} for negative in (True, False)]

    @contextlib.contextmanager
    def explained(self) -> Iterator[None]:
        """Says which part of Transform is to blame when a conversion inside of this context fails.

        Raises:
          ModelError: what the conversion raised, or in its place the operators that TFLite lacks, with the transformed
            and raw features that need them.
        """
        try:
            yield
        except ModelError as error:
            refused = {name: operators for name in self._baked if (operators := self._lacking(name))}
            if not refused:
                raise
            found = "; ".join(
                f"{', '.join(operators)} for {name!r}, made of {', '.join(map(repr, self._transform.needs([name])))}"
                for name, operators in refused.items()
            )
            raise ModelError(f"Transform cannot run on the device: TFLite lacks {found}. {_REMEDIES}") from error

    def _check_dense(self, outputs: Iterable[str]) -> None:
        import tensorflow as tf

        for name in outputs:
            ragged = [
                raw
                for raw in self._transform.needs([name])
                if not isinstance(self._transform.inputs[raw], tf.TensorSpec)
            ]
            if ragged:
                raise ModelError(
                    f"{name!r} is made of {', '.join(map(repr, ragged))}, which may have any number of values in an "
                    "example, and only features of a fixed shape can be baked in: give the feature a shape in the "
                    "schema (SchemaGen with infer_feature_shape=True, where no value is missing), or leave "
                    "transform_graph out"
                )

    def _on_raw_features(self, entry: EntryPoint) -> EntryPoint:
        import tensorflow as tf

        raw = self._transform.needs(entry.specs)
        specs = {
            name: tf.TensorSpec([entry.fixed_batch, *spec.shape[1:]], spec.dtype)
            for name, spec in ((name, self._transform.inputs[name]) for name in raw)
        }

        original = tf.function(self._transform.apply_original, autograph=False, reduce_retracing=True)

        def behind(call: Any) -> Any:
            def serve(**features: tf.Tensor) -> Mapping[str, tf.Tensor]:
                transform = original if tf.executing_eagerly() else self._transform.apply
                with tf.name_scope(SCOPE):
                    made = transform(features, tuple(entry.specs))
                    inputs = {name: _fitted(name, made[name], spec) for name, spec in entry.specs.items()}
                return call(**inputs)

            return serve

        variants = {size: behind(call) for size, call in entry.variants.items()}
        return EntryPoint(entry.name, behind(entry.call), specs, variants)

    def _lacking(self, output: str) -> tuple[str, ...]:
        """The operators behind one transformed feature that TFLite lacks."""

        def call(**features: tf.Tensor) -> Mapping[str, tf.Tensor]:
            return self._transform.apply(features, [output])

        specs = {name: self._transform.inputs[name] for name in self._transform.needs([output])}
        with tempfile.TemporaryDirectory(prefix="tfx-edge-") as scratch:
            path = Path(scratch, "tflite")
            source = Source((EntryPoint("serving_default", call, specs),), self._transform.tables.made)
            try:
                written = source.write(Path(scratch, "saved_model"), 1)
                path.write_bytes(tf_converter.run(written, tf_converter.Operators(tensorflow=True)))
            except ModelError as error:
                return (str(error),)
            return tuple(op.name.removeprefix("Flex") for op in inspect(path).flex_ops)


def _fitted(name: str, value: tf.Tensor, spec: tf.TensorSpec) -> tf.Tensor:
    """A transformed feature as the model takes it: Keras adds or drops a last dimension of 1, and casts."""
    import tensorflow as tf

    found = f"{value.dtype.name} of shape {value.shape[1:]}"
    if value.shape.rank == spec.shape.rank - 1 and spec.shape[-1] == 1:
        value = tf.expand_dims(value, -1)
    elif value.shape.rank == spec.shape.rank + 1 and value.shape[-1] == 1:
        value = tf.squeeze(value, -1)
    if not value.shape[1:].is_compatible_with(spec.shape[1:]) or "string" in (value.dtype.name, spec.dtype.name):
        raise ModelError(
            f"Transform gives {name!r} as {found}, and the model takes {spec.dtype.name} of shape {spec.shape[1:]}: "
            "let Transform give what the model takes"
        )
    return tf.cast(value, spec.dtype)
