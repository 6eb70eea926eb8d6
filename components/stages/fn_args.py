"""The arguments that the functions of a user's module receive, as Trainer would make them."""

from __future__ import annotations

import functools
from typing import Any


class FnArgs:
    """Stands for TFX's ``FnArgs`` in the processes of stages, which do without TFX where they can.

    Args:
      train_files: glob patterns of the training split's files.
      eval_files: those of the eval split.
      schema_path: SchemaGen's schema, or None.
      transform_graph_path: Transform's graph, or None.
      base_model: the uri of the input model.
      custom_config: what the component was given, or None.
      examples: the Examples artifacts, as TFX writes them in JSON.

    Attributes beside these are those of TFX: https://www.tensorflow.org/tfx/api_docs/python/tfx/v1/components/FnArgs;
    what only a Trainer has is None.
    """

    def __init__(
        self,
        train_files: list[str],
        eval_files: list[str],
        schema_path: str | None,
        transform_graph_path: str | None,
        base_model: str,
        custom_config: dict[str, Any] | None,
        examples: str,
    ) -> None:
        self.train_files = train_files
        self.eval_files = eval_files
        self.schema_path = self.schema_file = schema_path
        self.transform_graph_path = self.transform_output = transform_graph_path
        self.base_model = base_model
        self.custom_config = custom_config
        self.working_dir = self.train_steps = self.eval_steps = self.hyperparameters = None
        self.serving_model_dir = self.eval_model_dir = self.model_run_dir = None
        self._examples = examples

    @functools.cached_property
    def data_accessor(self) -> Any:
        """TFX's factories of datasets for whatever format the examples have."""
        from tfx.components.trainer.fn_args_utils import DataAccessor
        from tfx.components.util import tfxio_utils
        from tfx.utils import json_utils

        examples, telemetry = json_utils.loads(self._examples), ["tfx_edge"]
        return DataAccessor(
            tf_dataset_factory=tfxio_utils.get_tf_dataset_factory_from_artifact(examples, telemetry),
            record_batch_factory=tfxio_utils.get_record_batch_factory_from_artifact(examples, telemetry),
            data_view_decode_fn=tfxio_utils.get_data_view_decode_fn_from_artifact(examples, telemetry),
        )
