"""Runs a float ``.tflite`` on examples and hands out the values of its activations.

litert-quantizer's calibrator does this inside, but it copies the weights along at every example, passes over values
that are not finite, and fails on a loop. Its other calibrator, which lets the runtime note extremes, sees every turn of
a loop, but gives no values and misses some NaN. It is used here for subgraphs that operators run, and for these alone.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing  # litert_quantizer uses it without importing it

from tfx_edge.devices.loaded_model import SIGNATURE
from tfx_edge.errors import DataError, ModelError
from tfx_edge.lite import flatbuffer
from tfx_edge.models.features import select_features

_ARITHMETIC = frozenset({"ADD", "SUB", "MUL", "DIV"})


@dataclass(frozen=True)
class Entry:
    """A way into the model: a signature, or the first subgraph where there is none.

    Attributes:
      signature: its name; None where there is none.
      inputs: index of the tensor, by the name of the input.
      tensors: index of each float tensor that is neither constant (behind a DEQUANTIZE, too) nor state, by its name.
      scaled: name of the tensor that the model makes of an input by arithmetic with constants alone, as a normalisation
        layer does, by the name of the input; without inputs that it uses otherwise.
      subgraph: the number of the subgraph that these are in.
    """

    signature: str | None
    inputs: Mapping[str, int]
    tensors: Mapping[str, int]
    scaled: Mapping[str, str]
    subgraph: int


@dataclass(frozen=True)
class Activations:
    """What one example did inside the model.

    Attributes:
      values: of each tensor, by its name.
      extremes: least and greatest value of each tensor inside loops, branches and other subgraphs that operators run.
    """

    values: Mapping[str, np.ndarray]
    extremes: Mapping[str, tuple[float, float]]


class ActivationReader:
    """Reads the activations of one model, which starts every example without memory of the one before.

    Attributes:
      path: the file.
      entries: its signatures; ``serving_default`` is the first.
    """

    def __init__(self, path: str | Path):
        """Reads the model.

        Raises:
          ModelError: the file cannot be read, or the interpreter cannot load it.
        """
        self.path = str(path)
        try:
            self._content = Path(path).read_bytes()
        except OSError as error:
            raise ModelError(f"{path} cannot be read: {error}") from error
        model = flatbuffer.parse(self._content)
        self.entries = sorted(_entries(model), key=lambda entry: entry.signature != SIGNATURE)
        main = {entry.subgraph for entry in self.entries}
        nested = any(graph.ops for index, graph in enumerate(model.subgraphs) if index not in main)
        self._profile = _profiler(self.path) if nested and model.signatures else None
        self._keeps_variables = any(op.name == "ASSIGN_VARIABLE" for graph in model.subgraphs for op in graph.ops)
        self._interpreter = self._load()

    def _load(self) -> Any:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it warns that keeping all tensors takes memory
                interpreter = Interpreter(
                    model_content=self._content,
                    num_threads=os.cpu_count(),
                    experimental_op_resolver_type=OpResolverType.BUILTIN,
                    experimental_preserve_all_tensors=True,
                )
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"the interpreter cannot load {self.path}: {error}") from error
        return interpreter

    def fed_by(self, example: Mapping[str, np.ndarray]) -> list[Entry]:
        """The signatures whose inputs the example has.

        Raises:
          DataError: there is none; the message is about the first signature.
        """
        fed = [entry for entry in self.entries if set(entry.inputs) <= set(example)]
        if not fed:
            select_features(example, list(self.entries[0].inputs))
        return fed or [self.entries[0]]

    def read(self, example: Mapping[str, np.ndarray], entries: list[Entry]) -> Activations:
        """Runs signatures on one example.

        Args:
          example: feature name to value, of the shape that the input takes (mostly with a first dimension of 1).
          entries: what to run.

        Raises:
          DataError: an input has no feature, or one of another shape or type.
        """
        values: dict[str, np.ndarray] = {}
        extremes: dict[str, tuple[float, float]] = {}
        for entry in entries:
            features = {name: np.asarray(value) for name, value in select_features(example, list(entry.inputs)).items()}
            strings = {name: value.astype(np.bytes_) for name, value in features.items() if value.dtype.kind == "O"}
            features |= strings
            if self._keeps_variables:
                self._interpreter = self._load()
            self._interpreter.reset_all_variables()
            try:
                self._run(entry, features)
            except (ValueError, RuntimeError, TypeError) as error:
                given = ", ".join(f"{name!r} {value.dtype}{list(value.shape)}" for name, value in features.items())
                raise DataError(
                    f"{self.path} does not run on the features {given}: {' '.join(str(error).split())}"
                ) from error
            values.update(self._values(entry))
            if self._profile:
                extremes.update(self._profile(entry.signature, features))
        return Activations(values, {name: ends for name, ends in extremes.items() if name not in values})

    def _run(self, entry: Entry, features: dict[str, np.ndarray]) -> None:
        details = {detail["index"]: detail for detail in self._interpreter.get_tensor_details(entry.subgraph)}
        for name, index in entry.inputs.items():
            features[name] = features[name].astype(details[index]["dtype"], casting="same_kind", copy=False)
        if entry.signature is not None:
            self._interpreter.get_signature_runner(entry.signature)(**features)
            return
        for name, index in entry.inputs.items():
            self._interpreter.resize_tensor_input(index, features[name].shape)
        self._interpreter.allocate_tensors()
        for name, index in entry.inputs.items():
            self._interpreter.set_tensor(index, features[name])
        self._interpreter.invoke()

    def _values(self, entry: Entry) -> Iterator[tuple[str, np.ndarray]]:
        for name, index in entry.tensors.items():
            try:
                value = self._interpreter.get_tensor(index, entry.subgraph)
            except ValueError:  # nothing was computed, as of an output that nobody uses
                continue
            if value.size:
                yield name, value


def _entries(model: flatbuffer.RawModel) -> list[Entry]:
    if model.signatures:
        return [
            _entry(signature.name, dict(signature.inputs), model.subgraphs[signature.subgraph], signature.subgraph)
            for signature in model.signatures
        ]
    main = model.subgraphs[0]
    return [_entry(None, {main.tensors[index].name: index for index in main.inputs}, main, 0)]


def _entry(signature: str | None, inputs: Mapping[str, int], graph: flatbuffer.RawSubgraph, number: int) -> Entry:
    widened = {op.outputs[0] for op in graph.ops if op.name == "DEQUANTIZE" and graph.tensors[op.inputs[0]].constant}
    tensors = {
        tensor.name: index
        for index, tensor in enumerate(graph.tensors)
        if tensor.dtype == "float32" and not (tensor.constant or tensor.variable or index in widened)
    }
    ends = {name: _after_scaling(graph, index) for name, index in inputs.items()}
    scaled = {name: graph.tensors[end].name for name, end in ends.items() if end != inputs[name]}
    return Entry(signature, inputs, tensors, scaled, number)


def _after_scaling(graph: flatbuffer.RawSubgraph, index: int) -> int:
    users = [op for op in graph.ops if index in op.inputs]
    if len(users) != 1 or users[0].name not in _ARITHMETIC:
        return index
    if not all(other == index or graph.tensors[other].constant for other in users[0].inputs):
        return index
    return _after_scaling(graph, users[0].outputs[0])


def _profiler(path: str) -> Callable[[str | None, dict[str, np.ndarray]], dict[str, tuple[float, float]]]:
    """Makes a function that runs a signature and gives the extremes of all tensors of all subgraphs."""
    from litert_quantizer import calibrator

    mode = calibrator.CalibrationMode.CALIBRATION_PROFILER_BASED
    interpreter = calibrator.CalibrationInterpreter(path, mode, lambda before, now: now)

    def profile(signature: str | None, features: dict[str, np.ndarray]) -> dict[str, tuple[float, float]]:
        interpreter.get_signature_runner(signature)(**features)
        found = interpreter.get_calibration_results()
        return {name: (float(ends["min"].item()), float(ends["max"].item())) for name, ends in found.items()}

    return profile
