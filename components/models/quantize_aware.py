"""Quantization-aware training: the forward pass rounds as int8 inference will.

Method: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(2018), as tensorflow-model-optimization implements it. Layers that it refuses stay in float and are named. A layer that
takes their outputs has weights on the int8 grid, but inputs that are not, so it computes in float on the device too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tfx_edge.errors import ModelError

if TYPE_CHECKING:
    import tf_keras


def wrap(model: tf_keras.Model, *, preserve_sparsity: bool) -> tuple[tf_keras.Model, list[str]]:
    """Makes a model that quantizes what can be quantized in training.

    Args:
      model: a tf_keras Functional or Sequential model.
      preserve_sparsity: keep weights that are zero at zero (prune-preserving QAT), so that a Pruner's work is not
        undone.

    Returns:
      The wrapped model, and the names of the layers that stay in float.

    Raises:
      ModelError: no layer can be quantized, or tensorflow-model-optimization refuses the model.
    """
    import tensorflow_model_optimization as tfmot
    import tf_keras

    refused: list[str] = []
    annotated: list[str] = []

    def annotate(layer: tf_keras.layers.Layer) -> tf_keras.layers.Layer:
        if isinstance(layer, tf_keras.layers.InputLayer):
            return layer
        if not _supported(layer):
            refused.append(layer.name)
            return layer
        if layer.weights:
            annotated.append(layer.name)
        return tfmot.quantization.keras.quantize_annotate_layer(layer)

    functional = as_functional(model)
    clone = tf_keras.models.clone_model(functional, clone_function=annotate)
    if not annotated:
        raise ModelError(
            f"quantization-aware training supports none of the layers with weights: {', '.join(refused)}. "
            "Quantize the converted model instead (a Quantizer with a post-training mode after LiteConverter)"
        )
    scheme = tfmot.experimental.combine.Default8BitPrunePreserveQuantizeScheme() if preserve_sparsity else None
    with tfmot.quantization.keras.quantize_scope():
        try:
            wrapped = tfmot.quantization.keras.quantize_apply(clone, *([scheme] if scheme else []))
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"quantization-aware training refuses this model: {error}") from error
    return wrapped, refused


def _supported(layer: tf_keras.layers.Layer) -> bool:
    from tensorflow_model_optimization.python.core.quantization.keras.default_8bit import default_8bit_quantize_registry

    registry = default_8bit_quantize_registry.Default8BitQuantizeRegistry()
    return _folds_into_conv(layer) or registry.supports(layer)


def _folds_into_conv(layer: tf_keras.layers.Layer) -> bool:
    """Whether the layer is a BatchNormalization that alone consumes a linear convolution: both become one op."""
    import tf_keras

    if not isinstance(layer, tf_keras.layers.BatchNormalization):
        return False
    producer = layer.inbound_nodes[0].inbound_layers
    return (
        isinstance(producer, (tf_keras.layers.Conv2D, tf_keras.layers.DepthwiseConv2D))
        and not isinstance(producer, tf_keras.layers.Conv2DTranspose)
        and producer.activation is tf_keras.activations.linear
        and len(producer.outbound_nodes) == 1
    )


def as_functional(model: tf_keras.Model) -> Any:
    """A Functional model over the same layers; a Sequential one has no graph to look around in."""
    import tf_keras

    return tf_keras.Model(model.input, model.output) if isinstance(model, tf_keras.Sequential) else model
