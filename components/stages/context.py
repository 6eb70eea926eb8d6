"""What the work of a stage needs, read from the artifacts and properties that TFX gave its executor."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_edge.errors import DataError
from tfx_edge.models import layout
from tfx_edge.stages.child import Request
from tfx_edge.stages.user_code import UserCode

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

SAMPLE_EXAMPLES = 64


class StageContext:
    """Lazy access to a stage's model, examples and user code.

    Args:
      request: what ``Do`` was called with.
    """

    def __init__(self, request: Request) -> None:
        self.request = request
        properties = request.properties
        self.user_code = UserCode(properties.get("module_file"), properties.get("module_path"))
        self.label_key = properties.get("label_key") or None

    @property
    def model_uri(self) -> str:
        """Uri of the input model."""
        return str(self.request.inputs["model"][0].uri)

    @property
    def output_uri(self) -> str:
        """Uri of the output model."""
        return str(self.request.outputs["edge_model"][0].uri)

    @functools.cached_property
    def fn_args(self) -> Any:
        """``FnArgs`` as Trainer would make them; ``base_model`` is the folder of the input model."""
        from tfx.components.trainer import fn_args_utils

        splits = {split: json.dumps({"splits": [split]}) for split in ("train", "eval")}
        fn_args = fn_args_utils.get_common_fn_args(
            self.request.inputs,
            {
                "train_args": splits["train"],
                "eval_args": splits["eval"],
                "custom_config": self.request.properties.get("custom_config") or "null",
            },
        )
        fn_args.base_model = self.model_uri
        fn_args.transform_output = fn_args.transform_graph_path
        fn_args.schema_file = fn_args.schema_path
        return fn_args

    def dataset(self, split: str, batch_size: int, *, labelled: bool = True) -> tf.data.Dataset:
        """One pass over a split, in the order of its files.

        Args:
          split: ``train`` or ``eval``.
          batch_size: examples in a batch.
          labelled: yield (features, labels); otherwise features alone.

        Raises:
          DataError: the label is not among the features.
        """
        files = self.fn_args.train_files if split == "train" else self.fn_args.eval_files
        input_fn = self.user_code.get("input_fn")
        if input_fn:
            batches = input_fn(files, self.fn_args, batch_size)
            return batches if labelled else batches.map(lambda features, _: features)
        from tfx_bsl.public import tfxio

        schema = self._schema()
        names = sorted(feature.name for feature in schema.feature)
        if self.label_key and self.label_key not in names:
            raise DataError(
                f"label_key {self.label_key!r} is not a feature of the examples, which have {', '.join(names)}"
            )
        if labelled and not self.label_key:
            raise DataError(f"label_key is not given; the examples have {', '.join(names)}")
        options = tfxio.TensorFlowDatasetOptions(
            batch_size=batch_size, label_key=self.label_key, num_epochs=1, shuffle=False, drop_final_batch=False
        )
        batches = self.fn_args.data_accessor.tf_dataset_factory(files, options, schema)
        return batches if labelled or not self.label_key else batches.map(lambda features, _: features)

    def _schema(self) -> Any:
        """The schema of the examples: Transform's when there is a transform graph, else SchemaGen's."""
        from google.protobuf import text_format
        from tensorflow_metadata.proto.v0 import schema_pb2

        if self.fn_args.transform_graph_path:
            path = Path(self.fn_args.transform_graph_path, "transformed_metadata", "schema.pbtxt")
        elif self.fn_args.schema_path:
            path = Path(self.fn_args.schema_path)
        else:
            raise DataError(
                "the examples cannot be read: give the component a schema, a transform_graph, or an input_fn in "
                "the module file"
            )
        return text_format.Parse(path.read_text(), schema_pb2.Schema())

    def arrays(self, split: str, batch_size: int) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """The batches of a labelled split as arrays."""
        for features, labels in self.dataset(split, batch_size).as_numpy_iterator():
            yield features if isinstance(features, dict) else {"features": features}, labels

    def samples(self) -> list[dict[str, np.ndarray]]:
        """One batch of real features, to compare a carried-over model with its original on.

        Raises:
          DataError: the training split is empty.
        """
        batches = [features for features, _ in itertools.islice(self.arrays("train", SAMPLE_EXAMPLES), 1)]
        if not batches:
            raise DataError("the training split has no examples")
        return batches

    def load_model(self, input_key: str = "model") -> tf_keras.Model:
        """The trainable model of an input, carried over to tf_keras and checked on real examples."""
        from tfx_edge.models.trainable import load_trainable

        build = self.user_code.get("build_model_fn")
        build_model = functools.partial(build, self.fn_args) if build else None
        return load_trainable(self.request.inputs[input_key][0].uri, self.samples(), build_model)

    def compile(
        self, model: tf_keras.Model, classes: tf_keras.Model, batches: tf.data.Dataset, learning_rate: float
    ) -> None:
        """Compiles with the module's ``compile_fn``, or for class labels."""
        from tfx_edge.models.training import compile_for_labels

        compile_fn = self.user_code.get("compile_fn")
        if compile_fn:
            compile_fn(model, self.fn_args)
        else:
            compile_for_labels(model, batches.element_spec[1], learning_rate, classes)

    def training_data(
        self, names: list[str], batch_size: int, seed: int
    ) -> tuple[tf.data.Dataset, tf.data.Dataset | None, int]:
        """Shuffled training batches, eval batches (None when there are none) and the steps in one pass.

        Args:
          names: the model's inputs; each batch is a dict of exactly these.
          batch_size: examples in a batch.
          seed: of the shuffling.

        Raises:
          DataError: the training split is empty, or an input has no feature.
        """
        from tfx_edge.models.features import select_features

        def pick(features: Any, labels: Any) -> Any:
            return select_features(features if isinstance(features, dict) else {"features": features}, names), labels

        train = self.dataset("train", batch_size).map(pick).cache()
        steps = sum(1 for _ in train)
        if not steps:
            raise DataError("the training split has no examples: nothing can be trained on it")
        evaluation = self.dataset("eval", batch_size).map(pick)
        has_evaluation = any(True for _ in evaluation.take(1))
        shuffled = train.unbatch().shuffle(10_000, seed=seed).batch(batch_size)
        return shuffled, (evaluation if has_evaluation else None), steps

    def steps(self, component: str, recipe: dict[str, Any], result: dict[str, Any]) -> list[dict[str, Any]]:
        """The input model's steps with this one at the end."""
        return [*layout.read_steps(self.model_uri), {"component": component, "recipe": recipe, "result": result}]


def digest(path: Path) -> str | None:
    """Hex SHA-256 of a file, or None when there is none."""
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def model_digest(model_uri: str) -> str | None:
    """Hex SHA-256 of an artifact's model file: the ``.tflite`` of a lite stage, ``model.keras`` of a trainable one."""
    return digest(layout.lite_file(model_uri)) or digest(layout.keras_file(model_uri))
