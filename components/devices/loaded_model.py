"""A .tflite file in the interpreter, fed and read by the names and real numbers that its author knows.

Names are those of the signature ``serving_default``, else of the one on the main graph, or of the tensors without any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfx_edge.errors import DataError, ModelError
from tfx_edge.lite.tensors import dequantize, quantize

SIGNATURE = "serving_default"


class LoadedModel:
    """A .tflite file in the interpreter, with inputs and outputs by the names of its signature.

    Attributes:
      inputs: the interpreter's tensor details by input name.
      outputs: the interpreter's tensor details by output name.
    """

    def __init__(self, path: str, num_threads: int, kernel: str = "default"):
        """Reads the model and allocates its tensors.

        Args:
          path: the file.
          num_threads: threads of the interpreter.
          kernel: ``"default"``, which delegates to XNNPACK what it takes, or ``"builtin"`` without it.

        Raises:
          ModelError: the file cannot be read, or holds operations that this interpreter lacks.
        """
        self.path = path
        self._num_threads = num_threads
        self._kernel = kernel
        self.interpreter = self._load()
        self.inputs, self.outputs = self._details()
        self._shapes = {name: tuple(details["shape"]) for name, details in self.inputs.items()}
        self._keeps_variables = "ASSIGN_VARIABLE" in self._operators()

    def _load(self) -> Any:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        resolvers = {"default": OpResolverType.AUTO, "builtin": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
        try:
            interpreter = Interpreter(
                self.path, num_threads=self._num_threads, experimental_op_resolver_type=resolvers[self._kernel]
            )
            interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"the interpreter cannot load {self.path}: {error}") from error
        return interpreter

    def _details(self) -> tuple[dict[str, dict], dict[str, dict]]:
        inputs, outputs = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        signatures = list(self.interpreter.get_signature_list())
        if not signatures:
            return {d["name"]: d for d in inputs}, {d["name"]: d for d in outputs}
        main = {(d["index"], d["name"]) for d in inputs}
        for key in [SIGNATURE] if SIGNATURE in signatures else signatures:
            runner = self.interpreter.get_signature_runner(key)
            named_inputs = runner.get_input_details()
            if {(d["index"], d["name"]) for d in named_inputs.values()} == main:
                return named_inputs, runner.get_output_details()
        raise ModelError(
            f"the main graph of {self.path} is none of its signatures {', '.join(signatures)}; convert it with the one "
            "to run first"
        )

    @property
    def batch_size(self) -> int | None:
        """The examples that one invocation takes, or None when the first dimension of every input is free.

        Raises:
          ModelError: an input has no batch dimension, or the inputs differ in it.
        """
        first = {int(d["shape_signature"][0]) if len(d["shape_signature"]) else 0 for d in self.inputs.values()}
        fixed = first - {-1}
        if len(fixed) > 1 or 0 in fixed:
            shapes = ", ".join(f"{name}: {_text(d['shape_signature'])}" for name, d in self.inputs.items())
            raise ModelError(
                f"the inputs of {self.path} have no first dimension in common that could be the batch ({shapes}); "
                "convert it for batch 1"
            )
        return fixed.pop() if fixed else None

    def prepare(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Checks a batch of features against the inputs, and casts or quantizes it to their types.

        A model with one input takes the one feature of a batch whatever its name; otherwise names decide.

        Raises:
          DataError: a feature is missing, has another shape or length, or holds values that the input cannot.
        """
        if len(self.inputs) == len(batch) == 1:
            batch = dict(zip(self.inputs, batch.values(), strict=True))
        missing = [name for name in self.inputs if name not in batch]
        if missing:
            raise DataError(
                f"{self.path} wants the input(s) {', '.join(missing)}, but the examples have: "
                f"{', '.join(sorted(batch)) or 'no features'}; rename the features or choose them in the input function"
            )
        ready = {name: _fit(name, batch[name], details) for name, details in self.inputs.items()}
        lengths = {name: len(values) for name, values in ready.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise DataError(f"the features of one batch must have the same length, at least 1, but it is {lengths}")
        return ready

    def feed(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Sets the input tensors, resizing those whose shape differs, and clears what earlier examples left behind.

        That is the state of recurrent layers. Variables are cleared by no call (LiteRT 2.3): a model that assigns some
        gets a new interpreter.
        """
        if self._keeps_variables:
            self.interpreter = self._load()
            self._shapes = {name: tuple(details["shape"]) for name, details in self.inputs.items()}
        resized = [name for name, shape in self._shapes.items() if shape != inputs[name].shape]
        for name in resized:
            self.interpreter.resize_tensor_input(self.inputs[name]["index"], inputs[name].shape)
            self._shapes[name] = inputs[name].shape
        if resized:
            self.interpreter.allocate_tensors()
        self.interpreter.reset_all_variables()
        for name, details in self.inputs.items():
            self.interpreter.set_tensor(details["index"], inputs[name])

    def run(self, batch: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The outputs for a batch of features: quantized ones as the real numbers that they stand for.

        A model of a fixed batch size runs as often as the examples need, the last time filled up with the last example.

        Raises:
          DataError: the batch does not fit the inputs.
          ModelError: the model does not run, or gives other than one output row an example.
        """
        ready = self.prepare(batch)
        examples = len(next(iter(ready.values())))
        step = self.batch_size or examples
        parts: dict[str, list[np.ndarray]] = {name: [] for name in self.outputs}
        for start in range(0, examples, step):
            try:
                self.feed({name: rows(values, start, step) for name, values in ready.items()})
                self.interpreter.invoke()
            except (ValueError, RuntimeError) as error:
                raise ModelError(f"{self.path} does not run: {error}") from error
            for name, details in self.outputs.items():
                values = self.interpreter.get_tensor(details["index"])
                if values.shape[:1] != (step,):
                    raise ModelError(f"output {name!r} of {self.path} has shape {values.shape} for {step} example(s)")
                parts[name].append(_real(values, details))
        return {name: np.concatenate(values)[:examples] for name, values in parts.items()}

    def random_batch(self, integers: Mapping[str, Sequence[int]]) -> dict[str, np.ndarray]:
        """Inputs ready to feed: normal floats, any quantized integer, and empty strings; the same every time.

        Args:
          integers: the least and the greatest value where integers are plain numbers, by the names of inputs; by
            default 0 and 1.
        """
        rng = np.random.default_rng(0)
        batch = {}
        for name, details in self.inputs.items():
            shape, dtype = details["shape"], np.dtype(details["dtype"])
            if dtype.kind == "f":
                batch[name] = rng.normal(size=shape).astype(dtype)
            elif _is_quantized(details):
                limits = np.iinfo(dtype)
                batch[name] = rng.integers(limits.min, limits.max, size=shape, dtype=dtype, endpoint=True)
            elif dtype.kind == "S":
                batch[name] = np.zeros(shape, dtype)
            else:
                low, high = integers.get(name, (0, 1))
                batch[name] = rng.integers(low, high, size=shape, endpoint=True).astype(dtype)
        return batch

    @property
    def kernel(self) -> str:
        """``"xnnpack"`` when that delegate took over operations of this model, else ``"builtin"``."""
        return "xnnpack" if "DELEGATE" in self._operators() else "builtin"

    def _operators(self) -> set[str]:
        return {details["op_name"] for details in self.interpreter._get_ops_details()}


def _fit(name: str, values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    wanted = [int(n) for n in details["shape_signature"]]
    if values.ndim == 1 and len(wanted) == 2 and wanted[1] == 1:
        values = values.reshape(-1, 1)
    if values.ndim != len(wanted) or any(w not in (-1, n) for w, n in zip(wanted[1:], values.shape[1:], strict=True)):
        raise DataError(
            f"input {name!r} takes examples of shape {_text(wanted[1:])}, but the batch of shape {_text(values.shape)} "
            f"holds examples of shape {_text(values.shape[1:])}; reshape the feature in the input function"
        )
    dtype = np.dtype(details["dtype"])
    if (dtype.kind == "S") != (values.dtype.kind in "SO"):
        raise DataError(
            f"input {name!r} takes {'strings' if dtype.kind == 'S' else 'numbers'}, but the feature is of type "
            f"{values.dtype}; give the model the feature that it was made for"
        )
    if dtype.kind == "S":
        return values
    if _is_quantized(details):
        try:
            return quantize(values, dtype, *details["quantization"])
        except DataError as error:
            raise DataError(f"input {name!r}: {error}") from None
    if dtype.kind == "f":
        return values.astype(dtype)
    if dtype.kind not in "iub":
        raise ModelError(f"input {name!r} is of type {dtype}, but numbers or strings are fed; convert without it")
    with np.errstate(invalid="ignore"):
        cast = values.astype(dtype)
    changed = int(np.sum(cast != values))
    if changed:
        raise DataError(
            f"input {name!r} is of type {dtype.name}, which cannot hold {changed} of {values.size} values of type "
            f"{values.dtype.name} (for example {values[cast != values][0]}); give whole numbers in its range"
        )
    return cast


def rows(values: np.ndarray, start: int, count: int) -> np.ndarray:
    """The rows from ``start``, as many as ``count``: where they end before, the last one is repeated."""
    found = values[start : start + count]
    return np.concatenate([found, np.repeat(found[-1:], count - len(found), axis=0)]) if len(found) < count else found


def _real(values: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    return dequantize(values, *details["quantization"]) if _is_quantized(details) else values


def _is_quantized(details: Mapping[str, Any]) -> bool:
    return np.dtype(details["dtype"]).kind in "iu" and details["quantization"][0] != 0


def _text(shape: Any) -> str:
    return "[" + ", ".join("any" if n == -1 else str(n) for n in shape) + "]"
