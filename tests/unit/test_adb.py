"""The Android target. No phone takes part: the real ``adb`` binary talks to a fake adbd, and a fake ``benchmark_model``
prints what the sources of the real one say that it prints.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from fake_adbd import FakeAdbd
from hypothesis import given
from hypothesis import strategies as st

from tfx_edge.devices import benchmark_tool
from tfx_edge.devices.adb import Adb, _core_list
from tfx_edge.devices.target import RunOptions
from tfx_edge.errors import ConfigError, DeviceError, ModelError
from tfx_edge.gate.latency import absolute
from tfx_edge.gate.sequential import Limit
from tfx_edge.gate.timing import measure

OPTIONS = RunOptions(runs=50, warmup=5, timeout_s=30)
XNNPACK = (
    "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"
    "INFO: Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the delegate."
)
GPU = (
    "INFO: Created 1 GPU delegate kernels.\n"
    "INFO: Explicitly applied GPU delegate, and the model graph will be partially executed by the delegate w/ 1 "
    "delegate kernels."
)
STATISTICS = "count=50 first=5432 curr=5210 min=5190 max=5500 avg=5234.1 std=41 p5=5195 median=5230 p95=5440"


def output(statistics: str = STATISTICS, applied: str = XNNPACK, level: str = "INFO: ") -> str:
    """What ``benchmark_model`` prints; older versions print no level before their lines."""
    lines = [
        "STARTING!",
        "Log parameter values verbosely: [0]",
        "Min num runs: [50]",
        "Graph: [/data/local/tmp/model.tflite]",
        "Loaded model /data/local/tmp/model.tflite",
        *applied.replace("INFO: ", "").splitlines(),
        "The input model file size (MB): 0.156988",
        "Initialized session in 1.234ms.",
        "Running benchmark for at least 6 iterations and at least 0 seconds but terminate if exceeding 7.5 seconds.",
        "count=6 first=9876 curr=5300 min=5200 max=9876 avg=6012.5 std=1700 p5=5200 median=5250 p95=9876\n",
        "Running benchmark for at least 50 iterations and at least 0 seconds but terminate if exceeding 7.5 seconds.",
        f"{statistics}\n",
        "Inference timings in us: Init: 1234, First inference: 9876, Warmup (avg): 6012.5, Inference (avg): 5234.1",
        "Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE to the actual "
        "memory footprint of the model at runtime. Take the information at your discretion.",
        "Memory footprint delta from the start of the tool (MB): init=2.43359 overall=8.67578",
        "Overall peak memory footprint (MB) via periodic monitoring: 13.1797",
        "Memory status at the end of exeution:",
        "- VmRSS              : 13 MB",
    ]
    return "\n".join(level + line for line in lines)


class TestOutput:
    @pytest.mark.parametrize("level", ["INFO: ", "", "I tflite  : "])
    def test_the_figures_of_the_timed_runs_are_read_and_not_those_of_the_warm_up(self, level):
        run = benchmark_tool.read_run(output(level=level), cores=(4, 5))

        assert run.count == 50
        assert run.statistics_ns == {
            "min": 5190e3, "p5": 5195e3, "p50": 5230e3, "p95": 5440e3, "max": 5500e3, "mean": pytest.approx(5234.1e3),
        }  # fmt: skip
        assert (run.load_ns, run.first_invoke_ns) == (1_234_000, 9_876_000)
        assert run.cores == (4, 5)

    def test_counts_after_the_summary_are_of_something_else(self):
        run = benchmark_tool.read_run(output() + "\nTimings (microseconds): count=7 curr=3(all same)", ())
        assert run.count == 50

    def test_there_are_no_samples_because_the_tool_tells_none(self):
        run = benchmark_tool.read_run(output(), ())
        assert run.samples_ns == ()
        assert json.loads(json.dumps(asdict(run), allow_nan=False))["statistics_ns"]["p50"] == 5_230_000

    def test_the_gate_takes_what_the_tool_tells(self):
        runs = [benchmark_tool.read_run(output(f"count=50 curr=9 min={low} max=9 avg=9"), ()) for low in (8, 9)]
        estimate = absolute(runs, "min", 0.95)
        assert estimate.low < 0.008 < estimate.value < 0.009 < estimate.high
        assert absolute(runs, "p50", 0.95) is None

    def test_memory_is_the_peak_of_the_process_and_what_the_model_added_to_it(self):
        run = benchmark_tool.read_run(output(), ())

        assert run.peak_memory_bytes == pytest.approx(13.1797 * 2**20, abs=1)
        assert run.peak_memory_bytes - run.import_memory_bytes == pytest.approx(8.67578 * 2**20, abs=1)

    def test_versions_without_percentiles_give_no_median(self):
        run = benchmark_tool.read_run(output("count=50 first=9 curr=8 min=7 max=9 avg=8.1 std=0"), ())
        assert run.statistics_ns.keys() == {"min", "max", "mean"}

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("count=50 curr=8(all same)", {"min": 8e3, "max": 8e3, "mean": 8e3, "p50": 8e3}),
            ("count=1 curr=8 p5=8 median=8 p95=8", {"min": 8e3, "p50": 8e3, "p95": 8e3}),
            ("count=3 first=2990275 curr=2913402 min=2727568 max=3189954 avg=2.95034e+06 std=109798",
             {"min": 2727568e3, "mean": 2.95034e9}),
        ],
    )  # fmt: skip
    def test_every_form_of_the_statistics_is_understood(self, text, expected):
        assert expected.items() <= benchmark_tool.read_run(output(text), ()).statistics_ns.items()

    @given(st.lists(st.integers(1, 10**9), min_size=1, max_size=50))
    def test_what_the_tool_writes_is_what_is_read(self, times):
        low, high = min(times), max(times)
        ranked = sorted(times)
        text = f"count={len(times)} curr={times[-1]}"
        if low < high:
            average = sum(times) / len(times)
            text = f"count={len(times)} first={times[0]} curr={times[-1]} min={low} max={high} avg={average:g} std=3"
        elif len(times) > 1:
            text += "(all same)"
        median = ranked[len(times) // 2]
        text += f" p5={ranked[len(times) * 5 // 100]} median={median} p95={ranked[len(times) * 95 // 100]}"

        run = benchmark_tool.read_run(output(text), ())

        assert (run.count, run.statistics_ns["min"], run.statistics_ns["p50"], run.statistics_ns["max"]) == (
            len(times), low * 1000, median * 1000, high * 1000,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            (
                "",
                "no line on count= of warm-up and runs, inference timings, memory footprint delta, overall peak memory",
            ),
            (
                "========== BENCHMARK RESULTS ==========\nInference (avg): 5.23 ms (50 runs)",
                "not benchmark_litert_model",
            ),
            (output().replace("Inference timings", "Guesses"), "no line on inference timings"),
            (output().replace("Memory footprint delta", "Memories"), "no line on memory footprint delta"),
            (output().replace("Overall peak", "Overall"), "no line on overall peak memory"),
            (output("count=0"), "count=0"),
            (output("STOPPED"), "no line on count="),
            (output("count=50 curr=0(all same)"), "less than its clock's microsecond"),
            (output("count=50 first=9 curr=8 min=9 max=7 avg=8 std=0"), "nonsense"),
            (output("count=50 first=9 curr=8 min=7 max=9 avg=nan std=nan"), "nonsense"),
            (output("count=50 first=9 curr=8 min=7 max=9 avg=8 std=0 p5=7 median=20 p95=9"), "nonsense"),
            (output("count=50 first=-9 curr=-8 min=-9 max=-7 avg=-8 std=0"), "nonsense"),
            (output().replace("overall=8.67578", "overall=0"), "memory footprint of 0"),
            (output().replace("overall=8.67578", "overall=99"), "memory footprint"),
        ],
    )
    def test_nonsense_is_refused(self, text, message):
        with pytest.raises(DeviceError, match=message):
            benchmark_tool.read_run(text, ())

    def test_the_environment_says_what_computed(self):
        cpu = benchmark_tool.environment(output(), OPTIONS, "cpu")
        gpu = benchmark_tool.environment(output(applied=GPU), OPTIONS, "gpu")
        plain = benchmark_tool.environment(output(applied=""), RunOptions(kernel="builtin"), "cpu")

        assert (cpu["kernel"], cpu["delegated"]) == ("xnnpack", "completely")
        assert (gpu["kernel"], gpu["delegated"]) == ("gpu", "partially")
        assert (plain["kernel"], plain["delegated"]) == ("builtin", "not")
        assert cpu["clock_ns"] == 1000

    def test_a_run_that_fell_back_to_the_processor_is_refused(self):
        text = output(applied=f"WARN: GPU acceleration is unsupported on this platform.\n{XNNPACK}", level="WARN: ")
        with pytest.raises(DeviceError, match=r"without the GPU delegate.*GPU acceleration is unsupported"):
            benchmark_tool.environment(text, OPTIONS, "gpu")

    def test_a_delegate_that_takes_nothing_of_the_model_is_the_models_fault(self):
        nothing = (
            "INFO: Though NNAPI delegate is explicitly applied, the model graph will not be executed by the delegate."
        )
        with pytest.raises(ModelError, match="the NNAPI delegate takes no operation"):
            benchmark_tool.environment(output(applied=nothing), OPTIONS, "nnapi")

    def test_a_flag_that_the_tool_ignored_is_named(self):
        text = f"WARN: Unconsumed cmdline flags: --use_xnnpack=true\n{output()}"
        with pytest.raises(DeviceError, match="does not know --use_xnnpack=true"):
            benchmark_tool.environment(text, OPTIONS, "cpu")


class TestArguments:
    def test_runs_and_warm_up_are_counted_and_limited_in_time(self):
        flags = benchmark_tool.arguments(
            "/m.tflite", RunOptions(runs=200, warmup=20, num_threads=2, timeout_s=60), "cpu"
        )

        assert {"--graph=/m.tflite", "--num_runs=200", "--min_secs=0", "--num_threads=2"} <= set(flags)
        # The first invocation is told apart; warm-up and runs are limited one by one, to half of the time together.
        assert {"--warmup_runs=21", "--warmup_min_secs=0", "--max_secs=15"} <= set(flags)
        short = benchmark_tool.arguments("/m.tflite", RunOptions(timeout_s=60, max_seconds=3), "cpu")
        assert "--max_secs=1.5" in short

    @pytest.mark.parametrize(
        ("delegate", "kernel", "present", "absent"),
        [
            ("cpu", "default", {"--use_xnnpack=true"}, {"--use_gpu=true", "--use_nnapi=true"}),
            ("cpu", "builtin", {"--use_xnnpack=false"}, {"--use_gpu=true", "--use_nnapi=true"}),
            ("gpu", "default", {"--use_gpu=true"}, {"--use_xnnpack=true", "--use_nnapi=true"}),
            ("nnapi", "builtin", {"--use_nnapi=true", "--use_xnnpack=false"}, {"--use_gpu=true"}),
        ],
    )
    def test_the_delegate_is_chosen(self, delegate, kernel, present, absent):
        flags = set(benchmark_tool.arguments("/m", RunOptions(kernel=kernel), delegate))
        assert present <= flags
        assert not absent & flags

    @pytest.mark.parametrize(
        ("wrong", "message"),
        [
            ({"flags": ["gpu"]}, "'gpu' is no flag"),
            ({"flags": ["--num_runs=1"]}, "--num_runs is set by this target"),
            ({"flags": ["--enable_op_profiling=true"]}, "slows down"),
            ({"delegate": "tpu"}, "cpu, gpu or nnapi, but it is 'tpu'"),
            ({"remote_dir": "tmp"}, "remote_dir must be an absolute path"),
            ({"cores": [-1]}, "cores must be"),
        ],
    )
    def test_what_cannot_work_is_refused_before_any_phone_is_reached(self, wrong, message):
        with pytest.raises(ConfigError, match=message):
            Adb("benchmark_model", **wrong)

    def test_a_list_of_cores_is_read_as_the_kernel_writes_it(self):
        assert _core_list("0-3,6") == (0, 1, 2, 3, 6)
        assert _core_list("7") == (7,)

    def test_the_fingerprint_changes_with_the_tool_and_how_it_is_run(self, tmp_path):
        tool = tmp_path / "benchmark_model"
        tool.write_text("one")
        first = Adb(str(tool), serial="A1").fingerprint()
        tool.write_text("two")
        others = [Adb(str(tool), serial="A1"), Adb(str(tool), serial="A1", cores=[7]), Adb(str(tool), delegate="gpu")]
        assert len({first, *(other.fingerprint() for other in others)}) == 4


needs_adb = pytest.mark.skipif(not shutil.which("adb"), reason="the adb binary is not installed (Debian: adb)")


@pytest.fixture(scope="module")
def adb_server(tmp_path_factory):
    """A server of the real adb, on a port and with keys of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        subprocess.run(["adb", "start-server"], check=True, capture_output=True, timeout=30)
        yield
        subprocess.run(["adb", "kill-server"], check=True, capture_output=True, timeout=30)


class Phone:
    """A fake adbd that the real adb is connected to, with a fake ``benchmark_model`` to push there."""

    def __init__(self, folder: Path, **options):
        self.fakes = folder / "fakes"
        self.fakes.mkdir()
        self.program(
            self.fakes / "getprop",
            "echo '[ro.product.manufacturer]: [Acme]'; echo '[ro.product.model]: [Fake 8]'\n"
            "echo '[ro.build.version.release]: [14]'; echo '[ro.product.cpu.abi]: [arm64-v8a]'",
        )
        self.folder = folder / "data local"  # a path that must be quoted
        self.folder.mkdir()
        self.tool = folder / "benchmark_model"
        self.adbd = FakeAdbd(self.fakes, **options)
        self.serial = f"127.0.0.1:{self.adbd.port}"
        subprocess.run(["adb", "connect", self.serial], check=True, capture_output=True, timeout=30)
        self.model = folder / "model of mine.tflite"
        self.model.write_bytes(b"a model")
        self.tool_prints(output())

    def tool_prints(self, text: str, then: str = "exit 0") -> None:
        self.program(self.tool, f"cat <<'END'\n{text}\nEND\n{then}")

    def target(self, **options) -> Adb:
        return Adb(str(self.tool), **{"serial": self.serial, "remote_dir": str(self.folder), **options})

    def run(self, **options):
        return self.target(**options).latency(self.model, OPTIONS)

    @staticmethod
    def program(path: Path, script: str) -> None:
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def close(self) -> None:
        subprocess.run(["adb", "disconnect", self.serial], check=False, capture_output=True, timeout=30)
        self.adbd.close()


@pytest.fixture
def phone(adb_server, tmp_path):
    device = Phone(tmp_path)
    yield device
    device.close()


@needs_adb
class TestWithTheRealAdbAndAFakeAdbd:
    def test_a_model_is_measured(self, phone):
        run, environment = phone.run()

        assert run.statistics_ns["min"] == 5_190_000
        assert run.cores == tuple(sorted(os.sched_getaffinity(0)))
        assert environment["device"] == "Acme Fake 8"
        assert (environment["machine"], environment["system"]) == ("arm64-v8a", "Android 14")
        assert (environment["kernel"], environment["num_threads"]) == ("xnnpack", 1)

    def test_a_model_is_judged_by_what_the_tool_tells(self, phone):
        bound = Limit("latency_min_ms", "max", 5.2)
        ratio = Limit("latency_p50_ms", "max_ratio", 0.9)
        unknown = Limit("latency_p90_ms", "max", 9.0)

        timing = measure(
            phone.target(),
            phone.model,
            phone.model,
            [bound, ratio, unknown],
            options=OPTIONS,
            budget_s=0.01,
            confidence=0.95,
        )

        assert bound.outcome(timing.candidate["latency_min_ms"]) == "pass"
        assert ratio.outcome(timing.relative["latency_p50_ms"]) == "fail"
        assert "latency_p90_ms" not in timing.candidate
        assert timing.candidate["model_memory_bytes"].value == pytest.approx(8.67578 * 2**20, abs=1)

    def test_the_tool_gets_the_model_and_the_flags(self, phone):
        seen = f"'{phone.folder}/seen'"
        keep = f'cat "${{1#--graph=}}" > {seen}; echo "$@" >> {seen}'
        phone.program(phone.tool, f"{keep}\ncat <<'END'\n{output()}\nEND")

        phone.run(flags=["--xnnpack_force_fp16=true"])

        seen = (phone.folder / "seen").read_text()
        assert seen.startswith("a model")
        assert "--num_runs=50" in seen
        assert "--xnnpack_force_fp16=true" in seen

    def test_nothing_but_the_tool_stays_and_it_travels_once(self, phone):
        phone.run()
        phone.run()

        (tool,) = phone.folder.iterdir()
        assert tool.read_bytes() == phone.tool.read_bytes()
        assert sum("benchmark_model" in path for path in phone.adbd.pushed) == 1
        assert sum(path.endswith("model.tflite") for path in phone.adbd.pushed) == 2

    def test_another_build_of_the_tool_is_pushed(self, phone):
        phone.run()
        phone.tool_prints(output("count=9 curr=7(all same)"))
        assert phone.run()[0].statistics_ns["min"] == 7000

    def test_a_copy_of_the_tool_that_was_cut_off_is_replaced(self, phone):
        phone.run()
        (tool,) = phone.folder.iterdir()
        tool.write_text("cut")
        assert phone.run()[0].count == 50

    def test_a_tool_on_the_phone_is_used_where_it_is(self, phone):
        phone.program(phone.fakes / "benchmark_there", f"cat <<'END'\n{output()}\nEND")
        # The current folder of the fake phone's shell, but not of this process.
        target = Adb("/proc/self/cwd/benchmark_there", serial=phone.serial, remote_dir=str(phone.folder))

        assert target.latency(phone.model, OPTIONS)[0].count == 50
        assert [Path(path).name for path in phone.adbd.pushed] == ["model.tflite"]

    def test_a_tool_that_is_nowhere_is_named(self, phone):
        for tool, message in [("/nowhere/benchmark_model", "neither on this host nor"), ("here", "is absolute")]:
            with pytest.raises(DeviceError, match=message):
                Adb(tool, serial=phone.serial, remote_dir=str(phone.folder)).latency(phone.model, OPTIONS)

    def test_it_is_pinned_to_cores(self, phone):
        core = min(os.sched_getaffinity(0))
        phone.tool_prints(output(), f"grep Cpus_allowed_list /proc/self/status > '{phone.folder}/allowed'")

        run, _ = phone.run(cores=[core])

        assert (phone.folder / "allowed").read_text().split()[1] == str(core)
        assert run.cores == (core,)

    def test_cores_that_do_not_exist_are_an_error(self, phone):
        with pytest.raises(DeviceError, match=r"ended with exit code 1.*taskset"):
            phone.run(cores=[1023])

    def test_a_phone_before_android_7_works_too(self, adb_server, tmp_path):
        device = Phone(tmp_path, shell_v2=False)
        assert device.run()[0].count == 50
        device.tool_prints("ERROR: no", "exit 9")
        with pytest.raises(DeviceError, match="exit code 9"):
            device.run()
        device.close()

    def test_a_model_that_the_tool_refuses_is_the_models_fault(self, phone):
        phone.tool_prints(
            "INFO: STARTING!\nERROR: Didn't find op for builtin opcode 'CUSTOM'\nERROR: Failed to initialize the "
            "interpreter\nERROR: Benchmarking failed.",
            "exit 1",
        )
        with pytest.raises(ModelError, match=r"refuses .*model of mine\.tflite.*Didn't find op for builtin opcode"):
            phone.run()

    def test_a_flag_that_the_tool_cannot_read_is_not_the_models_fault(self, phone):
        phone.tool_prints("ERROR: Failed to parse flag 'num_threads'\nERROR: Benchmarking failed.", "exit 1")
        with pytest.raises(DeviceError, match="exit code 1; it said: ERROR: Failed to parse flag"):
            phone.run()

    @pytest.mark.parametrize(
        ("then", "message"),
        [
            ("kill -ABRT $$", r"crashed \(Aborted\)"),
            ("kill -SEGV $$", r"crashed \(Segmentation fault\)"),
            ("kill -KILL $$", r"crashed \(Killed, as Android does when memory runs out\)"),
            ("exit 126", "exit code 126; is it built for the phone's architecture"),
            ("exit 0", "nonsense"),
        ],
    )
    def test_a_tool_that_fails_otherwise_is_quoted(self, phone, then, message):
        phone.tool_prints("FATAL: something", then)
        with pytest.raises(DeviceError, match=message):
            phone.run()
        assert not list(phone.folder.glob("tfx-edge-*/model.tflite"))

    def test_a_program_for_another_processor_is_named_as_such(self, phone):
        phone.tool.write_bytes(b"\x7fELF\x02\x01\x01" + bytes(200))
        with pytest.raises(DeviceError, match="built for the phone's architecture"):
            phone.run()

    def test_a_hang_ends_at_the_timeout_on_the_phone_too(self, phone):
        phone.tool_prints("INFO: STARTING!", f"echo $$ > '{phone.folder}/process'; exec sleep 60")
        started = time.monotonic()

        with pytest.raises(DeviceError, match=r"`adb shell` did not finish on device .* raise timeout_s"):
            phone.target().latency(phone.model, RunOptions(timeout_s=2))

        assert time.monotonic() - started < 10
        assert _is_dead(int((phone.folder / "process").read_text()))
        assert not list(phone.folder.glob("tfx-edge-*/model.tflite"))

    def test_a_phone_that_disappears_in_the_middle_is_lost(self, phone):
        phone.tool_prints("INFO: STARTING!", "sleep 60")
        phone.adbd.vanish = "--graph"
        with pytest.raises(DeviceError, match="was lost while a command ran there"):
            phone.run()

    def test_a_full_phone_says_so(self, phone):
        phone.adbd.refuse_push = "couldn't write file: No space left on device"
        with pytest.raises(DeviceError, match=r"did not take .*No space left on device.*Free space on it"):
            phone.run()

    def test_a_folder_that_cannot_be_made_is_named(self, phone):
        phone.run()
        (phone.folder / "file").write_text("")
        with pytest.raises(DeviceError, match=r"did not take .*Not a directory"):
            phone.run(remote_dir=f"{phone.folder}/file")

    def test_a_phone_that_does_not_say_what_it_is_is_refused(self, phone):
        phone.program(phone.fakes / "getprop", "exit 0")
        with pytest.raises(DeviceError, match="did not say what it is"):
            phone.run()

    def test_an_unauthorized_phone_must_be_unlocked(self, adb_server, tmp_path):
        device = Phone(tmp_path, unauthorized=True)
        with pytest.raises(DeviceError, match=r"is not ready; adb says: .*unauthorized.*Unlock the phone"):
            device.run()
        device.close()

    def test_without_a_phone_it_says_how_to_connect_one(self, adb_server, tmp_path):
        model = tmp_path / "tflite"
        model.write_bytes(b"")
        with pytest.raises(DeviceError, match=r"no devices.*Connect the phone"):
            Adb("benchmark_model").latency(model, OPTIONS)
        with pytest.raises(DeviceError, match=r"device XYZ is not ready; adb says: .*'XYZ' not found"):
            Adb("benchmark_model", serial="XYZ").latency(model, OPTIONS)

    def test_of_several_phones_one_must_be_named(self, phone, tmp_path):
        (tmp_path / "second").mkdir()
        second = Phone(tmp_path / "second")
        with pytest.raises(DeviceError, match=f"more than one.*{second.serial}.*Say which in serial"):
            phone.run(serial=None)
        assert phone.run()[0].count == second.run()[0].count == 50
        second.close()

    def test_the_only_phone_needs_no_serial(self, phone):
        assert phone.run(serial=None)[0].count == 50


class TestWithoutAdb:
    def test_a_missing_adb_says_how_to_get_it(self, tmp_path):
        model = tmp_path / "tflite"
        model.write_bytes(b"")
        with pytest.raises(DeviceError, match=r"/nowhere/adb cannot be started .*install Android's platform tools"):
            Adb("benchmark_model", adb="/nowhere/adb").latency(model, OPTIONS)

    def test_a_missing_model_is_named(self, tmp_path):
        with pytest.raises(ModelError, match="no model file at"):
            Adb("benchmark_model").latency(tmp_path / "tflite", OPTIONS)

    def test_an_adb_that_hangs_ends_at_the_timeout(self, tmp_path):
        model, adb = tmp_path / "tflite", tmp_path / "adb"
        model.write_bytes(b"")
        Phone.program(adb, f"exec {sys.executable} -c 'import time; time.sleep(60)'")
        with pytest.raises(DeviceError, match="`adb get-state` did not finish on the device"):
            Adb("benchmark_model", adb=str(adb)).latency(model, RunOptions(timeout_s=0.5))


def test_it_offers_no_comparison_and_no_outputs(tmp_path):
    assert {"latency", "memory"} == Adb.OFFERS
    with pytest.raises(DeviceError, match="cannot compare two models"):
        Adb("benchmark_model").compare(tmp_path, tmp_path, OPTIONS)


def _is_dead(process: int) -> bool:
    for _ in range(50):
        try:
            os.kill(process, signal.SIGCONT)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False
