"""What a pipeline author is told while the pipeline is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tfx import types
from tfx.orchestration.data_types import RuntimeParameter
from tfx.types import standard_artifacts

from tfx_edge import Distiller, EdgeEvaluator, LiteConverter, Pruner, Quantizer
from tfx_edge.errors import ConfigError, UserCodeError

MODEL = types.Channel(type=standard_artifacts.Model)
EXAMPLES = types.Channel(type=standard_artifacts.Examples)
SCHEMA = types.Channel(type=standard_artifacts.Schema)
GRAPH = types.Channel(type=standard_artifacts.TransformGraph)


def test_equal_configurations_have_equal_properties() -> None:
    data: dict[str, Any] = {"model": MODEL, "examples": EXAMPLES, "schema": SCHEMA, "label_key": "label"}
    first = Pruner(config={"method": {"final_sparsity": 0.8}, "epochs": 2}, **data)
    second = Pruner(config={"epochs": 2, "method": {"kind": "magnitude", "final_sparsity": 0.8}}, **data)
    assert first.spec.exec_properties["config"] == second.spec.exec_properties["config"]


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"final_sparsity": 0.5}, r"unknown key 'final_sparsity' \(value 0.5\).*method"),
        ({"method": {"sparsity": 0.5}}, r"unknown key 'method.magnitude.sparsity' \(value 0.5\).*final_sparsity"),
        ({"method": {"final_sparsity": 1.0}}, "final_sparsity"),
        (
            {"method": {"initial_sparsity": 0.6, "final_sparsity": 0.5}},
            "initial_sparsity 0.6 must be below final_sparsity 0.5",
        ),
        ({"method": {"layers": "("}}, "not a regular expression"),
    ],
)
def test_pruner_refuses(config: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Pruner(model=MODEL, examples=EXAMPLES, config=config)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"recipe": "int7"}, r"recipe\.preset: .*'int4_weights'.*int7"),
        ({"recipe": "float16", "epochs": 3}, "epochs belong to recipe 'qat_int8'"),
        (
            {"recipe": {"preset": "dynamic_int8", "calibration": {"examples": 10}}},
            "calibration belongs to precisions int16x8",
        ),
        ({"recipe": "float32"}, "quantizes nothing"),
        (
            {"recipe": {"preset": "float32", "overrides": [{"layers": "x", "precision": "float32"}]}},
            "recipe 'float32' quantizes nothing: name another precision",
        ),
        (
            {"recipe": "int8", "recovery": {"methods": ["equalize"], "spare": "int16x8", "seconds": 60}},
            r"recovery.spare 'int16x8', recovery.seconds 60.0 belong to method 'mixed_precision'.*leave them out",
        ),
    ],
)
def test_quantizer_refuses(config: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Quantizer(model=MODEL, examples=EXAMPLES, config=config)


@pytest.mark.parametrize("preset", ["int8", "int16x8", "qat_int8"])
def test_quantizer_needs_examples_to_learn_from(preset: str) -> None:
    with pytest.raises(ConfigError, match=f"recipe '{preset}' needs examples"):
        Quantizer(model=MODEL, config={"recipe": preset})


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


def test_state_is_kept_in_a_folder_of_our_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Old files in it are deleted, and the folder that is named may hold others."""
    from tfx_edge.stages.executor import STATE_DIR_VARIABLE, state_dir

    monkeypatch.setenv(STATE_DIR_VARIABLE, "/mnt/volume")
    assert state_dir(None) == "/mnt/volume/tfx_edge"


RECOVERY = {"recipe": "int8", "recovery": {"metric": "accuracy"}}
LEARNING = [
    pytest.param(Pruner, {}, id="Pruner"),
    pytest.param(Distiller, {"student": "same"}, id="Distiller"),
    pytest.param(Quantizer, {"recipe": "qat_int8"}, id="Quantizer that trains"),
    pytest.param(Quantizer, RECOVERY, id="Quantizer with a metric"),
]
DESCRIBED = [pytest.param({"schema": SCHEMA}, id="schema"), pytest.param({"transform_graph": GRAPH}, id="graph")]
PARAMETER = RuntimeParameter(name="config", ptype=str)


def module(tmp_path: Path, source: str) -> str:
    path = tmp_path / "module.py"
    path.write_text(source)
    return str(path)


@pytest.mark.parametrize(("kind", "config"), [*LEARNING, (Quantizer, {"recipe": "int8"}), (Pruner, PARAMETER)])
def test_examples_that_nothing_describes_are_refused(kind: Any, config: Any, tmp_path: Path) -> None:
    told = rf"^{kind.__name__}: the examples cannot be read: pass schema or transform_graph .*input_fn"
    for given in ({}, {"module_file": module(tmp_path, "def compile_fn(model, fn_args): ...\n")}):
        with pytest.raises(ConfigError, match=told):
            kind(model=MODEL, examples=EXAMPLES, config=config, label_key="label", **given)


@pytest.mark.parametrize("described", DESCRIBED)
@pytest.mark.parametrize(("kind", "config"), [*LEARNING, (Pruner, PARAMETER)])
def test_what_needs_labels_needs_a_label_key(kind: Any, config: Any, described: dict[str, Any]) -> None:
    for given in ({}, {"label_key": ""}):
        with pytest.raises(ConfigError, match=rf"^{kind.__name__}: .* needs labels.*pass label_key.*input_fn"):
            kind(model=MODEL, examples=EXAMPLES, config=config, **described, **given)
    kind(model=MODEL, examples=EXAMPLES, config=config, **described, label_key="label")


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("def input_fn(patterns, fn_args, batch_size): ...\n", id="defined"),
        pytest.param("from reading import *\n", id="unknown"),
        pytest.param("if True:\n    def input_fn(patterns, fn_args, batch_size): ...\n", id="conditional"),
    ],
)
@pytest.mark.parametrize(("kind", "config"), [*LEARNING, (LiteConverter, {})])
def test_a_module_that_may_define_input_fn_reads_examples_itself(
    kind: Any, config: Any, source: str, tmp_path: Path
) -> None:
    kind(model=MODEL, examples=EXAMPLES, config=config, module_file=module(tmp_path, source))


@pytest.mark.parametrize(
    "config", [{"recipe": "int8"}, {"recipe": "int8", "recovery": {}}, {"recipe": "dynamic_int8", "recovery": {}}]
)
@pytest.mark.parametrize("described", DESCRIBED)
def test_labels_are_not_demanded_where_none_are_needed(config: Any, described: dict[str, Any]) -> None:
    Quantizer(model=MODEL, examples=EXAMPLES, config=config, **described)


@pytest.mark.parametrize("config", [{"recipe": "dynamic_int8"}, PARAMETER])
def test_examples_that_may_stay_unread_need_no_description(config: Any) -> None:
    Quantizer(model=MODEL, examples=EXAMPLES, config=config)


def test_lite_converter_reads_examples_by_a_schema_alone() -> None:
    with pytest.raises(ConfigError, match="LiteConverter: the examples cannot be read: pass schema with examples"):
        LiteConverter(model=MODEL, examples=EXAMPLES, transform_graph=GRAPH)
    LiteConverter(model=MODEL, examples=EXAMPLES, schema=SCHEMA, transform_graph=GRAPH)
    LiteConverter(model=MODEL, transform_graph=GRAPH)
