"""What the work of a stage needs, read from the artifacts and properties that TFX gave its executor."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfx_edge.errors import DataError
from tfx_edge.examples.decoding import ExampleDecoder, read_batches, read_schema
from tfx_edge.models import layout
from tfx_edge.stages.child import Request
from tfx_edge.stages.fn_args import FnArgs
from tfx_edge.stages.user_code import UserCode

if TYPE_CHECKING:
    import tensorflow as tf
    import tf_keras

    from tfx_edge.training.data import TrainingData

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
        return self.request.inputs["model"][0]

    @property
    def output_uri(self) -> str:
        """Uri of the output model."""
        return self.request.outputs["edge_model"][0]

    @functools.cached_property
    def fn_args(self) -> FnArgs:
        """What the functions of the user's module receive."""
        return FnArgs(**self.request.fn_args)

    def arrays(
        self, split: str, batch_size: int, *, labelled: bool = True
    ) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """One pass over a split, in the order of its files, as batches of (features, labels).

        Args:
          split: ``train`` or ``eval``.
          batch_size: examples in a batch.
          labelled: demand labels; otherwise they are empty where there are none.

        Raises:
          DataError: there is no such split, the label is not among the features, or the examples cannot be read.
        """
        files = self.files(split)
        input_fn = self.user_code.get("input_fn")
        if input_fn:
            for features, labels in input_fn(files, self.fn_args, batch_size).as_numpy_iterator():
                yield _by_name(features), labels
            return
        decoder = ExampleDecoder(self.schema())
        if labelled and not self.label_key:
            raise DataError(f"label_key is not given; the examples have {', '.join(sorted(decoder.features))}")
        if self.label_key and self.label_key not in decoder.features:
            raise DataError(
                f"label_key {self.label_key!r} is not a feature of the examples, which have "
                f"{', '.join(sorted(decoder.features))}"
            )
        for batch in read_batches(decoder, files, batch_size):
            yield batch, batch.pop(self.label_key) if self.label_key else np.empty(0)

    def dataset(self, split: str, batch_size: int) -> tf.data.Dataset | None:
        """The same as a dataset; None when the split is empty."""
        import tensorflow as tf

        input_fn = self.user_code.get("input_fn")
        if input_fn:
            batches = input_fn(self.files(split), self.fn_args, batch_size)
            return batches.map(lambda features, labels: (_by_name(features), labels))
        first = next(self.arrays(split, 1), None)
        if first is None:
            return None
        specs = tf.nest.map_structure(lambda values: tf.TensorSpec([None, *values.shape[1:]], values.dtype), first)
        return tf.data.Dataset.from_generator(lambda: self.arrays(split, batch_size), output_signature=specs)

    def files(self, split: str) -> list[str]:
        """Glob patterns of a split's files.

        Raises:
          DataError: there is no such split.
        """
        files = self.fn_args.train_files if split == "train" else self.fn_args.eval_files
        if not files:
            raise DataError(f"the examples have no split {split!r}: give the component an Examples channel that does")
        return files

    def schema(self) -> Any:
        """The schema of the examples: Transform's when there is a transform graph, else SchemaGen's.

        Raises:
          DataError: there is none, or the examples are in a format that only the module's ``input_fn`` can read.
        """
        if self.request.payload_format != "FORMAT_TF_EXAMPLE":
            raise DataError(
                f"the examples are in {self.request.payload_format}, and only FORMAT_TF_EXAMPLE is read without help: "
                "give an input_fn in the module file; its fn_args.data_accessor reads them"
            )
        if self.fn_args.transform_graph_path:
            return read_schema(Path(self.fn_args.transform_graph_path, "transformed_metadata", "schema.pbtxt"))
        if self.fn_args.schema_path:
            return read_schema(self.fn_args.schema_path)
        raise DataError(
            "the examples cannot be read: give the component a schema, a transform_graph, or an input_fn in "
            "the module file"
        )

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
        return load_trainable(self.request.inputs[input_key][0], self.samples(), build_model)

    def compile(
        self, model: tf_keras.Model, classes: tf_keras.Model, batches: tf.data.Dataset, learning_rate: float
    ) -> None:
        """Compiles with the module's ``compile_fn``, or for class labels."""
        from tfx_edge.training.training import compile_for_labels

        compile_fn = self.user_code.get("compile_fn")
        if compile_fn:
            compile_fn(model, self.fn_args)
        else:
            compile_for_labels(model, batches.element_spec[1], learning_rate, classes)

    def training_data(self, names: list[str], batch_size: int, seed: int) -> TrainingData:
        """Both splits in batches for training. The training split is read once and kept in memory.

        Args:
          names: the model's inputs; each batch is a dict of exactly these.
          batch_size: examples in a batch.
          seed: of the shuffling.

        Raises:
          DataError: the training split is empty, or an input has no feature.
        """
        from tfx_edge.models.features import select_features
        from tfx_edge.training.data import TrainingData

        def pick(features: Any, labels: Any) -> Any:
            return select_features(features, names), labels

        train, evaluation = (self.dataset(split, batch_size) for split in ("train", "eval"))
        # An input_fn may batch otherwise.
        train = train.map(pick).rebatch(batch_size).cache() if train else None
        steps = sum(1 for _ in train or ())
        if not train or not steps:
            raise DataError("the training split has no examples: nothing can be trained on it")
        evaluation = evaluation.map(pick).cache() if evaluation else None
        if not any(True for _ in evaluation or ()):
            evaluation = None
        return TrainingData(train, evaluation, steps, batch_size, seed)

    def steps(self, component: str, recipe: dict[str, Any], result: dict[str, Any]) -> list[dict[str, Any]]:
        """The input model's steps with this one at the end."""
        return [*layout.read_steps(self.model_uri), {"component": component, "recipe": recipe, "result": result}]


def _by_name(features: Any) -> Any:
    """An ``input_fn`` may give one tensor instead of a dict."""
    return features if isinstance(features, dict) else {"features": features}


def model_digest(model_uri: str) -> str | None:
    """Hex SHA-256 of an artifact's model.

    That is the ``.tflite`` of a lite stage, else ``model.keras`` of a trainable one, else the SavedModel; None when
    there is none of them.
    """
    for path in (layout.lite_file(model_uri), layout.keras_file(model_uri)):
        if path.is_file():
            return hashlib.sha256(path.read_bytes()).hexdigest()
    serving = layout.serving_dir(model_uri)
    return folder_digest(serving) if (serving / "saved_model.pb").is_file() else None


def folder_digest(folder: Path) -> str:
    """Hex SHA-256 over the names and contents of a SavedModel's files.

    In the order of their paths, each file adds one line as ``sha256sum`` prints it: the digest of its content, two
    spaces, its path relative to the folder with ``/``. ``fingerprint.pb`` is left out: newer releases of TensorFlow put
    a random number in it.
    """
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    files.pop("fingerprint.pb", None)
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n" for name, path in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()
