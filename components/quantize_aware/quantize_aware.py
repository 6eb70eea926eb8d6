"""Quantization-aware training: the forward pass rounds as int8 inference will.

Method: B. Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference"
(2018), as tensorflow-model-optimization implements it. Layers that it does not reach stay in float and are named; what
they give is rounded before an int8 layer takes it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from tfx_edge.errors import ModelError

if TYPE_CHECKING:
    import tf_keras

    from tfx_edge.quantization.recipe import Recipe
    from tfx_edge.quantize_aware.plan import Plan
    from tfx_edge.quantize_aware.rewrite import Part

PRESERVED = ("sparsity", "clusters")


def wrap(
    model: tf_keras.Model, recipe: Recipe, preserve: Collection[str] = PRESERVED
) -> tuple[tf_keras.Model, list[dict[str, str]]]:
    """Makes a model that quantizes what can be quantized in training.

    Args:
      model: a tf_keras Functional or Sequential model; models inside it are unfolded.
      recipe: of preset ``qat_int8``; overrides with precision ``float32`` leave layers, by their Keras name, in float.
      preserve: what an earlier step left in the weights and is kept where it is there: ``sparsity``, ``clusters``.

    Returns:
      The wrapped model, whose layers keep their names, and for each layer ``{layer, class, outcome, why}``: the
      outcome is ``int8`` or ``float32``.

    Raises:
      ModelError: an override names no layer, no layer can be quantized, tensorflow-model-optimization refuses the
        model, or it would leave the weights of an int8 layer as they are.
    """
    import tensorflow_model_optimization as tfmot

    from tfx_edge.models import graph_copy
    from tfx_edge.quantize_aware import proof, scheme
    from tfx_edge.quantize_aware.plan import decide

    flat = graph_copy.unfold(model)
    plans = decide(flat, recipe)
    own = [type(layer) for layer in flat.layers if not type(layer).__module__.startswith("tf_keras.")]
    custom = {kind.__name__: kind for kind in (*own, scheme.Fence)}
    with tfmot.quantization.keras.quantize_scope(custom):
        try:
            wrapped = tfmot.quantization.keras.quantize_apply(
                graph_copy.replay(flat, _Annotation(flat, plans, recipe)),
                scheme.Scheme(preserve),
                quantized_layer_name_prefix="",
            )
        except (ValueError, TypeError, RuntimeError) as error:
            raise ModelError(f"quantization-aware training refuses this model: {error}") from error
    proof.require_rounded(wrapped, [name for name, plan in plans.items() if not plan.quantized])
    scheme.start_ranges_at_first_batch(wrapped)
    return wrapped, [_row(plan) for plan in plans.values()]


def _row(plan: Plan) -> dict[str, str]:
    return {"layer": plan.layer.name, "class": type(plan.layer).__name__, "outcome": plan.outcome, "why": plan.why}


class _Annotation:
    """Calls the layers of a model anew: int8 ones marked, and a range learnt where one takes what none of them gave.

    The converter makes an operator integer only when the ranges of all it takes and gives are known.
    """

    def __init__(self, flat: tf_keras.Model, plans: dict[str, Plan], recipe: Recipe) -> None:
        self.plans = plans
        self.merged = {plan.into: plan.layer for plan in plans.values() if plan.into}
        self.integer_ends = recipe.io != "float32"
        self.ends = {id(tensor) for tensor in flat.outputs}
        self.parts: dict[str, list[tuple[tf_keras.layers.Layer, Part]]] = {}
        self.ranges: dict[int, tuple[Any, Any]] = {}  # by the id of a tensor: itself, and the same with a range

    def __call__(self, layer: tf_keras.layers.Layer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The outputs of a layer in the new graph."""
        import tensorflow as tf

        plan = self.plans[layer.name]
        if plan.into:
            return args[0]
        if plan.quantized:
            return self._quantized(plan, args[0] if plan.takes_indices else self._ranged(args[0]))
        if self.integer_ends and not plan.takes_indices:
            args, kwargs = tf.nest.map_structure(self._with_range_if_input, (args, kwargs))
        outputs = layer(*args, **kwargs)
        is_end = self.integer_ends and self.ends & {id(t) for t in tf.nest.flatten(layer.inbound_nodes[0].outputs)}
        return self._ranged(outputs) if is_end else outputs

    def _quantized(self, plan: Plan, value: Any) -> Any:
        import tensorflow_model_optimization as tfmot

        from tfx_edge.quantize_aware import rewrite

        annotate = tfmot.quantization.keras.quantize_annotate_layer
        name = plan.layer.name
        first = name not in self.parts
        if first:
            parts = rewrite.parts(plan, self.merged.get(name))
            self.parts[name] = [(annotate(part.layer) if part.quantized else part.layer, part) for part in parts]
        for layer, part in self.parts[name]:
            value = layer(value)
            if first:
                part.layer.set_weights(part.weights)
        if self.parts[name][-1][1].quantized:
            self.ranges[id(value)] = (value, value)
        return value

    def _ranged(self, tensors: Any) -> Any:
        import tensorflow as tf

        return tf.nest.map_structure(self._with_range, tensors)

    def _with_range(self, tensor: Any) -> Any:
        import tf_keras

        from tfx_edge.quantize_aware import scheme

        if not tf_keras.backend.is_keras_tensor(tensor) or not tensor.dtype.is_floating:
            return tensor
        if id(tensor) not in self.ranges:
            name = tensor._keras_history.layer.name
            fenced = name in self.plans and self.plans[name].fenced
            number = len(self.ranges)
            free = scheme.Fence(name=f"{name}_fence_{number}")(tensor) if fenced else tensor
            ranged = scheme.range_layer(f"{name}_range_{number}", whole=_is_input(tensor))(free)
            self.ranges[id(tensor)] = (tensor, ranged)
            self.ranges[id(ranged)] = (ranged, ranged)
        return self.ranges[id(tensor)][1]

    def _with_range_if_input(self, tensor: Any) -> Any:
        return self._with_range(tensor) if _is_input(tensor) else tensor


def _is_input(tensor: Any) -> bool:
    import tf_keras

    history = getattr(tensor, "_keras_history", None)
    return history is not None and isinstance(history.layer, tf_keras.layers.InputLayer)
