from __future__ import annotations

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import lite_models
import numpy as np
import pytest

from tfx_edge.devices import batches, local, runner
from tfx_edge.devices.local import Local, fingerprint, infer
from tfx_edge.devices.measurement import ProcessRun
from tfx_edge.devices.target import RunOptions
from tfx_edge.errors import ConfigError, DataError, DeviceError, ModelError

GOOD_RUN = {
    "samples_ns": [5], "first_invoke_ns": 5, "load_ns": 5, "peak_memory_bytes": 5, "import_memory_bytes": 5,
    "cores": [0],
}  # fmt: skip
FEATURES = np.random.default_rng(1).normal(scale=2, size=(7, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Small real models, and two broken in ways that the interpreter only shows when it runs them."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf
    import tf_keras

    folder = tmp_path_factory.mktemp("models")
    tf_keras.utils.set_random_seed(0)
    layers = tf_keras.layers
    dense = tf_keras.Sequential([layers.Input((8,)), layers.Dense(16, "relu"), layers.Dense(3, "softmax")])
    lstm = tf_keras.Sequential([layers.Input((5, 2)), layers.LSTM(4)])

    def save(name, function, *specs, change=None, owns=(*dense.variables, *lstm.variables)):
        module = tf.Module()
        module.owned = list(owns)
        module.function = tf.function(function, input_signature=specs, autograph=False)
        concrete = module.function.get_concrete_function()
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
        if change:
            change(converter)
        path = folder / f"{name}.tflite"
        path.write_bytes(converter.convert())
        return path

    def integers_only(converter):
        calibration = np.random.default_rng(0).normal(size=(50, 1, 8)).astype(np.float32)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ({"features": row} for row in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8

    def classify(features):
        return {"scores": dense(features), "total": tf.reduce_sum(features, axis=1)}

    def mixed(amount, counts):
        return {"total": amount + tf.cast(tf.reduce_sum(counts, axis=1, keepdims=True), tf.float32)}

    def total(a, b):
        return {"y": tf.reduce_sum(a) + tf.reduce_sum(b, keepdims=True)}

    def row(*shape, name, dtype=tf.float32):
        return tf.TensorSpec(shape, dtype, name=name)

    paths = {
        "float": save("float", classify, row(1, 8, name="features")),
        "int8": save("int8", classify, row(1, 8, name="features"), change=integers_only),
        "dynamic": save("dynamic", classify, row(None, 8, name="features")),
        "two_batches": save("two_batches", total, row(2, 3, name="a"), row(4, 3, name="b")),
        "batch4": save("batch4", classify, row(4, 8, name="features")),
        # A module that does not own the variables makes the converter drop the signature.
        "unsigned": save("unsigned", classify, row(1, 8, name="features"), owns=()),
        "mixed": save("mixed", mixed, row(1, 1, name="amount"), row(1, 3, name="counts", dtype=tf.int32)),
        "log": save("log", lambda x: {"y": tf.math.log(x)}, row(1, 2, name="x")),
        "scalar": save("scalar", lambda x: {"y": tf.reduce_sum(x)}, row(1, 2, name="x")),
        "lstm": save("lstm", lambda x: {"y": lstm(x)}, row(1, 5, 2, name="x")),
        "forever": lite_models.write(folder, lite_models.endless(), "forever.tflite"),
        "endless_recursion": lite_models.write(folder, lite_models.crashing(), "crashing.tflite"),
        "truncated": folder / "truncated.tflite",
    }
    paths["truncated"].write_bytes(paths["float"].read_bytes()[:1500])
    return SimpleNamespace(**paths, dense=dense)


def run_one(path, batch):
    (outputs,) = infer(path, [batch])
    return outputs


class TestInfer:
    def test_a_float_model_answers_as_keras_does(self, models):
        outputs = run_one(models.float, {"features": FEATURES})

        np.testing.assert_allclose(outputs["scores"], models.dense(FEATURES).numpy(), atol=1e-6)
        np.testing.assert_allclose(outputs["total"], FEATURES.sum(axis=1), atol=1e-5)

    def test_an_int8_model_answers_as_when_quantized_by_hand(self, models):
        from ai_edge_litert.interpreter import Interpreter

        interpreter = Interpreter(str(models.int8), num_threads=1)
        runner = interpreter.get_signature_runner("serving_default")
        scale, zero_point = runner.get_input_details()["features"]["quantization"]
        out_scale, out_zero_point = runner.get_output_details()["scores"]["quantization"]
        steps = np.clip(np.round(FEATURES / scale + zero_point), -128, 127).astype(np.int8)
        raw = np.concatenate([runner(features=row[None])["scores"] for row in steps])
        low, high = ((limit - zero_point) * scale for limit in (-128, 127))

        outputs = run_one(models.int8, {"features": FEATURES})

        assert outputs["scores"].dtype == np.float32
        assert not np.array_equal(np.clip(FEATURES, low, high), FEATURES), "some features should saturate"
        np.testing.assert_allclose(outputs["scores"], (raw.astype(np.float32) - out_zero_point) * out_scale, atol=1e-6)
        saturated = models.dense(np.clip(FEATURES, low, high)).numpy()
        np.testing.assert_allclose(outputs["scores"], saturated, atol=0.03)

    def test_a_model_of_any_batch_answers_whole_batches(self, models):
        batches = [{"features": FEATURES}, {"features": FEATURES[:2]}, {"features": FEATURES[:1]}]

        outputs = list(infer(models.dynamic, batches))

        for batch, output in zip(batches, outputs, strict=True):
            np.testing.assert_allclose(output["scores"], models.dense(batch["features"]).numpy(), atol=1e-6)

    @pytest.mark.parametrize(("bound", "value"), [("CHUNK_EXAMPLES", 4), ("CHUNK_BYTES", 100)])
    def test_batches_stream_in_order_and_in_bounded_chunks(self, models, monkeypatch, bound, value):
        monkeypatch.setattr(batches, bound, value)
        drawn = []

        def source():
            for number in range(4):
                drawn.append(number)
                yield {"features": FEATURES[number : number + 2]}

        answers = infer(models.float, source())
        first = next(answers)
        assert drawn == [0, 1]
        rest = list(answers)

        totals = [answer["total"] for answer in [first, *rest]]
        np.testing.assert_allclose(totals, [FEATURES[n : n + 2].sum(axis=1) for n in range(4)], atol=1e-5)

    def test_every_example_meets_a_recurrent_model_in_its_first_state(self, models):
        sequence = np.random.default_rng(0).normal(size=(1, 5, 2)).astype(np.float32)

        states = run_one(models.lstm, {"x": np.repeat(sequence, 3, axis=0)})["y"]

        assert np.any(states[0] != 0)
        np.testing.assert_array_equal(states[1:], states[[0, 0]])

    def test_integers_and_flat_columns_reach_the_inputs_of_their_names(self, models):
        batch = {
            "counts": np.arange(9, dtype=np.int64).reshape(3, 3),
            "amount": np.array([0.5, 1.5, 2.5]),
            "other": FEATURES[:3],
        }

        outputs = run_one(models.mixed, batch)

        np.testing.assert_array_equal(outputs["total"], [[3.5], [13.5], [23.5]])

    def test_outputs_that_are_not_finite_are_passed_on(self, models):
        outputs = run_one(models.log, {"x": np.array([[-1.0, 1.0], [0.0, 1.0]])})
        np.testing.assert_array_equal(outputs["y"], [[np.nan, 0.0], [-np.inf, 0.0]])

    def test_a_single_feature_matches_a_single_input_whatever_its_name(self, models):
        renamed, named = (run_one(models.float, {name: FEATURES}) for name in ("pixels_xf", "features"))
        np.testing.assert_array_equal(renamed["scores"], named["scores"])

    def test_feature_names_may_be_anything(self, models):
        outputs = run_one(models.float, {"file": FEATURES * 0, "a/b": FEATURES * 0, "features": FEATURES})
        np.testing.assert_allclose(outputs["total"], FEATURES.sum(axis=1), atol=1e-5)

    def test_without_a_signature_the_tensors_give_the_names(self, models):
        outputs = run_one(models.unsigned, {"x": FEATURES})
        scores = next(values for values in outputs.values() if values.ndim == 2)
        np.testing.assert_allclose(scores, models.dense(FEATURES).numpy(), atol=1e-6)
        assert "scores" not in outputs

    def test_no_batches_give_no_outputs(self, models):
        assert list(infer(models.float, [])) == []

    @pytest.mark.parametrize(
        ("model", "batch", "message"),
        [
            ("float", {"a": FEATURES, "b": FEATURES}, r"wants the input\(s\) features, but the examples have: a, b"),
            ("float", {}, "have: no features"),
            ("float", {"features": FEATURES[:, :5]}, r"takes examples of shape \[8\], but .* \[7, 5\] holds .* \[5\]"),
            ("float", {"features": FEATURES[:, :, None]}, r"takes examples of shape \[8\].*shape \[8, 1\]"),
            ("float", {"features": FEATURES[:0]}, "at least 1"),
            ("float", {"features": np.array(["a"])}, "feature 'features' is of type <U1"),
            ("float", {"features": np.float32(1)}, "takes numbers of shape"),
            ("int8", {"features": np.full((1, 8), np.nan)}, "input 'features': 8 of 8 values are NaN"),
            ("mixed", {"amount": np.ones(2), "counts": np.ones((3, 3))}, "same length.*'amount': 2, 'counts': 3"),
            ("mixed", {"amount": np.ones(1), "counts": np.full((1, 3), 0.5)}, "int32, which cannot hold 3 of 3.*0.5"),
            ("mixed", {"amount": np.ones(1), "counts": np.full((1, 3), 2**40)}, "int32, which cannot hold 3 of 3"),
        ],
    )
    def test_features_that_do_not_fit_are_refused(self, models, model, batch, message):
        with pytest.raises(DataError, match=message):
            run_one(getattr(models, model), batch)

    def test_a_fixed_batch_answers_any_number_of_examples(self, models):
        for count in (1, 4, 7):
            outputs = run_one(models.batch4, {"features": FEATURES[:count]})
            np.testing.assert_allclose(outputs["scores"], models.dense(FEATURES[:count]).numpy(), atol=1e-6)

    def test_inputs_of_different_fixed_batches_are_refused(self, models):
        batch = {"a": np.ones((2, 3)), "b": np.ones((2, 3))}
        with pytest.raises(ModelError, match=r"no first dimension in common.*a: \[2, 3\], b: \[4, 3\]"):
            run_one(models.two_batches, batch)

    def test_an_output_without_a_row_per_example_is_refused(self, models):
        with pytest.raises(ModelError, match=r"output 'y' of .* has shape \(\) for 1 example"):
            run_one(models.scalar, {"x": np.ones((2, 2))})


class TestLocal:
    def test_latency_is_of_one_process(self, models):
        run, _ = Local().latency(models.int8, RunOptions(runs=23, warmup=3))

        assert len(run.samples_ns) == 23
        assert 0 < min(run.samples_ns) <= max(run.samples_ns) < 1e9
        assert min(run.first_invoke_ns, run.load_ns) > 0
        assert 10e6 < run.import_memory_bytes < run.peak_memory_bytes < run.import_memory_bytes + 50e6 < 1e9

    def test_one_thread_is_pinned_to_a_core_and_two_are_not(self, models):
        one, two = (Local().latency(models.float, RunOptions(runs=1, num_threads=n)) for n in (1, 2))

        allowed = os.sched_getaffinity(0)
        assert len(one[0].cores) == 1
        assert set(one[0].cores) <= allowed == set(two[0].cores)
        assert (one[1]["num_threads"], two[1]["num_threads"]) == (1, 2)

    def test_the_environment_says_what_the_figures_hold_for(self, models):
        _, environment = Local().latency(models.float, RunOptions(runs=1))

        assert environment["python"] == ".".join(map(str, sys.version_info[:3]))
        assert environment["numpy"] == np.__version__
        for part in (environment["processor"], environment["machine"], environment["ai_edge_litert"]):
            assert part
            assert part in fingerprint()

    def test_integers_are_fed_to_integer_inputs(self, models):
        run, _ = Local().latency(models.mixed, RunOptions(runs=5))
        assert len(run.samples_ns) == 5

    def test_a_slow_model_is_timed_fewer_times(self, models):
        run, _ = Local().latency(models.float, RunOptions(runs=10**9, warmup=10**9, timeout_s=4))
        assert 0 < len(run.samples_ns) < 10**9

    def test_two_models_are_timed_in_one_process_on_one_core(self, models):
        pair, environment = Local().compare(models.float, models.int8, RunOptions(runs=23, warmup=3))

        for run in (pair.candidate, pair.baseline):
            assert len(run.samples_ns) == 23
            assert min(run.samples_ns) > 0 < run.first_invoke_ns
            assert run.load_ns > 0
        assert pair.candidate.samples_ns != pair.baseline.samples_ns
        assert pair.candidate.cores == pair.baseline.cores
        assert len(pair.candidate.cores) == 1
        assert pair.candidate.peak_memory_bytes == pair.baseline.peak_memory_bytes
        assert {"kernel", "baseline_kernel", "num_threads", "processor"} <= environment.keys()

    def test_slow_models_are_timed_fewer_times_but_in_turns(self, models):
        pair, _ = Local().compare(models.float, models.int8, RunOptions(runs=10**8, warmup=10**8, max_seconds=0.2))

        counts = [len(run.samples_ns) for run in (pair.candidate, pair.baseline)]
        assert 0 < min(counts) <= max(counts) <= min(counts) + 10 < 10**8

    @pytest.mark.parametrize(("kernel", "used"), [("default", "xnnpack"), ("builtin", "builtin")])
    def test_the_kernel_that_was_used_is_recorded(self, models, kernel, used):
        options = RunOptions(runs=1, warmup=0, kernel=kernel)
        _, alone = Local().latency(models.float, options)
        _, both = Local().compare(models.float, models.float, options)
        assert (alone["kernel"], both["kernel"], both["baseline_kernel"]) == (used, used, used)

    def test_outputs_are_those_of_the_function(self, models):
        (outputs,) = Local().infer(models.float, [{"features": FEATURES}], 60)
        np.testing.assert_array_equal(outputs["scores"], run_one(models.float, {"features": FEATURES})["scores"])

    def test_it_offers_what_it_does(self):
        assert {"latency", "memory", "compare", "infer"} == Local.OFFERS
        assert Local().fingerprint() == fingerprint()
        with pytest.raises(DeviceError, match="a target of kind Local cannot tell the size of a tensor arena"):
            Local().arena_bytes("model.tflite", 1)

    @pytest.mark.parametrize("broken_is_candidate", [True, False])
    def test_a_comparison_names_the_model_that_fails(self, models, tmp_path, broken_is_candidate):
        def compare(broken, **options):
            roles = (broken, models.float) if broken_is_candidate else (models.float, broken)
            return Local().compare(*roles, RunOptions(**options))

        with pytest.raises(ModelError, match=r"no model file at .*nothing\.tflite"):
            compare(tmp_path / "nothing.tflite")
        with pytest.raises(ModelError, match=r"cannot load .*truncated\.tflite: "):
            compare(models.truncated)
        with pytest.raises(DeviceError, match=r"crashed \(SIGSEGV\) while running .*crashing\.tflite"):
            compare(models.endless_recursion)
        with pytest.raises(DeviceError, match=r"did not finish compare of .*forever\.tflite.* within 2 s"):
            compare(models.forever, timeout_s=2)

    @pytest.mark.parametrize(
        ("answer", "message"),
        [
            ({}, "nonsense: KeyError"),
            ({"candidate": "fast", "baseline": "slow"}, "nonsense: TypeError"),
            ({"candidate": GOOD_RUN, "baseline": GOOD_RUN}, "did not say what it is"),
            ({"candidate": GOOD_RUN, "baseline": GOOD_RUN | {"samples_ns": [-1]}, "environment": {}}, "impossible"),
        ],
    )
    def test_a_comparison_that_is_nonsense_is_refused(self, models, monkeypatch, answer, message):
        script = f"import sys, json; open(json.load(open(sys.argv[1]))['result'], 'w').write({json.dumps(answer)!r})"
        monkeypatch.setattr(local, "RUNNER", (sys.executable, "-c", script))

        with pytest.raises(DeviceError, match=message):
            Local().compare(models.float, models.float, RunOptions())


class TestFailures:
    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(ModelError, match=r"no model file at .*nothing\.tflite"):
            Local().latency(tmp_path / "nothing.tflite", RunOptions())
        with pytest.raises(ModelError, match="no model file at"):
            run_one(tmp_path / "nothing.tflite", {"x": FEATURES})

    def test_a_truncated_file_is_said_to_be_unloadable(self, models):
        with pytest.raises(ModelError, match=r"cannot load .*truncated\.tflite: "):
            Local().latency(models.truncated, RunOptions())
        with pytest.raises(ModelError, match=r"cannot load .*truncated\.tflite: "):
            run_one(models.truncated, {"features": FEATURES})

    def test_a_crash_of_the_interpreter_names_the_signal(self, models):
        with pytest.raises(DeviceError, match=r"the interpreter crashed \(SIGSEGV\) while running .*crashing\.tflite"):
            Local().latency(models.endless_recursion, RunOptions())
        with pytest.raises(DeviceError, match=r"the interpreter crashed \(SIGSEGV\) while running .*crashing\.tflite"):
            run_one(models.endless_recursion, {"x": FEATURES[:, :4]})

    def test_a_hang_ends_at_the_timeout(self, models):
        with pytest.raises(
            DeviceError, match=r"did not finish latency of .*forever\.tflite within 2 s; raise timeout_s"
        ):
            Local().latency(models.forever, RunOptions(timeout_s=2))

    @pytest.mark.parametrize(
        ("script", "message"),
        [
            (
                "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
                "SIGKILL, as the kernel does when memory runs out",
            ),
            ("import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 1)", r"crashed \(signal \d+\)"),
            ("raise SystemExit('no litert here')", "exit code 1; it said: no litert here"),
            ("answer('nonsense')", "answered nonsense or nothing and ended with exit code 0"),
            ("answer('[]')", "answered nonsense or nothing"),
            ("answer('{}')", "answered nonsense: KeyError"),
            (f"answer(json.dumps({GOOD_RUN}))", "did not say what it is"),
            ('answer(\'{"error": "on fire"}\')', "^on fire$"),
        ],
    )
    def test_a_runner_that_fails_otherwise_is_quoted(self, models, monkeypatch, script, message):
        helper = (
            "import sys, json; answer = lambda text: open(json.load(open(sys.argv[1]))['result'], 'w').write(text)\n"
        )
        monkeypatch.setattr(local, "RUNNER", (sys.executable, "-c", helper + script))

        with pytest.raises(DeviceError, match=message):
            Local().latency(models.float, RunOptions())

    def test_lost_examples_are_noticed(self, models, monkeypatch):
        script = (
            "import sys, json, numpy; request = json.load(open(sys.argv[1]))\n"
            "for batch in request['batches']: numpy.savez(batch['output'], numpy.zeros((6, 3)))\n"
            "open(request['result'], 'w').write('{\"outputs\": [\"scores\"]}')"
        )
        monkeypatch.setattr(local, "RUNNER", (sys.executable, "-c", script))

        with pytest.raises(DeviceError, match=r"was given 7 examples, but answered \{'scores': \(6,\)\}"):
            run_one(models.float, {"features": FEATURES})


@pytest.mark.parametrize(
    "change",
    [
        {"samples_ns": []},
        {"samples_ns": [0]},
        {"load_ns": "soon"},
        {"peak_memory_bytes": 0},
        {"samples_ns": "12345"},
        {"samples_ns": [True]},
        {"samples_ns": [1.9]},
        {"samples_ns": 5},
        {"load_ns": "7"},
    ],
)
def test_a_run_that_no_process_can_have_had_is_refused(change):
    assert ProcessRun.from_dict(GOOD_RUN).samples_ns == (5,)
    with pytest.raises(DeviceError, match="nonsense"):
        ProcessRun.from_dict(GOOD_RUN | change)


class TestRunOptions:
    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"runs": 0}, "runs must be at least 1, but it is 0"),
            ({"warmup": -1}, "warmup must be at least 0, but it is -1"),
            ({"num_threads": 0}, "num_threads must be at least 1"),
            ({"timeout_s": 0}, "timeout_s must be above 0"),
            ({"timeout_s": float("nan")}, "timeout_s must be above 0, but it is nan"),
            ({"max_seconds": 0}, "max_seconds must be above 0"),
            ({"kernel": "gpu"}, "kernel must be one of default, builtin, but it is 'gpu'"),
        ],
    )
    def test_what_is_out_of_range_is_refused(self, wrong, message):
        with pytest.raises(ConfigError, match=message):
            RunOptions(**wrong)

    @pytest.mark.parametrize(("max_seconds", "expected"), [(None, 30), (10, 10), (50, 30)])
    def test_the_start_of_a_process_has_half_of_the_time(self, max_seconds, expected):
        assert RunOptions(timeout_s=60, max_seconds=max_seconds).seconds_of_running == expected


class TestEnvironment:
    def test_a_board_tells_its_name_and_who_sets_the_clock(self, monkeypatch, tmp_path):
        (tmp_path / "model").write_bytes(b"Raspberry Pi 5 Model B Rev 1.0\0")
        (tmp_path / f"{min(os.sched_getaffinity(0))}").write_text("performance\n")
        monkeypatch.setattr(runner, "BOARD", str(tmp_path / "model"))
        monkeypatch.setattr(runner, "GOVERNOR", str(tmp_path / "{core}"))

        told = runner.environment()

        assert (told["board"], told["governor"]) == ("Raspberry Pi 5 Model B Rev 1.0", "performance")

    def test_what_the_kernel_does_not_tell_is_left_out(self, monkeypatch, tmp_path):
        monkeypatch.setattr(runner, "BOARD", str(tmp_path / "model"))
        monkeypatch.setattr(runner, "GOVERNOR", str(tmp_path / "{core}"))
        assert not {"board", "governor"} & runner.environment().keys()


def test_the_runner_needs_no_heavy_package():
    script = (
        "import sys, tfx_edge.devices.runner, ai_edge_litert.interpreter\n"
        "print({'tensorflow', 'tfx', 'pydantic', 'keras', 'tf_keras'} & sys.modules.keys())"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
