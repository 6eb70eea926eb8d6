"""What a pipeline author is told while the pipeline is built."""

from __future__ import annotations

from pathlib import Path

import pytest
from tfx import types
from tfx.types import standard_artifacts

from tfx_edge import Distiller, EdgeEvaluator, LiteConverter, Pruner, Quantizer
from tfx_edge.errors import ConfigError, UserCodeError

MODEL = types.Channel(type=standard_artifacts.Model)
EXAMPLES = types.Channel(type=standard_artifacts.Examples)


def test_equal_configurations_have_equal_properties() -> None:
    first = Pruner(model=MODEL, examples=EXAMPLES, config={"final_sparsity": 0.8, "epochs": 2})
    second = Pruner(model=MODEL, examples=EXAMPLES, config={"epochs": 2, "final_sparsity": 0.8})
    assert first.spec.exec_properties["config"] == second.spec.exec_properties["config"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"sparsity": 0.5}, r"unknown key 'sparsity' \(value 0.5\).*final_sparsity"),
        ({"final_sparsity": 1.0}, "final_sparsity"),
        ({"initial_sparsity": 0.6, "final_sparsity": 0.5}, "initial_sparsity 0.6 must be below final_sparsity 0.5"),
        ({"layers": "("}, "not a regular expression"),
    ],
)
def test_pruner_refuses(config: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Pruner(model=MODEL, examples=EXAMPLES, config=config)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"mode": "int7"}, r"mode: .*'int4_weights'.*int7"),
        ({"mode": "float16", "epochs": 3}, "epochs belong to mode 'qat'"),
        ({"mode": "dynamic_int8", "calibration_examples": 10}, "calibration_examples belongs to modes int8"),
    ],
)
def test_quantizer_refuses(config: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Quantizer(model=MODEL, examples=EXAMPLES, config=config)


@pytest.mark.parametrize("mode", ["int8", "int16x8", "qat"])
def test_quantizer_needs_examples_to_learn_from(mode: str) -> None:
    with pytest.raises(ConfigError, match=f"mode '{mode}' needs examples"):
        Quantizer(model=MODEL, config={"mode": mode})


def test_distiller_needs_a_module_with_build_student_fn(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="build_student_fn"):
        Distiller(model=MODEL, examples=EXAMPLES)
    module = tmp_path / "module.py"
    module.write_text("def run_fn(fn_args): ...\n")
    with pytest.raises(UserCodeError, match=r"module\.py does not define build_student_fn"):
        Distiller(model=MODEL, examples=EXAMPLES, module_file=str(module))
    with pytest.raises(ConfigError, match=r"no_such\.py' does not exist"):
        Distiller(model=MODEL, examples=EXAMPLES, module_file=str(tmp_path / "no_such.py"))
    with pytest.raises(ConfigError, match="not both"):
        Distiller(model=MODEL, examples=EXAMPLES, module_file=str(module), module_path="module")


def test_evaluator_refuses_thresholds_that_contradict() -> None:
    with pytest.raises(ConfigError, match="accuracy"):
        EdgeEvaluator(model=MODEL, examples=EXAMPLES, config={"thresholds": {"accuracy": {"min": 0.9, "max": 0.8}}})
    with pytest.raises(ConfigError, match="no thresholds"):
        EdgeEvaluator(model=MODEL, examples=EXAMPLES, config={"thresholds": {}})


def test_evaluator_needs_a_baseline_to_compare_with() -> None:
    with pytest.raises(ConfigError, match="accuracy compare with a baseline: pass baseline_model"):
        EdgeEvaluator(model=MODEL, examples=EXAMPLES, config={"thresholds": {"accuracy": {"max_drop": 0.01}}})


def test_the_package_version_is_part_of_the_cache_key() -> None:
    assert LiteConverter(model=MODEL).spec.exec_properties["tfx_edge_version"]
