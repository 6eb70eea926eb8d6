"""How tensorflow-model-optimization is told to quantize: its 8-bit scheme, with what it lacks.

- More layers: Embedding, MaxPooling1D, Rescaling, and elementwise ones with two inputs.
- Zeros and shared values of weights are kept, layer by layer (prune- and cluster-preserving training, the collaborative
  optimization of https://www.tensorflow.org/model_optimization/guide/combine/collaborative_optimization).
- The range of an activation starts from the first batch. The library starts every range at [-6, 6] and moves it by a
  thousandth a step, so that after a short training it is still far too wide.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras import (
    quant_ops,
    quantize_aware_activation,
    quantize_layer,
    quantize_layout_transform,
    quantize_wrapper,
    quantizers,
)
from tensorflow_model_optimization.python.core.quantization.keras.collab_opts.cluster_preserve import (
    cluster_preserve_quantize_registry as clusters,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_configs as configs,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_layout_transform as layout,
)
from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import (
    default_8bit_quantize_registry as registry,
)

from tfx_edge.models.graph_copy import Layer
from tfx_edge.quantize_aware.preserve import CLUSTERS, SPARSITY, kept_in

KL = tf_keras.layers
_OUTPUT_ONLY = frozenset({KL.Multiply, KL.Subtract, KL.Maximum, KL.Minimum, KL.Rescaling})
_UNCHANGED = frozenset({KL.MaxPooling1D, KL.GaussianNoise, KL.GaussianDropout})
CLUSTERED = {
    KL.Dense: clusters.ClusterPreserveDefault8BitWeightsQuantizer,
    KL.Conv2D: clusters.ClusterPreserveDefault8BitConvWeightsQuantizer,
}
"""Layers whose shared values can be kept, and what rounds their weights then."""


class Registry(registry.Default8BitQuantizeRegistry):
    """What is quantized of each layer.

    Args:
      preserve: what of the weights is kept where it is there: zeros, shared values.
    """

    def __init__(self, preserve: Collection[str] = ()) -> None:
        super().__init__()
        self.preserve = preserve

    def supports(self, layer: Layer) -> bool:
        """Whether there is an answer for the layer."""
        return type(layer) in {*_OUTPUT_ONLY, *_UNCHANGED, KL.Embedding} or super().supports(layer)

    def get_quantize_config(self, layer: Layer) -> Any:
        """The answer for a layer that has its weights."""
        if type(layer) in _OUTPUT_ONLY:
            return configs.Default8BitOutputQuantizeConfig()
        if type(layer) in _UNCHANGED:
            return configs.NoOpQuantizeConfig()
        if type(layer) is KL.Embedding:
            config = registry.Default8BitQuantizeConfig(["embeddings"], [], False)
        else:
            config = copy.copy(super().get_quantize_config(layer))  # all layers of a class share it
        if len(getattr(config, "weight_attrs", ())) == 1:
            weight = getattr(layer, config.weight_attrs[0])
            config.weight_quantizer = self._keeping(layer, weight.numpy(), config.weight_quantizer)
        return config

    def _keeping(self, layer: Layer, weight: np.ndarray, quantizer: Any) -> Any:
        kept = kept_in(weight, self.preserve)
        if CLUSTERS in kept and type(layer) in CLUSTERED:
            return CLUSTERED[type(layer)](preserve_sparsity=SPARSITY in kept)
        return _Masked(quantizer, weight) if SPARSITY in kept else quantizer


class Scheme(tfmot.quantization.keras.QuantizeScheme):
    """The default 8-bit scheme with `Registry` for its registry."""

    def __init__(self, preserve: Collection[str]) -> None:
        self.preserve = preserve

    def get_layout_transformer(self) -> Any:
        """The transforms that fold batch normalizations and activations."""
        return _Layout()

    def get_quantize_registry(self) -> Registry:
        """What is quantized of each layer."""
        return Registry(self.preserve)


class _Layout(quantize_layout_transform.QuantizeLayoutTransform):
    """The default transforms without the one that rounds every input, integers too.

    Those for ReLU and Concatenate answer for the layer before it as a whole, where they mean its output. A layer with
    weights gets the registry's answer instead.
    """

    def apply(self, model: tf_keras.Model, layer_quantize_map: dict[str, Any]) -> Any:
        """Transforms the layers in the map, which is all but the inputs."""
        layers = {name: entry for name, entry in layer_quantize_map.items() if name not in model.input_names}
        transformed, entries = layout.Default8BitQuantizeLayoutTransform().apply(model, layers)
        for layer in transformed.layers:
            if layer.weights and layer.name in entries and Registry().supports(layer):
                _leave_to_registry(layer, entries[layer.name])
        return transformed, entries


def _leave_to_registry(layer: Layer, entry: dict[str, Any]) -> None:
    answer = entry.pop("quantize_config", None)
    linear = getattr(layer, "activation", None) is tf_keras.activations.linear
    if isinstance(answer, configs.NoOpQuantizeConfig) and linear:
        layer.activation = quantize_aware_activation.NoOpActivation()


class _Masked(quantizers.LastValueQuantizer):
    """Rounds weights as another quantizer does, and keeps those at zero that were zero at the start."""

    def __init__(self, inner: quantizers.LastValueQuantizer, weight: np.ndarray) -> None:
        super().__init__(**inner.get_config())
        self.inner = inner
        self.mask = (weight != 0).astype(weight.dtype)

    def build(self, tensor_shape: Any, name: str, layer: Layer) -> dict[str, tf.Variable]:
        """Makes the variables of the range."""
        return self.inner.build(tensor_shape, name, layer)

    def __call__(self, inputs: tf.Tensor, training: Any, weights: dict[str, tf.Variable], **kwargs: Any) -> tf.Tensor:
        """Rounds."""
        return self.inner(inputs * self.mask, training, weights, **kwargs)


class _RunningRange(quantizers.MovingAverageQuantizer):
    """The mean of the ranges of all batches so far; from the thousandth on a moving average, as the library's own."""

    def __call__(self, inputs: tf.Tensor, training: Any, weights: dict[str, tf.Variable], **kwargs: Any) -> tf.Tensor:
        """Rounds, and in training moves the range."""
        if not training:
            return super().__call__(inputs, training, weights, **kwargs)
        seen = weights["batches"].assign_add(1.0) - 1.0
        return quant_ops.MovingAvgQuantize(
            inputs,
            weights["min_var"],
            weights["max_var"],
            ema_decay=tf.minimum(seen / (seen + 1.0), 0.999),
            is_training=True,
            num_bits=self.num_bits,
        )


def rounded_weights(layer: Layer) -> Sequence[tuple[Any, Any, Any]]:
    """The weights of a layer whose rounding is simulated, each with its quantizer and that one's variables."""
    return getattr(layer, "_weight_vars", ())


def settle_shared_values(model: tf_keras.Model) -> None:
    """Gives weights that share values these values again, after training.

    The library does so at the start of every step. What a regularizer of the weights adds in the step moves them apart.
    """
    for layer in model.layers:
        for variable, quantizer, variables in rounded_weights(layer):
            if isinstance(quantizer, clusters.ClusterPreserveDefaultWeightsQuantizer):
                quantizer(variable, True, weights=variables)


class Fence(tf_keras.layers.Layer):
    """Keeps the layer before it in float on conversion, and changes nothing.

    The converter makes every operator integer whose inputs and outputs have ranges, prepared by training or not; an
    LSTM it cannot, and gives up. It does not look across a cast.
    """

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        """The same numbers."""
        return tf.cast(tf.cast(inputs, tf.float64), inputs.dtype)


def range_layer(name: str, *, whole: bool) -> Layer:
    """A layer that rounds what it takes and learns the range of it.

    Args:
      name: of the layer.
      whole: the range covers every value ever seen, as for inputs of the model.
    """
    kind = quantizers.AllValuesQuantizer if whole else quantizers.MovingAverageQuantizer
    quantizer = kind(num_bits=8, per_axis=False, symmetric=False, narrow_range=False)
    return quantize_layer.QuantizeLayer(quantizer, name=name)


def start_ranges_at_first_batch(model: tf_keras.Model) -> None:
    """Makes the ranges of activations follow the data from the first batch on."""

    def running(layer: Layer, quantizer: Any, *ranges: dict[str, tf.Variable] | None) -> Any:
        if type(quantizer) is not quantizers.MovingAverageQuantizer:
            return quantizer
        for variables in filter(None, ranges):
            name = variables["min_var"].name.partition(":")[0].rpartition("/")[2].removesuffix("_min")
            variables["batches"] = layer.add_weight(f"{name}_batches", shape=(), initializer="zeros", trainable=False)
        return _RunningRange(**quantizer.get_config())

    for layer in model.layers:
        if isinstance(layer, quantize_layer.QuantizeLayer):
            layer.quantizer = running(layer, layer.quantizer, layer.quantizer_vars)
        elif isinstance(layer, quantize_wrapper.QuantizeWrapper):
            for activation in layer._quantize_activations:
                before, after = (getattr(activation, f"_{when}_activation_vars", None) for when in ("pre", "post"))
                activation.quantizer = running(layer, activation.quantizer, before, after)
            if layer._output_quantizers:
                (quantizer,) = layer._output_quantizers
                layer._output_quantizers = [running(layer, quantizer, layer._output_quantizer_vars)]
