"""Contract checks on real files: what is in them, and what was recorded about them."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lite_models
import numpy as np
import pytest

from tfx_edge.errors import ConfigError
from tfx_edge.gate.claims import ContractCheck
from tfx_edge.gate.contract import PRECISIONS, Contract, check_contract, read_description
from tfx_edge.lite import bundle
from tfx_edge.lite.inspect import LiteModel, inspect
from tfx_edge.quantization.quantize import quantize
from tfx_edge.quantization.recipe import Recipe

CONVERTED = {"component": "LiteConverter", "recipe": {"recipe": None, "batch_size": 1}, "result": {}}
QAT = {"component": "Quantizer", "recipe": {"recipe": {"preset": "qat_int8"}}, "result": {"float_layers": []}}
DISTILLED = {"component": "Distiller", "recipe": {}, "result": {}}
INTEGER = {"component": "LiteConverter", "recipe": {"recipe": {"preset": "int8"}}, "result": {}}


def quantized(preset: str) -> dict[str, Any]:
    return {"component": "Quantizer", "recipe": {"recipe": {"preset": preset}}, "result": {}}


def pruned(share: float = 0.8, layers: str = ".*") -> dict[str, Any]:
    names = ("conv_a", "conv_b", "dense", "probability")
    return {
        "component": "Pruner",
        "recipe": {"method": {"kind": "magnitude", "final_sparsity": share, "layers": layers}},
        "result": {
            "sparsity": dict.fromkeys(names, share),
            "pruned": [name for name in names if re.fullmatch(layers, name)],
        },
    }


@functools.cache
def pruned_int8(only_dense: bool = False) -> bytes:
    """The CNN in full int8, four of five weights of each kernel (or of one only) set to zero beforehand."""
    import tf_keras as keras

    model = keras.models.clone_model(lite_models.cnn())
    model.set_weights([prune(values, only_dense) for values in lite_models.cnn().get_weights()])
    setup = functools.partial(lite_models._full_integer, io_dtype="int8")
    return lite_models._convert(model, lite_models.IMAGE_SHAPE, setup)


def prune(values: np.ndarray, only_dense: bool) -> np.ndarray:
    if values.ndim == 1 or (only_dense and values.shape != (64, 48)):
        return values
    return np.where(np.abs(values) < np.quantile(np.abs(values), 0.8), 0, values).astype(np.float32)


@pytest.fixture
def inspected(tmp_path: Path) -> Callable[[bytes], LiteModel]:
    return lambda content: inspect(lite_models.write(tmp_path, content))


def check(model: LiteModel, steps: list[dict[str, Any]], **contract: Any) -> dict[str, ContractCheck]:
    described = {"sha256": model.sha256, "steps": steps}
    results = check_contract(model, Contract.parse(contract), steps, described)
    assert len({result.rule for result in results}) == len(results), "a rule was reported twice"
    assert json.loads(json.dumps([dataclasses.asdict(result) for result in results], allow_nan=False))
    return {result.rule: result for result in results}


def failed(results: dict[str, ContractCheck]) -> set[str]:
    return {rule for rule, result in results.items() if not result.passed}


class TestWhatIsAlwaysChecked:
    @pytest.mark.parametrize(
        ("preset", "label"),
        [
            ("dynamic_int8", "dynamic int8"),
            ("int8", "int8"),
            ("int4_weights", "int4 weights"),
            ("float16", "float16 weights"),
        ],
    )
    def test_what_the_quantizer_writes_keeps_to_its_own_claims(self, tmp_path: Path, preset: str, label: str) -> None:
        source = lite_models.write(tmp_path, lite_models.float32(), "source")
        content = quantize(source, Recipe(preset=preset), lite_models.images()).content
        steps = [CONVERTED, quantized(preset)]
        model = bundle.write_bundle(tmp_path / "out", content, steps, "parent", None)
        described = read_description(model.path)

        assert described is not None
        results = check_contract(model, Contract(precision=label), described["steps"], described)

        assert [result for result in results if not result.passed] == []
        assert {"edge_json", "sha256", "flex_ops", "claimed_quantization", "precision"} <= {r.rule for r in results}

    def test_a_flex_operator_is_named_and_refused_unless_allowed(self, inspected) -> None:
        model = inspected(lite_models.flex())
        results = check(model, [CONVERTED])
        assert failed(results) == {"flex_ops"}
        assert "FlexMatrixDeterminant" in results["flex_ops"].reason
        assert "allow_flex" in results["flex_ops"].reason
        assert failed(check(model, [CONVERTED], allow_flex=True)) == set()

    def test_a_custom_operator_must_be_named(self, inspected) -> None:
        model = inspected(lite_models.custom())
        results = check(model, [CONVERTED])
        assert failed(results) == {"custom_ops"}
        (name,) = results["custom_ops"].found
        assert name in results["custom_ops"].reason
        assert failed(check(model, [CONVERTED], allow_custom=["Another"])) == {"custom_ops"}
        assert failed(check(model, [CONVERTED], allow_custom=[name])) == set()

    def test_a_file_that_was_changed_after_it_was_described_is_refused(self, inspected) -> None:
        model = inspected(lite_models.float32())
        described = {"sha256": "0" * 64, "steps": []}
        results = {r.rule: r for r in check_contract(model, Contract(), [], described)}
        assert failed(results) == {"sha256"}
        assert model.sha256[:12] in results["sha256"].reason
        assert "000000000000" in results["sha256"].reason

    @pytest.mark.parametrize(
        "text", [None, "", "{", "[]", "7", '{"sha256": "x"}', '{"steps": []}', '{"sha256": "", "steps": 3}']
    )
    def test_a_description_that_is_missing_or_broken_is_refused(self, tmp_path: Path, text: str | None) -> None:
        model = inspect(lite_models.write(tmp_path, lite_models.float32()))
        if text is not None:
            (tmp_path / "edge.json").write_text(text)
        results = {r.rule: r for r in check_contract(model, Contract(), [], read_description(model.path))}
        assert failed(results) == {"edge_json"}
        assert "edge.json" in results["edge_json"].reason

    @pytest.mark.parametrize("step", [None, 3, {}, {"component": "Quantizer"}, {"component": "Pruner", "recipe": []}])
    def test_a_step_that_cannot_be_read_is_refused(self, inspected, step: Any) -> None:
        assert failed(check(inspected(lite_models.float32()), [CONVERTED, step])) == {"steps"}


class TestClaimsOfQuantization:
    @pytest.mark.parametrize("step", [quantized("int8"), QAT], ids=["int8", "qat"])
    def test_float_weights_belie_it(self, inspected, step: dict[str, Any]) -> None:
        results = check(inspected(lite_models.float32()), [step])
        assert failed(results) == {"claimed_quantization", "float_islands"}
        assert "the file is 'float32'" in results["claimed_quantization"].reason
        assert "FULLY_CONNECTED" in results["float_islands"].reason

    def test_a_float_island_is_named(self, inspected) -> None:
        results = check(inspected(lite_models.float_island()), [quantized("int8")])
        assert failed(results) == {"claimed_quantization", "float_islands"}
        assert "SIN computes in float" in results["float_islands"].reason
        assert results["float_islands"].found == ["SIN"]

    def test_dynamic_range_is_not_int8(self, inspected) -> None:
        results = check(inspected(lite_models.dynamic_int8()), [quantized("int8")])
        assert failed(results) == {"claimed_quantization", "float_islands"}
        assert "with quantized weights" in results["claimed_quantization"].reason

    def test_each_layer_of_a_mixed_recipe_is_held_to_it(self, tmp_path: Path, inspected) -> None:
        recipe = {"preset": "int8", "overrides": [{"layers": "conv_a", "precision": "float32"}]}
        step = {"component": "Quantizer", "recipe": {"recipe": recipe}, "result": {}}
        source = lite_models.write(tmp_path, lite_models.float32(), "source")
        mixed = inspected(quantize(source, Recipe.parse(recipe), lite_models.images()).content)
        assert failed(check(mixed, [CONVERTED, step])) == set()
        results = check(inspected(lite_models.int8()), [CONVERTED, step])
        assert failed(results) == {"claimed_quantization"}
        assert "conv_a" in results["claimed_quantization"].reason
        assert "is int8, not float32" in results["claimed_quantization"].reason

    def test_layers_that_were_recorded_as_float_are_no_lie(self, inspected) -> None:
        step = {**QAT, "result": {"float_layers": ["sine"]}}
        results = check(inspected(lite_models.float_island()), [step, INTEGER])
        assert failed(results) == set()
        assert "sine" in results["claimed_quantization"].reason
        assert failed(check(inspected(lite_models.float32()), [step])) == {"claimed_quantization"}

    @pytest.mark.parametrize(
        ("preset", "content"),
        [("dynamic_int8", "float32"), ("int4_weights", "dynamic_int8"), ("float16", "float32"), ("int16x8", "int8")],
    )
    def test_another_type_of_weights_is_noticed(self, inspected, preset: str, content: str) -> None:
        assert "claimed_quantization" in failed(check(inspected(getattr(lite_models, content)()), [quantized(preset)]))

    def test_an_unknown_recipe_is_not_taken_on_trust(self, inspected) -> None:
        results = check(inspected(lite_models.int8()), [quantized("int3")])
        assert "int3" in results["claimed_quantization"].reason
        assert failed(results) == {"claimed_quantization"}

    def test_what_was_done_to_a_teacher_says_nothing_about_its_student(self, inspected) -> None:
        results = check(inspected(lite_models.float32()), [QAT, pruned(), DISTILLED, CONVERTED])
        assert failed(results) == set()
        assert not {"claimed_quantization", "claimed_pruning", "float_islands"} & results.keys()


class TestClaimsOfPruning:
    def test_zeros_of_an_int8_model_count(self, inspected) -> None:
        model = inspected(pruned_int8())
        results = check(model, [pruned(), QAT, INTEGER], sparsity_min=0.75)
        assert failed(results) == set()
        assert results["claimed_pruning"].found["sparsity"] == pytest.approx(0.8, abs=0.02)

    def test_weights_that_were_trained_full_again_belie_it(self, inspected) -> None:
        results = check(inspected(lite_models.int8()), [pruned(), QAT, INTEGER])
        assert failed(results) == {"claimed_pruning"}
        assert "preserve 'sparsity'" in results["claimed_pruning"].reason
        assert "80% zeros in 4 layers" in results["claimed_pruning"].reason

    def test_only_the_layers_that_were_to_be_pruned_count(self, inspected) -> None:
        model = inspected(pruned_int8(only_dense=True))
        assert failed(check(model, [pruned(layers="dense"), QAT, INTEGER])) == set()
        assert failed(check(model, [pruned(layers="dense|conv_b"), QAT, INTEGER])) == {"claimed_pruning"}

    def test_the_zeros_that_clustering_kept_are_claimed_and_those_of_whole_filters_are_not(self, inspected) -> None:
        clusters = {**pruned(), "recipe": {"method": {"kind": "clusters"}}}
        assert failed(check(inspected(pruned_int8()), [clusters, QAT, INTEGER])) == set()
        assert failed(check(inspected(lite_models.int8()), [clusters, QAT, INTEGER])) == {"claimed_pruning"}
        structured = {"component": "Pruner", "recipe": {"method": {"kind": "structured"}}, "result": {}}
        assert "claimed_pruning" not in check(inspected(lite_models.int8()), [structured, QAT, INTEGER])

    def test_layers_may_have_shares_of_their_own(self, inspected) -> None:
        step = pruned()
        step["result"]["sparsity"] = {"conv_a": 0.5, "conv_b": 0.7, "dense": 0.8, "probability": 0.2}
        results = check(inspected(pruned_int8()), [step, QAT, INTEGER])
        assert failed(results) == set()
        assert "20% to 80% zeros in 4 layers" in results["claimed_pruning"].reason
        step["result"]["sparsity"]["dense"] = 0.95
        assert failed(check(inspected(pruned_int8()), [step, QAT, INTEGER])) == {"claimed_pruning"}

    def test_few_zeros_are_not_none(self, inspected) -> None:
        assert failed(check(inspected(lite_models.int8()), [pruned(0.08), QAT, INTEGER])) == {"claimed_pruning"}

    def test_a_step_that_recorded_nothing_fails(self, inspected) -> None:
        assert failed(check(inspected(pruned_int8()), [{**pruned(), "result": {}}])) == {"claimed_pruning"}

    def test_savings_are_what_the_file_shows(self, inspected) -> None:
        dense, sparse = inspected(pruned_int8()), inspected(lite_models.sparse())
        in_dense = check(dense, [pruned()])["pruning_savings"]
        in_sparse = check(sparse, [pruned(0.5)])["pruning_savings"]
        assert in_dense.found["file_bytes_saved"] == 0
        assert in_dense.found["gzip_bytes"] < 0.7 * in_dense.found["size_bytes"]
        assert "no time" in in_dense.reason
        assert in_sparse.found["file_bytes_saved"] == 64 * 64 * 4 - sparse.weights[0].size_bytes > 0


class TestClaimsOfConversion:
    def test_the_types_of_inputs_and_outputs_are_compared(self, inspected) -> None:
        assert failed(check(inspected(lite_models.int8()), [QAT, INTEGER])) == set()
        assert failed(check(inspected(lite_models.int8_float_io()), [QAT, CONVERTED])) == set()
        results = check(inspected(lite_models.int8_float_io()), [QAT, INTEGER])
        assert failed(results) == {"claimed_io"}
        assert "image is float32, probability is float32" in results["claimed_io"].reason
        assert failed(check(inspected(lite_models.int8()), [QAT, CONVERTED])) == {"claimed_io"}

    def test_a_quantizer_after_it_may_change_them(self, inspected) -> None:
        assert "claimed_io" not in check(inspected(lite_models.int8()), [CONVERTED, quantized("int8")])


class TestConfiguredRules:
    @pytest.mark.parametrize(
        ("content", "contract", "rule", "named"),
        [
            ("float32", {"precision": "int8"}, "precision", "bytes of float32"),
            ("float_island", {"precision": "int8"}, "float_islands", "SIN"),
            ("int8", {"ops": ["CONV_2D", "FULLY_CONNECTED", "SOFTMAX", "RESHAPE"]}, "ops", "MAX_POOL_2D"),
            ("int8_float_io", {"input_dtypes": ["int8"]}, "input_dtypes", "image is float32"),
            ("int8_float_io", {"output_dtypes": ["int8", "uint8"]}, "output_dtypes", "probability is float32"),
            ("dynamic_int8", {"weight_dtypes": ["int8", "int32"]}, "weight_dtypes", "bytes in float32"),
            ("dynamic_int8", {"max_float_ops": 6}, "max_float_ops", "7 operators"),
            ("int8", {"sparsity_min": 0.4}, "sparsity_min", "less than 40.0%"),
        ],
    )
    def test_a_broken_rule_names_what_breaks_it(
        self, inspected, content: str, contract: dict[str, Any], rule, named
    ) -> None:
        result = check(inspected(getattr(lite_models, content)()), [], **contract)[rule]
        assert not result.passed
        assert named in result.reason

    def test_the_same_rules_are_kept_by_models_that_fit(self, inspected) -> None:
        model = inspected(lite_models.int8())
        contract = {
            "precision": "int8",
            "ops": ["CONV_2D", "FULLY_CONNECTED", "SOFTMAX", "RESHAPE", "MAX_POOL_2D"],
            "input_dtypes": ["int8"],
            "output_dtypes": ["int8"],
            "weight_dtypes": ["int8", "int32"],
            "max_float_ops": 0,
        }
        results = check(model, [], **contract)
        assert failed(results) == set()
        assert contract.keys() <= results.keys()
        assert failed(check(inspected(lite_models.dynamic_int8()), [], max_float_ops=7)) == set()

    @pytest.mark.parametrize(
        "name", ["float32", "float16", "dynamic_int8", "int8", "int16x8", "int4_weights", "int8x4"]
    )
    def test_every_label_of_an_inspection_can_be_asked_for(self, inspected, name: str) -> None:
        model = inspected(getattr(lite_models, name)())
        assert model.precision in PRECISIONS
        assert failed(check(model, [], precision=model.precision)) == set()

    @pytest.mark.parametrize(
        ("contract", "message"),
        [
            ({"precision": "INT8"}, "no such precision; there are float32"),
            ({"input_dtypes": ["float"]}, "name at least one type"),
            ({"output_dtypes": []}, "name at least one type"),
            ({"ops": ["Conv2D"]}, "unknown: Conv2D"),
            ({"max_float_ops": -1}, "max_float_ops"),
            ({"sparsity_min": 1.5}, "sparsity_min"),
            ({"flex": True}, "unknown key 'flex'"),
        ],
    )
    def test_a_contract_that_cannot_be_meant_fails_when_it_is_written(
        self, contract: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(ConfigError, match=message):
            Contract.parse(contract)

    def test_a_contract_survives_its_json(self) -> None:
        contract = Contract.parse({"ops": ["ADD"], "input_dtypes": ["int8"], "sparsity_min": 0.4})
        assert Contract.parse(contract.to_json()) == contract
