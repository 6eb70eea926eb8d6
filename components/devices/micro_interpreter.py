"""TensorFlow Lite Micro on this host, used like the interpreter of LiteRT.

Models that it would run wrongly or crash on are refused beforehand; what it refuses itself is told in its words, with a
remedy. It writes those words to the error stream of the process and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tfx_edge.devices.loaded_model import LoadedModel
from tfx_edge.errors import DeviceError, ModelError
from tfx_edge.lite import flatbuffer

PACKAGE = "tflite-micro"
# More than any microcontroller has; memory that the model does not use is never touched.
LARGEST_ARENA = 256 * 1024**2
_ALLOCATION = re.compile(
    r"^\[RecordingMicroAllocator\] (?:Arena allocation (\w+) (\d+)|'([^']+)' used (\d+)) bytes", re.MULTILINE
)
_SOURCE_LINE = re.compile(r"\S+/micro/\S+\.(?:cc|h)(?::\d+)?\s+")
_REMEDIES = (
    (
        r"Hybrid models are not supported",
        "its weights are integers and its activations float: quantize it with mode 'int8', which calibrates both",
    ),
    (
        r"Node DEQUANTIZE .* failed to prepare",
        "it keeps weights as float16, which cannot be read there: quantize it with mode 'int8' instead",
    ),
    (r"op code", "replace the layer that makes this operation by one that microcontrollers have a kernel for"),
    (r"missing: \d+", f"it needs a tensor arena of more than {LARGEST_ARENA // 1024**2} MiB: make its tensors smaller"),
)


class MicroInterpreter:
    """TensorFlow Lite Micro with a model, used like the interpreter of ``ai_edge_litert``.

    Attributes:
      graph: what the file says about the model.
    """

    def __init__(self, path: str, arena_bytes: int, said: Callable[[], str] = str):
        """Reads the model and allocates its tensors.

        Args:
          path: a .tflite file.
          arena_bytes: the size of the tensor arena that it gets.
          said: gives what the interpreter wrote to the error stream so far.

        Raises:
          ModelError: the file cannot be read, or microcontrollers cannot run it.
          DeviceError: the package ``tflite-micro`` is not installed.
        """
        try:
            from tflite_micro import runtime
        except ImportError as error:
            raise DeviceError(f"{PACKAGE} cannot be imported ({error}): install tfx-edge[mcu]") from None

        content = Path(path).read_bytes()
        self._path, self._said = path, said
        self.graph = _checked(path, content)
        main = self.graph.subgraphs[0]
        self._input_positions = {index: position for position, index in enumerate(main.inputs)}
        self._output_positions = {index: position for position, index in enumerate(main.outputs)}
        try:
            self._runtime = runtime.Interpreter.from_bytes(content, arena_size=arena_bytes)
        except (RuntimeError, ValueError) as error:
            raise self._refused(error) from None

    def set_tensor(self, index: int, values: np.ndarray) -> None:
        """Sets an input, by its tensor's index in the file."""
        self._runtime.set_input(values, self._input_positions[index])

    def get_tensor(self, index: int) -> np.ndarray:
        """The values of an output, by its tensor's index in the file."""
        return self._runtime.get_output(self._output_positions[index])

    def reset_all_variables(self) -> None:
        """Clears the state of recurrent layers."""
        self._runtime.reset()

    def invoke(self) -> None:
        """Runs the model once.

        Raises:
          ModelError: an operation failed.
        """
        try:
            self._runtime.invoke()
        except (RuntimeError, ValueError) as error:
            raise self._refused(error) from None

    def run_zeros(self) -> None:
        """Runs the model once with zeros as inputs."""
        for position in self._input_positions.values():
            details = self._runtime.get_input_details(position)
            self._runtime.set_input(np.zeros(details["shape"], details["dtype"]), position)
        self.invoke()

    def allocations(self) -> dict[str, int]:
        """Bytes of the arena in use, by what they are used for; needs ``said``. Call it after a run."""
        self._runtime.print_allocations()
        found = _ALLOCATION.findall(self._said())
        allocations = {area or use: int(area_bytes or use_bytes) for area, area_bytes, use, use_bytes in found}
        if "total" not in allocations:
            raise DeviceError(f"{PACKAGE} answered nonsense about its allocations: {self._said()[-300:]!r}")
        return allocations

    def _refused(self, error: Exception) -> ModelError:
        words = _SOURCE_LINE.sub("", self._said() or str(error))
        lines = [line.strip() for line in words.splitlines() if line.strip() and not line.startswith("INFO:")]
        customs = sorted({op.name for graph in self.graph.subgraphs for op in graph.ops if op.custom})
        if customs and "op code CUSTOM" in words:
            lines.append(f"its custom operations: {', '.join(customs)}")
        remedies = [remedy for pattern, remedy in _REMEDIES if re.search(pattern, words)]
        remedy = (remedies or ["convert it with fixed shapes and quantize it with mode 'int8'"])[0]
        return ModelError(
            f"{self._path} does not run in TensorFlow Lite Micro, which says: {'; '.join(lines)[:600]}. "
            f"{remedy[0].upper()}{remedy[1:]}"
        )


class MicroModel(LoadedModel):
    """A model in TensorFlow Lite Micro, fed and read by the names that LiteRT finds for its tensors."""

    def __init__(self, path: str, said: Callable[[], str]):
        micro = MicroInterpreter(path, LARGEST_ARENA, said)
        super().__init__(path, num_threads=1)
        self.interpreter = micro

    @property
    def batch_size(self) -> int:
        """The examples that one invocation takes: those that memory is planned for."""
        return super().batch_size or int(next(iter(self.inputs.values()))["shape"][0])


def _checked(path: str, content: bytes) -> flatbuffer.RawModel:
    """Refuses what TensorFlow Lite Micro would silently run wrongly, or crash on."""
    try:
        graph = flatbuffer.parse(content)
    except ModelError as error:
        raise ModelError(f"{path}: {error}; give a whole .tflite file") from None
    if len(graph.signatures) > 1:
        names = ", ".join(signature.name for signature in graph.signatures)
        raise ModelError(f"{path} has the signatures {names}, but a microcontroller runs one: convert with one")
    sparse = [tensor.name for subgraph in graph.subgraphs for tensor in subgraph.tensors if tensor.sparse]
    if sparse:
        raise ModelError(
            f"{path} stores {', '.join(sparse[:3])} in TFLite's sparse encoding, which TensorFlow Lite Micro takes for "
            "plain weights, so that its outputs are wrong: convert without EXPERIMENTAL_SPARSITY"
        )
    main = graph.subgraphs[0]
    for tensor in (main.tensors[index] for index in main.inputs):
        if -1 in tensor.shape_signature[1:]:
            raise ModelError(
                f"input {tensor.name!r} of {path} has the shape {list(tensor.shape_signature)}, but memory on a "
                "microcontroller is planned for one shape: convert with a fixed shape (only the batch may be free)"
            )
    return graph
