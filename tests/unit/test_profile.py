"""Time by operator, measured on real models in real child processes."""

from __future__ import annotations

import functools
import json
import sys
import timeit
from pathlib import Path

import lite_models
import pytest
from ai_edge_litert.interpreter import Interpreter
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.devices import operator_match
from tfx_edge.devices import profile as profile_module
from tfx_edge.devices.profile import profile
from tfx_edge.lite.compute import CONTROL_FLOW


@functools.cache
def wide() -> bytes:
    """Two convolutions, the second 1x1, and a dense layer: slow enough for a clock of microseconds."""
    import tf_keras as keras

    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.layers.InputLayer((32, 32, 3), name="image"),
            keras.layers.Conv2D(32, 5, padding="same", activation="relu"),
            keras.layers.DepthwiseConv2D(3, padding="same"),
            keras.layers.Conv2D(16, 1),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, activation="softmax"),
        ]
    )
    return lite_models._convert(model, (1, 32, 32, 3))


class TestProfile:
    @pytest.mark.parametrize("kernel", ["default", "builtin"])
    def test_every_operator_of_the_file_is_there_with_its_time(self, tmp_path: Path, kernel: str) -> None:
        result = profile(lite_models.write(tmp_path, wide()), kernel=kernel)

        assert result.reason is None
        assert result.kernel == kernel
        by_name = {operator.name: operator for operator in result.operators if not operator.name.startswith("XNNPACK")}
        assert {name: operator.count for name, operator in by_name.items()} == {
            "CONV_2D": 2,
            "DEPTHWISE_CONV_2D": 1,
            "MEAN": 1,
            "FULLY_CONNECTED": 1,
            "SOFTMAX": 1,
        }
        assert {operator.dtype for operator in by_name.values()} == {"float32"}
        times = [operator.time_ms or 0.0 for operator in result.operators]
        assert times == sorted(times, reverse=True)
        assert result.operators[0].name == "CONV_2D"
        assert 0.005 < times[0] < 50
        assert json.loads(json.dumps(result.to_list()))[0].keys() == {"name", "count", "dtype", "time_ms"}

    def test_a_model_too_quick_for_the_clock_gets_no_times(self, tmp_path: Path) -> None:
        result = profile(lite_models.write(tmp_path, lite_models.int8()))
        assert "us, and the profiler counts whole ones" in result.reason
        assert {op.time_ms for op in result.operators} == {None}
        assert next((op.name, op.count, op.dtype) for op in result.operators) == ("CONV_2D", 2, "int8")

    def test_hybrid_operators_show_both_types(self, tmp_path: Path) -> None:
        result = profile(lite_models.write(tmp_path, lite_models.int4_weights()))
        assert {op.dtype for op in result.operators if op.name == "FULLY_CONNECTED"} == {"float32 x int4"}

    def test_times_add_up_to_about_an_invocation(self, tmp_path: Path) -> None:
        path = lite_models.write(tmp_path, wide())
        interpreter = Interpreter(str(path), num_threads=1)
        interpreter.allocate_tensors()
        invocation_ms = min(timeit.repeat(interpreter.invoke, number=1, repeat=200)) * 1000
        total = sum(operator.time_ms or 0.0 for operator in profile(path).operators)
        assert 0.4 * invocation_ms < total < 3.5 * invocation_ms

    def test_a_loop_is_not_counted_on_top_of_its_body(self, tmp_path: Path, monkeypatch) -> None:
        monkeypatch.setattr(profile_module, "SHORTEST_US", 0)
        result = profile(lite_models.write(tmp_path, lite_models.gru_loop()))
        assert result.reason is None
        assert any(op.name in CONTROL_FLOW for op in result.operators)
        assert all(op.time_ms is None for op in result.operators if op.name in CONTROL_FLOW)

    @pytest.mark.parametrize(
        ("name", "reason"), [("flex", "Select TensorFlow op"), ("custom", "custom"), ("lstm", "Variable tensors")]
    )
    def test_a_model_that_does_not_run_keeps_its_inventory(self, tmp_path: Path, name: str, reason: str) -> None:
        result = profile(lite_models.write(tmp_path, getattr(lite_models, name)()))
        assert reason in result.reason
        assert result.operators
        assert {op.time_ms for op in result.operators} == {None}

    @pytest.mark.parametrize("content", [None, b"", b"no model at all", "cut"])
    def test_a_file_that_cannot_be_read_is_a_reason_and_no_error(self, tmp_path: Path, content) -> None:
        path = tmp_path / "tflite"
        if content is not None:
            path.write_bytes(lite_models.float32()[:9000] if content == "cut" else content)
        result = profile(path)
        assert result.operators == ()
        assert "could not be read" in result.reason


class TestAChildThatFails:
    """The runner is replaced by a real process that misbehaves."""

    @pytest.mark.parametrize(
        ("program", "reason"),
        [
            ("import os; os.kill(os.getpid(), 11)", "crashed (signal 11)"),
            ("import time; time.sleep(60)", "within 1 s"),
            ("raise SystemExit('no libLiteRt.so')", "did not start: no libLiteRt.so"),
            ("open(result, 'w').write('{')", "no time by operator"),
            ("open(result, 'w').write('[]')", "no time by operator"),
            ("open(result, 'w').write('{}')", "no time by operator"),
            ("open(result, 'w').write('{\"summaries\": []}')", "no time by operator"),
            ("open(result, 'w').write('{\"summaries\": [7]}')", "no time by operator"),
            ("open(result, 'w').write('{\"summaries\": [\"another form\"]}')", "unknown form"),
        ],
    )
    def test_it_becomes_a_reason(self, tmp_path: Path, monkeypatch, program: str, reason: str) -> None:
        start = "import json, sys; result = json.load(open(sys.argv[1]))['result']; "
        monkeypatch.setattr(profile_module, "RUNNER", (sys.executable, "-c", start + program))
        result = profile(lite_models.write(tmp_path, lite_models.float32()), timeout_s=1)
        assert reason in result.reason
        assert next(op.name for op in result.operators) == "CONV_2D"
        assert {op.time_ms for op in result.operators} == {None}

    def test_a_missing_library_is_told(self, tmp_path: Path, monkeypatch) -> None:
        (tmp_path / "ai_edge_litert").mkdir()
        (tmp_path / "ai_edge_litert" / "__init__.py").touch()
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        result = profile(lite_models.write(tmp_path, lite_models.float32()))
        assert "libLiteRt.so" in result.reason


class TestMatch:
    def test_a_pointwise_convolution_runs_as_a_fully_connected_node(self) -> None:
        operators = ["CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "PAD", "MEAN", "FULLY_CONNECTED", "SOFTMAX"]
        nodes = [
            "Delegate/Convolution (NHWC, F32) IGEMM",
            "Delegate/Convolution (NHWC, F32) DWConv",
            "Delegate/Fully Connected (NC, F32) GEMM",
            "Delegate/Mean (ND) Reduce2",
            "Delegate/Static Reshape (NC)",
            "Delegate/Fully Connected (NC, F32) GEMM",
            "SOFTMAX",
        ]
        assert operator_match.match(operators, nodes) == {0: 0, 1: 1, 2: 2, 3: 4, 5: 5, 6: 6}

    def test_nodes_in_another_order_go_to_what_is_left(self) -> None:
        assert operator_match.match(["ADD", "MUL", "SUB"], ["MUL", "SUB", "Delegate/Add (ND)"]) == {0: 1, 1: 2, 2: 0}

    @given(
        st.lists(st.sampled_from(["ADD", "MUL", "CONV_2D"])), st.lists(st.sampled_from(["ADD", "MUL", "CONV_2D", "X"]))
    )
    def test_only_equals_are_matched_each_once_and_as_many_as_can_be(self, operators, nodes) -> None:
        pairs = operator_match.match(operators, nodes)
        assert all(nodes[node] == operators[operator] for node, operator in pairs.items())
        assert len(set(pairs.values())) == len(pairs)
        assert len(pairs) == sum(min(operators.count(name), nodes.count(name)) for name in set(operators))
