"""The emulated arm64 target. Outputs are compared where QEMU and a root are: TFX_EDGE_ARM64_ROOT or .arm64-root."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import dense_models
import numpy as np
import pytest

from tfx_edge.devices.local import infer
from tfx_edge.devices.qemu import EMULATOR, Qemu
from tfx_edge.devices.target import RunOptions
from tfx_edge.errors import ConfigError, DeviceError, ModelError

ROOT = Path(os.environ.get("TFX_EDGE_ARM64_ROOT") or Path(__file__).parents[2] / ".arm64-root")
FEATURES = np.random.default_rng(1).normal(size=(200, 8)).astype(np.float32)

needs_emulator = pytest.mark.skipif(not shutil.which(EMULATOR), reason=f"{EMULATOR} is not installed")
needs_root = pytest.mark.skipif(
    not shutil.which(EMULATOR) or not (ROOT / "usr/bin/python3").exists(),
    reason=f"no {EMULATOR} or no arm64 root at {ROOT} (make one with tools/arm64-root)",
)


@needs_root
class TestEmulated:
    @pytest.fixture(scope="class")
    def target(self):
        with Qemu(str(ROOT)) as target:
            yield target

    def test_an_int8_model_answers_within_one_step(self, target, tmp_path):
        model = dense_models.write_int8(tmp_path / "int8.tflite")
        (here,), (there,) = infer(model, [{"x": FEATURES}]), target.infer(model, [{"x": FEATURES}], 120)
        assert np.ptp(here["scores"]) > 1
        assert np.max(np.abs(here["scores"] - there["scores"])) <= dense_models.OUTPUT_STEP * 1.001

    def test_a_float_model_answers_alike(self, target, tmp_path):
        model = dense_models.write_float(tmp_path / "float.tflite")
        (there,) = target.infer(model, [{"x": FEATURES}], 120)
        np.testing.assert_allclose(there["scores"], FEATURES @ dense_models.weights().T, atol=1e-5)

    def test_a_file_that_is_no_model_is_refused(self, target, tmp_path):
        model = tmp_path / "nonsense.tflite"
        model.write_bytes(b"nonsense" * 100)
        with pytest.raises(ModelError, match=r"the emulated arm64 \(cortex-a72\): .* cannot load .*/nonsense\.tflite"):
            list(target.infer(model, [{"x": FEATURES}], 120))

    def test_it_takes_no_longer_than_it_may(self, target, tmp_path):
        model = dense_models.write_float(tmp_path / "float.tflite")
        many = np.repeat(FEATURES, 20_000, axis=0)  # a quiet machine answers a few within the second
        with pytest.raises(DeviceError, match="did not finish within 1 s"):
            list(target.infer(model, [{"x": many}], 1))

    def test_a_processor_that_does_not_exist_is_named(self, tmp_path):
        model = dense_models.write_float(tmp_path / "float.tflite")
        with Qemu(str(ROOT), cpu="z80") as target, pytest.raises(DeviceError, match=r"exit code 1; .*z80"):
            list(target.infer(model, [{"x": FEATURES}], 60))


def test_no_time_is_measured_on_an_emulator(tmp_path):
    target = Qemu(str(tmp_path))
    assert set(target.OFFERS) == {"infer"}
    with pytest.raises(DeviceError, match="cannot measure latency"):
        target.latency(tmp_path / "x.tflite", RunOptions())
    with pytest.raises(DeviceError, match="cannot compare"):
        target.compare(tmp_path / "x.tflite", tmp_path / "y.tflite", RunOptions())


@needs_emulator
def test_a_missing_root_is_named_with_the_way_to_make_one(tmp_path):
    model = dense_models.write_float(tmp_path / "float.tflite")
    with pytest.raises(DeviceError, match=f"no arm64 root at {tmp_path}/none; make one with: tools/arm64-root"):
        list(Qemu(str(tmp_path / "none")).infer(model, [{"x": FEATURES}], 60))


def test_a_missing_emulator_is_named(tmp_path, monkeypatch):
    model = dense_models.write_float(tmp_path / "float.tflite")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(DeviceError, match="no qemu-aarch64-static on this machine; install qemu-user-static"):
        list(Qemu(str(tmp_path)).infer(model, [{"x": FEATURES}], 60))


def test_what_can_never_work_is_refused():
    with pytest.raises(ConfigError, match="needs a root and a cpu"):
        Qemu("")


def test_the_fingerprint_names_the_processor():
    assert Qemu("/roots/arm64", cpu="cortex-a53").fingerprint() == "qemu cortex-a53, /roots/arm64"
