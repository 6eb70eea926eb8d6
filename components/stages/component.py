"""What the component classes share: a configuration as one exec property, examples, and the user's module."""

from __future__ import annotations

import importlib.metadata
import json
from collections.abc import Sequence
from typing import Any, ClassVar

from tfx import types
from tfx.components.util import udf_utils
from tfx.dsl.components.base import base_component
from tfx.orchestration import data_types
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ExecutionParameter

from tfx_edge.config import Config
from tfx_edge.errors import ConfigError
from tfx_edge.stages import several
from tfx_edge.stages.user_code import check_module, may_define

PARAMETERS = {
    "config": ExecutionParameter(type=str),
    "tfx_edge_version": ExecutionParameter(type=str),
}
USER_PARAMETERS = {
    "label_key": ExecutionParameter(type=str, optional=True),
    "module_file": ExecutionParameter(type=str, optional=True),
    "module_path": ExecutionParameter(type=str, optional=True),
    "custom_config": ExecutionParameter(type=str, optional=True),
}
EXAMPLES_INPUTS = {
    "examples": ChannelParameter(type=standard_artifacts.Examples),
    "schema": ChannelParameter(type=standard_artifacts.Schema, optional=True),
    "transform_graph": ChannelParameter(type=standard_artifacts.TransformGraph, optional=True),
}
MODEL_INPUT = {"model": ChannelParameter(type=standard_artifacts.Model)}
MODEL_OUTPUT = {"edge_model": ChannelParameter(type=standard_artifacts.Model)}


def several_models(name: str, optional: bool = False) -> dict[str, ChannelParameter]:
    """The inputs of a component that takes several channels of models under one name."""
    return {
        key: ChannelParameter(type=standard_artifacts.Model, optional=optional or key != name)
        for key in several.keys(name)
    }


def several_channels(
    component: str, name: str, given: types.BaseChannel | Sequence[types.BaseChannel]
) -> dict[str, types.BaseChannel]:
    """The channels that an author gave under one name, each by its key.

    Args:
      component: the component's name, for messages.
      name: of the input.
      given: one channel, or a sequence of them.

    Raises:
      ConfigError: there are none, or too many.
    """
    channels = [given] if isinstance(given, types.BaseChannel) else list(given)
    if not 1 <= len(channels) <= several.LIMIT:
        raise ConfigError(
            f"{component}: {name} has {len(channels)} channels; give 1 to {several.LIMIT} channels of Model artifacts. "
            "One channel may hold any number of models: join some by tfx.dsl.union"
        )
    return dict(zip(several.keys(name), channels, strict=False))


def package_version() -> str:
    """The version of tfx-edge. As an exec property it keeps TFX's cache from answering for another version."""
    return importlib.metadata.version("tfx-edge")


class EdgeComponent(base_component.BaseComponent):
    """Base of the components: checks what it is given while the pipeline is built, then fills the spec.

    Attributes:
      CONFIG_CLASS: the configuration's type.
      REQUIRED_FUNCTIONS: functions that the user's module must define, each with its purpose.
    """

    CONFIG_CLASS: ClassVar[type[Config]]
    REQUIRED_FUNCTIONS: ClassVar[dict[str, str]] = {}

    def __init__(
        self,
        config: Config | dict[str, Any] | str | data_types.RuntimeParameter | None,
        channels: dict[str, types.BaseChannel | None],
        label_key: str | None = None,
        module_file: str | None = None,
        module_path: str | None = None,
        custom_config: dict[str, Any] | None = None,
        **properties: str,
    ) -> None:
        if isinstance(config, data_types.RuntimeParameter):
            text: Any = config
        else:
            parsed = self.CONFIG_CLASS.parse(config)
            self.check(parsed, channels)
            text = parsed.to_json()
        check_module(type(self).__name__, module_file, module_path, self.REQUIRED_FUNCTIONS)
        given = {
            "label_key": label_key,
            "module_file": module_file,
            "module_path": module_path,
            "custom_config": json.dumps(custom_config, ensure_ascii=False) if custom_config else None,
        }
        outputs = {key: types.Channel(type=output.type) for key, output in self.SPEC_CLASS.OUTPUTS.items()}
        spec = self.SPEC_CLASS(
            config=text,
            tfx_edge_version=package_version(),
            **{key: value for key, value in given.items() if value is not None},
            **properties,
            **channels,
            **outputs,
        )
        super().__init__(spec=spec)
        if module_file and udf_utils.should_package_user_modules():
            udf_utils.add_user_module_dependency(self, "module_file", "module_path")

    @classmethod
    def check(cls, config: Any, channels: dict[str, types.BaseChannel | None]) -> None:
        """Raises ConfigError when the configuration cannot work with the inputs that are given.

        A RuntimeParameter's value is known at run time only, and is checked then.
        """


class LearningComponent(EdgeComponent):
    """Base of the components that turn a model into another one with the help of examples.

    Args:
      model: the model to work on.
      examples: of Transform (with its ``transform_graph``) or of an ExampleGen (with a ``schema``).
      config: the component's configuration, a dict of its fields, or a RuntimeParameter holding its JSON.
      schema: SchemaGen's schema, where there is no Transform.
      transform_graph: Transform's graph, when ``examples`` are transformed.
      label_key: the label among the features.
      module_file: the user's module, as for Trainer, optionally with ``build_model_fn``, ``compile_fn`` and
        ``input_fn``.
      module_path: the same as a dotted module name; give one of the two.
      custom_config: reaches the module as ``fn_args.custom_config``.
      further: inputs that only some components have.

    Attributes:
      DESCRIBED_BY: inputs of which one must describe the examples, unless ``input_fn`` reads them.

    Raises:
      ConfigError: the configuration cannot work, or nothing says how to read the examples.
      UserCodeError: the module lacks a function that is needed.
    """

    DESCRIBED_BY: ClassVar[tuple[str, ...]] = ("schema", "transform_graph")

    def __init__(
        self,
        model: types.BaseChannel,
        examples: types.BaseChannel | None = None,
        config: Config | dict[str, Any] | data_types.RuntimeParameter | None = None,
        schema: types.BaseChannel | None = None,
        transform_graph: types.BaseChannel | None = None,
        label_key: str | None = None,
        module_file: str | None = None,
        module_path: str | None = None,
        custom_config: dict[str, Any] | None = None,
        **further: types.BaseChannel | None,
    ) -> None:
        if examples is None and not self.SPEC_CLASS.INPUTS["examples"].optional:
            raise ConfigError(f"{type(self).__name__}: examples is None: pass Transform's or an ExampleGen's examples")
        channels = {"model": model, "examples": examples, "schema": schema, "transform_graph": transform_graph}
        channels |= further
        super().__init__(config, channels, label_key, module_file, module_path, custom_config)
        known = None if isinstance(config, data_types.RuntimeParameter) else self.CONFIG_CLASS.parse(config)
        if examples is not None and self.reads_examples(known) and not may_define(module_file, module_path, "input_fn"):
            self._check_examples(channels, label_key, self.labels_purpose(known))

    @classmethod
    def reads_examples(cls, config: Any | None) -> bool:
        """Whether examples that are given are certain to be read; without ``config``, whatever it will be."""
        return True

    @classmethod
    def labels_purpose(cls, config: Any | None) -> str:
        """What labels are certain to be needed for, likewise; empty where it works without."""
        return "training"

    @classmethod
    def _check_examples(
        cls, channels: dict[str, types.BaseChannel | None], label_key: str | None, labels_purpose: str
    ) -> None:
        """Raises ConfigError when examples that no ``input_fn`` reads lack a description, or a label that is needed."""
        if all(channels[name] is None for name in cls.DESCRIBED_BY):
            raise ConfigError(
                f"{cls.__name__}: the examples cannot be read: pass {' or '.join(cls.DESCRIBED_BY)} with examples, "
                "or a module that defines input_fn"
            )
        if labels_purpose and not label_key:
            raise ConfigError(
                f"{cls.__name__}: {labels_purpose} needs labels, and label_key is not given: pass label_key, or a "
                "module that defines input_fn"
            )
