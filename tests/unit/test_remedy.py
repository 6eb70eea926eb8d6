"""The next thing to try, by what binds and what was already done."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import lite_models
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tfx_edge.gate.intervals import paired_difference
from tfx_edge.gate.remedy import remedy
from tfx_edge.lite.inspect import inspect


def check(
    metric: str, value: float | None, limit: float | None, kind: str = "max", outcome: str = "fail", **more
) -> dict:
    return {
        "metric": metric,
        "kind": kind,
        "slice": None,
        "value": value,
        "low": value,
        "high": value,
        "limit": limit,
        "outcome": outcome,
        "reason": "",
        **more,
    }


def step(component: str, **recipe: Any) -> dict[str, Any]:
    return {"component": component, "recipe": recipe, "result": {}}


@pytest.fixture(scope="module")
def inspection(tmp_path_factory):
    folder: Path = tmp_path_factory.mktemp("models")
    return lambda name: inspect(lite_models.write(folder, getattr(lite_models, name)(), name)).to_dict()


def test_what_passed_needs_no_remedy() -> None:
    assert remedy([]) is None
    assert remedy([check("size_bytes", 1, 2, outcome="pass")]) is None


def test_a_figure_that_is_missing_has_no_remedy_but_its_reason() -> None:
    assert remedy([check("accuracy", None, 0.9, "min")]) is None


class TestSize:
    def test_the_cheapest_recipe_that_is_enough_is_named(self, inspection) -> None:
        float32 = inspection("float32")
        eight, four = 9_000, 6_000
        assert "'dynamic_int8'" in remedy([check("size_bytes", float32["size_bytes"], eight)], float32)
        smaller = remedy([check("size_bytes", float32["size_bytes"], four)], float32)
        assert "'int4_weights'" in smaller
        assert "dynamic_int8" not in smaller
        assert "narrower student" in remedy([check("size_bytes", float32["size_bytes"], 1000)], float32)

    def test_a_ratio_is_turned_into_bytes(self, inspection) -> None:
        float32 = inspection("float32")
        assert "'dynamic_int8'" in remedy([check("size_bytes", 1.0, 0.7, "max_ratio")], float32)
        assert "narrower student" in remedy([check("size_bytes", 1.0, 0.1, "max_ratio")], float32)

    def test_the_promise_is_kept_by_the_real_quantizer(self, inspection, tmp_path: Path) -> None:
        from tfx_edge.quantization.quantize import quantize
        from tfx_edge.quantization.recipe import Recipe

        float32 = inspection("float32")
        source = lite_models.write(tmp_path, lite_models.float32())
        quantized = quantize(source, Recipe(preset="dynamic_int8")).model
        advice = remedy([check("size_bytes", float32["size_bytes"], quantized.size_bytes)], float32)
        promised = int(re.search(r"about ([\d,]+) bytes", advice)[1].replace(",", ""))
        assert 0.85 * promised < float32["size_bytes"] - quantized.size_bytes < 1.05 * promised

    def test_a_step_that_was_taken_is_not_advised_again(self, inspection) -> None:
        int4 = inspection("int4_weights")
        advice = remedy([check("size_bytes", int4["size_bytes"], 100)], int4, [step("Quantizer", mode="int4_weights")])
        assert "Quantizer" not in advice
        assert "narrower student" in advice

    def test_zeros_are_advised_for_the_compressed_size_only(self, inspection) -> None:
        int4 = inspection("int4_weights")
        assert "final_sparsity" in remedy([check("gzip_bytes", int4["gzip_bytes"], 100)], int4)
        raw = remedy([check("size_bytes", int4["size_bytes"], 100)], int4)
        assert raw.startswith("Size: remove channels (Pruner's method 'structured')")
        pruned = [step("Pruner", method={"kind": "magnitude", "final_sparsity": 0.5})]
        assert "final_sparsity" not in remedy([check("gzip_bytes", int4["gzip_bytes"], 100)], int4, pruned)


class TestQuality:
    DROP = check("accuracy", 0.05, 0.01, "max_drop")

    @pytest.mark.parametrize(
        ("preset", "milder"),
        [
            ("int8", "'qat_int8'"),
            ("qat_int8", "more epochs"),
            ("int16x8", "'dynamic_int8'"),
            ("int4_weights", "'dynamic_int8'"),
        ],
    )
    def test_a_milder_recipe_is_named(self, preset: str, milder: str) -> None:
        assert milder in remedy([self.DROP], {}, [step("LiteConverter"), step("Quantizer", recipe={"preset": preset})])

    def test_pruning_is_eased_first(self) -> None:
        advice = remedy(
            [self.DROP],
            {},
            [
                step("Pruner", method={"kind": "magnitude", "final_sparsity": 0.8}),
                step("Quantizer", recipe={"preset": "qat_int8"}),
            ],
        )
        assert advice.index("final_sparsity from 0.8") < advice.index("epochs, or use")

    def test_without_steps_the_float_model_is_to_blame(self) -> None:
        assert "retrain the float model" in remedy([self.DROP], {}, [step("LiteConverter")])

    def test_the_worst_slice_is_named(self) -> None:
        checks = [
            self.DROP,
            check("accuracy", 0.02, 0.01, "max_drop", slice={"age": "old"}),
            check("accuracy", 0.09, 0.01, "max_drop", slice={"age": "young"}),
        ]
        advice = remedy(checks)
        assert "age=young" in advice
        assert "age=old" not in advice
        assert advice.count("Quality:") == 1


class TestLatency:
    def test_the_slowest_operator_is_named(self) -> None:
        operators = [
            {"name": "ADD", "time_ms": 0.1},
            {"name": "CONV_2D", "time_ms": 0.3},
            {"name": "PAD", "time_ms": None},
        ]
        advice = remedy([check("latency_p50_ms", 2, 1)], {"precision": "float32"}, [], operators)
        assert "'int8'" in advice
        assert "CONV_2D takes 75% of the time" in advice

    @pytest.mark.parametrize(
        ("precision", "advice"),
        [("int16x8", "25 times faster"), ("int8", "multiples of 8 or 16"), ("mixed", "whole model")],
    )
    def test_the_next_recipe_depends_on_the_precision(self, precision: str, advice: str) -> None:
        assert advice in remedy([check("latency_p90_ms", 2, 1)], {"precision": precision})

    def test_zeros_are_no_way_to_speed(self) -> None:
        assert "zeros give no speed" in remedy(
            [check("latency_min_ms", 2, 1)], {}, [step("Pruner", method={"kind": "magnitude", "final_sparsity": 0.5})]
        )

    def test_it_is_said_whose_time_it_is(self) -> None:
        operators = [{"name": "CONV_2D", "time_ms": 0.3}]
        assert "on this machine" in remedy([check("latency_p50_ms", 2, 1)], {}, [], operators)

    def test_several_statistics_are_one_topic(self) -> None:
        checks = [check("latency_p50_ms", 2, 1), check("latency_p90_ms", 3, 1)]
        assert remedy(checks, {}).count("Latency:") == 1


class TestMemory:
    def test_integers_are_advised_to_float_models_only(self) -> None:
        assert "'int8'" in remedy([check("arena_bytes", 2, 1)], {"precision": "dynamic int8"})
        assert "first layers" in remedy([check("peak_memory_bytes", 2, 1)], {"precision": "int8"})


class TestOutputs:
    def test_a_target_that_answers_otherwise_is_not_the_float_models_fault(self) -> None:
        advice = remedy([check("output_difference", 0.3, 0.1)], {"precision": "int8"})
        assert advice.startswith("Outputs:")
        assert "kernels" in advice
        assert "retrain" not in advice
        assert "examples" not in remedy([check("output_difference", 0.1, 0.1, outcome="inconclusive")])


class TestContract:
    def failed(self, *rules: str) -> list[dict]:
        return [check(rule, None, None, "contract") for rule in rules]

    def test_operators_are_named(self, inspection) -> None:
        assert "replace SIN by" in remedy(self.failed("float_islands"), inspection("float_island"))
        assert "FlexMatrixDeterminant" in remedy(self.failed("flex_ops"), inspection("flex"))

    def test_one_cause_gives_one_remedy(self, inspection) -> None:
        rules = ("claimed_quantization", "float_islands", "precision", "max_float_ops")
        assert remedy(self.failed(*rules), inspection("float_island")).count("Contract:") == 1
        assert remedy(self.failed("precision", "sha256"), {}).count("Contract:") == 2

    def test_every_rule_of_the_contract_has_one(self, inspection) -> None:
        for rule in (
            "edge_json",
            "sha256",
            "custom_ops",
            "ops",
            "claimed_pruning",
            "sparsity_min",
            "claimed_quantization",
        ):
            assert remedy(self.failed(rule), inspection("float32")), rule


class TestInconclusive:
    def test_how_many_times_the_samples_is_computed(self) -> None:
        slow = check("latency_p50_ms", 0.9, 1.0, outcome="inconclusive", low=0.7, high=1.1)
        assert remedy([slow]) == (
            "latency_p50_ms: give it a longer time budget, about 4 times as much, to tell it from its limit."
        )
        low = check("accuracy", 0.92, 0.9, "min", "inconclusive", low=0.86, high=0.98)
        assert "more evaluation examples, about 9 times as much" in remedy([low])

    def test_beyond_the_limit_the_usual_remedy_follows(self) -> None:
        slow = check("latency_p50_ms", 1.1, 1.0, outcome="inconclusive", low=0.9, high=1.3)
        assert "time budget" in remedy([slow])
        assert "Latency:" in remedy([slow])

    def test_at_the_limit_no_number_of_samples_helps(self) -> None:
        assert "move the limit" in remedy([check("auc", 0.9, 0.9, "min", "inconclusive", low=0.8, high=1.0)])

    def test_samples_without_a_disagreement_tell_more(self) -> None:
        few = paired_difference(0, 0, 400, 0.95)
        drop = check("accuracy", 0.0, 0.001, "max_drop", "inconclusive", low=few.low, high=few.high)
        advised = int(re.search(r"about (\d+) times", remedy([drop]))[1])
        assert paired_difference(0, 0, 400 * advised, 0.95).high <= 0.001
        assert paired_difference(0, 0, 400 * (advised - 1), 0.95).high > 0.001

    def test_memory_is_sampled_by_processes_and_not_by_examples(self) -> None:
        below = check("peak_memory_bytes", 100e6, 110e6, outcome="inconclusive", low=90e6, high=115e6)
        assert remedy([below], {"precision": "int8"}) == (
            "peak_memory_bytes: give it a longer time budget, for more processes, to tell it from its limit."
        )
        above = check("peak_memory_bytes", 120e6, 110e6, outcome="inconclusive", low=90e6, high=120e6)
        advice = remedy([above], {"precision": "int8"})
        assert advice.startswith("Memory:"), "the most of all processes does not fall with more of them"

    def test_failures_come_first(self) -> None:
        checks = [
            check("latency_p50_ms", 0.9, 1.0, outcome="inconclusive", low=0.7, high=1.1),
            check("accuracy", 0.5, 0.9, "min"),
        ]
        advice = remedy(checks)
        assert advice.index("Quality:") < advice.index("latency_p50_ms")


@pytest.mark.parametrize(
    "steps",
    [
        ["x", None, 3],
        [{"component": "Quantizer", "recipe": {"recipe": {"preset": ["int8"]}}}],
        [{"component": "Pruner", "recipe": "much"}, {"component": "Quantizer", "recipe": "int8"}],
    ],
)
@pytest.mark.parametrize("metric", ["size_bytes", "gzip_bytes", "latency_p50_ms", "accuracy"])
def test_damaged_steps_do_not_keep_advice_from_being_given(steps, metric) -> None:
    assert remedy([check(metric, 2, 1)], {"precision": "int8"}, steps).endswith(".")


numbers = st.one_of(st.none(), st.floats(), st.floats(-10, 10))


@given(
    st.lists(
        st.builds(
            check,
            st.sampled_from(
                ["size_bytes", "gzip_bytes", "latency_p50_ms", "arena_bytes", "accuracy", "output_difference"]
            ),
            numbers,
            st.floats(-10, 10),
            st.sampled_from(["min", "max", "max_drop", "max_ratio", "contract"]),
            st.sampled_from(["pass", "fail", "inconclusive"]),
            low=numbers,
            high=numbers,
        ),
        max_size=4,
    )
)
@example([check("size_bytes", 0.0, 0.0, "max_ratio")])
@example([check("latency_p50_ms", 1.0, 2.0, outcome="inconclusive", low=0.0, high=math.inf)])
@example([check("latency_p50_ms", 1e308, 1.0, outcome="inconclusive", low=-1e308, high=math.inf)])
@example([check("accuracy", math.nan, 1.0, "min")])
def test_whatever_was_measured_a_remedy_never_fails(checks) -> None:
    text = remedy(checks, {"size_bytes": 100, "precision": "float32"}, [step("Quantizer", mode="int8")])
    assert text is None or text.endswith(".")
    if all(item["outcome"] == "pass" for item in checks):
        assert text is None
