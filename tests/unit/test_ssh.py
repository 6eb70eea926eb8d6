"""The ssh target against a real sshd on the loopback, whose Python does not see this package."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import dense_models
import loopback_board
import numpy as np
import pytest
from loopback_board import Board, eventually
from processes import runs, until

from tfx_edge.devices import remote
from tfx_edge.devices.local import infer
from tfx_edge.devices.ssh import Ssh
from tfx_edge.devices.target import RunOptions
from tfx_edge.errors import ConfigError, DataError, DeviceError, ModelError

needs_board = pytest.mark.skipif(loopback_board.missing() is not None, reason=str(loopback_board.missing()))

FEATURES = np.random.default_rng(1).normal(size=(7, 8)).astype(np.float32)
FEW = RunOptions(runs=20, warmup=2, timeout_s=60)


@pytest.fixture(scope="module")
def board(tmp_path_factory):
    board = Board(tmp_path_factory.mktemp("board"))
    yield board
    board.stop()


@pytest.fixture(scope="module")
def target(board):
    """One connection for the tests that need nothing special."""
    with board.ssh() as target:
        yield target


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    truncated = folder / "truncated.tflite"
    truncated.write_bytes(dense_models.write_float(folder / "float.tflite").read_bytes()[:200])
    int8 = dense_models.write_int8(folder / "int8.tflite")
    return SimpleNamespace(float=folder / "float.tflite", int8=int8, truncated=truncated)


def run_one(target, model, batch=None, timeout_s=60):
    (outputs,) = target.infer(model, [batch or {"features": FEATURES}], timeout_s)
    return outputs


@needs_board
class TestRunning:
    @pytest.mark.parametrize("kind", ["float", "int8"])
    def test_outputs_are_those_of_this_machine(self, target, models, kind):
        batches = [{"features": FEATURES}, {"features": FEATURES[:2]}]
        model = getattr(models, kind)

        there, here = list(target.infer(model, iter(batches), 60)), list(infer(model, batches))

        assert [len(outputs["scores"]) for outputs in there] == [7, 2]
        for one, other in zip(there, here, strict=True):
            np.testing.assert_array_equal(one["scores"], other["scores"])

    def test_latency_gives_samples_memory_and_what_the_board_is(self, target, models):
        run, environment = target.latency(models.int8, FEW)

        assert len(run.samples_ns) == 20
        assert 10e6 < run.import_memory_bytes < run.peak_memory_bytes < 1e9
        assert environment["machine"] == os.uname().machine
        assert environment["num_threads"] == 1
        assert environment["ai_edge_litert"]

    def test_two_models_are_compared_in_one_process(self, target, models):
        pair, environment = target.compare(models.int8, models.float, FEW)

        assert len(pair.candidate.samples_ns) == len(pair.baseline.samples_ns) == 20
        assert pair.candidate.samples_ns != pair.baseline.samples_ns
        assert environment["machine"] == os.uname().machine

    def test_the_kernel_and_the_time_limit_reach_the_board(self, target, models):
        endless = RunOptions(runs=10**9, warmup=1, kernel="builtin", timeout_s=60, max_seconds=0.2)

        run, environment = target.latency(models.float, endless)

        assert environment["kernel"] == "builtin"
        assert len(run.samples_ns) < 10**8

    def test_a_model_is_sent_once_for_many_processes(self, board, models, tmp_path):
        def held():
            (directory,) = tmp_path.iterdir()
            return {path.name: path.stat().st_ino for path in directory.iterdir() if path.is_file()}

        with board.ssh(workdir=str(tmp_path)) as target:
            run_one(target, models.float)
            first = held()
            target.compare(models.float, models.int8, FEW)

            assert (len(first), len(held())) == (2, 3)
            assert first.items() <= held().items()

    def test_outputs_of_many_chunks_come_in_order(self, target, models, monkeypatch):
        monkeypatch.setattr("tfx_edge.devices.batches.CHUNK_EXAMPLES", 4)
        batches = [{"features": FEATURES[n : n + 2]} for n in range(0, 6, 2)]

        scores = [outputs["scores"] for outputs in target.infer(models.float, batches, 60)]

        np.testing.assert_allclose(np.concatenate(scores), FEATURES[:6] @ dense_models.weights().T, atol=1e-6)

    def test_what_a_login_shell_prints_does_no_harm(self, tmp_path, models):
        board = Board(tmp_path, 'ForceCommand echo welcome; echo beware >&2; eval "$SSH_ORIGINAL_COMMAND"')
        try:
            with board.ssh() as target:
                assert run_one(target, models.float)["scores"].shape == (7, 3)
        finally:
            board.stop()

    def test_relative_paths_begin_at_the_home_directory(self, board, models, tmp_path):
        home = pwd.getpwuid(os.getuid()).pw_dir
        paths = {name: os.path.relpath(path, home) for name, path in (("python", board.python), ("workdir", tmp_path))}
        with board.ssh(**{**paths, "python": f"~/{paths['python']}"}) as target:
            run_one(target, models.float)
            assert list(tmp_path.iterdir())


@needs_board
class TestCleaningUp:
    def test_nothing_stays_after_closing(self, board, models, tmp_path):
        with board.ssh(workdir=str(tmp_path)) as target:
            run_one(target, models.float)
            assert list(tmp_path.iterdir())
        assert not list(tmp_path.iterdir())

    def test_nothing_stays_when_the_target_is_forgotten(self, board, models, tmp_path):
        target = board.ssh(workdir=str(tmp_path))
        run_one(target, models.float)
        del target
        assert not list(tmp_path.iterdir())

    def test_nothing_stays_and_nothing_runs_when_this_process_is_killed(self, board, models, tmp_path):
        work = tmp_path / "work"
        work.mkdir()
        sleeper = board.script("sleeper", f"echo $$ > {tmp_path}/pid; exec sleep 100")
        target = board.ssh(python=sleeper, workdir=str(work))
        script = tmp_path / "client.py"
        script.write_text(
            "from pathlib import Path\nfrom tfx_edge.devices.ssh import Ssh\n"
            "from tfx_edge.devices.target import RunOptions\n"
            f"Ssh('127.0.0.1', port={board.port}, identity_file={str(board.folder / 'user')!r}, python={sleeper!r}, "
            f"options={target._login.options!r}, workdir={str(work)!r})"
            f".latency(Path({str(models.float)!r}), RunOptions())"
        )
        client = subprocess.Popen([sys.executable, str(script)])
        assert eventually(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), 20)

        client.kill()
        client.wait()

        pid = int((tmp_path / "pid").read_text())
        assert eventually(lambda: not runs(pid))
        assert eventually(lambda: not list(work.iterdir()))

    def test_a_run_that_outlasts_its_time_is_killed_there(self, board, models, tmp_path, monkeypatch):
        monkeypatch.setattr(remote, "GRACE_S", 0.2)
        sleeper = board.script("sleeper", f"echo $$ > {tmp_path}/pid; exec sleep 100")
        with board.ssh(python=sleeper) as target:
            with pytest.raises(DeviceError, match=r"latency of .*float\.tflite on .* did not finish within 2 s"):
                target.latency(models.float, RunOptions(timeout_s=2))
            assert eventually(lambda: not runs(int((tmp_path / "pid").read_text())))

    def test_the_board_itself_ends_a_python_that_hangs(self, board, models, tmp_path, monkeypatch):
        monkeypatch.setattr(remote, "GRACE_S", 30)
        start = time.monotonic()
        (tmp_path / "numpy.py").write_text("while True: pass")
        stuck = board.script("stuck", f'PYTHONPATH={tmp_path} exec {sys.executable} -S "$@"')
        with board.ssh(python=stuck) as target, pytest.raises(DeviceError, match="did not finish within 2 s"):
            target.latency(models.float, RunOptions(timeout_s=2))
        assert time.monotonic() - start < 20

    def test_a_lost_connection_ends_all_and_the_next_call_makes_another(self, board, models, tmp_path):
        work = tmp_path / "work"
        work.mkdir()
        first = f"[ -e {tmp_path}/pid ] || {{ echo $$ > {tmp_path}/pid; exec sleep 100; }}"
        sleeper = board.script("sleeps_first", f'{first}; exec {board.python} "$@"')

        def cut() -> None:
            until(lambda: (tmp_path / "pid").exists() and bool((tmp_path / "pid").read_text()))
            board.cut_connections()

        cutter = threading.Thread(target=cut)
        cutter.start()
        with board.ssh(python=sleeper, workdir=str(work)) as target:
            with pytest.raises(DeviceError, match=r"the connection to 127.0.0.1:\d+ was lost in the middle"):
                run_one(target, models.float)
            cutter.join()
            assert eventually(lambda: not runs(int((tmp_path / "pid").read_text())))
            assert eventually(lambda: not list(work.iterdir()))

            assert run_one(target, models.float)["scores"].shape == (7, 3)


@needs_board
class TestRefusals:
    """Each says what is wrong in a way that a person can act on."""

    def test_the_name_of_no_host(self):
        with Ssh("board.invalid") as target, pytest.raises(DeviceError, match=r"board\.invalid: there is no such host"):
            run_one(target, Path(__file__))

    def test_a_port_at_which_nobody_listens(self, board, models):
        with board.ssh(port=loopback_board.free_port()) as target, pytest.raises(DeviceError, match="no ssh server"):
            run_one(target, models.float)

    @pytest.mark.parametrize(
        ("login", "message"),
        [
            ({"key": "other"}, "accepts no key of this user .* run `ssh-copy-id`"),
            ({"key": "absent"}, "no such identity_file on this machine"),
            ({"known": "none"}, r"host key is not known; log in by hand with `ssh -p \d+ -i .* 127.0.0.1` and confirm"),
            ({"known": "other"}, "host key is not the one that is known; .* `ssh-keygen -R`"),
            ({"options": ("NoSuchOption=1",)}, "Bad configuration option: nosuchoption"),
            ({"workdir": "/no/such/folder"}, "cannot make a directory .* name a workdir .*No such file"),
        ],
    )
    def test_a_login_that_fails(self, board, models, login, message):
        with board.ssh(**login) as target, pytest.raises(DeviceError, match=message):
            run_one(target, models.float)

    def test_a_host_that_does_not_answer(self, models):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            target = Ssh("127.0.0.1", port=silent.getsockname()[1], connect_timeout_s=1)
            with pytest.raises(DeviceError, match=r"it does not answer; .* raise connect_timeout_s"):
                run_one(target, models.float)

    def test_a_login_that_stalls(self, tmp_path, models):
        board = Board(tmp_path, "ForceCommand sleep 3")
        try:
            with board.ssh(connect_timeout_s=0.5) as target, pytest.raises(DeviceError, match="it does not answer"):
                run_one(target, models.float)
        finally:
            board.stop()

    def test_no_ssh_here(self, models, monkeypatch):
        monkeypatch.setenv("PATH", "/nowhere")
        with pytest.raises(DeviceError, match="no `ssh` on this machine; install"):
            run_one(Ssh("board"), models.float)

    @pytest.mark.skipif(os.geteuid() != 0, reason="a small file system can only be mounted by root")
    def test_a_full_disk(self, board, models, tmp_path):
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(tmp_path)], check=False).returncode:
            pytest.skip("this root may not mount a file system")
        try:
            big = {"features": np.zeros((5000, 8), np.float32)}
            with board.ssh(workdir=str(tmp_path)) as target:
                with pytest.raises(DeviceError, match=r"cannot put 0\.2 MB into .*; make room there"):
                    run_one(target, models.float, big)
                assert run_one(target, models.float)["scores"].shape == (7, 3)
        finally:
            subprocess.run(["umount", "-l", str(tmp_path)], check=True)

    @pytest.mark.parametrize(
        ("python", "message"),
        [
            ("no-such-python", "cannot run no-such-python; install Python there.*not found"),
            ("~/no/such python", "cannot run .*no/such python.*; install Python there"),
            (
                f'exec {sys.executable} -S "$@"',
                "cannot import .*numpy.*; run there: .* -m pip install numpy ai-edge-litert",
            ),
            ("kill -SEGV $$", r"the interpreter crashed \(SIGSEGV\)"),
            ("kill -KILL $$", "SIGKILL, as the kernel does when memory runs out"),
            ("echo oh no >&2; exit 3", "nonsense or nothing and ended with exit code 3; it said: oh no"),
            ("exit 255", "ended with exit code 255"),
            ("echo [] > out/result.json", "nonsense or nothing and ended with exit code 0"),
            ("echo {} > out/result.json", "was run, but its outputs|was given 7 examples, but answered"),
            ("rm -r out", "nonsense or nothing and .*out: Cannot stat"),
        ],
    )
    def test_a_python_that_fails(self, board, models, python, message):
        command = board.script("failing", python) if " " in python and not python.startswith("~") else python
        with board.ssh(python=command) as target, pytest.raises(DeviceError, match=message):
            run_one(target, models.float)

    def test_a_python_that_is_too_old(self, board, models, tmp_path):
        (tmp_path / "sitecustomize.py").write_text("import sys; sys.version_info = (3, 9, 2)")
        old = board.script("old", f'PYTHONPATH={tmp_path} exec {sys.executable} "$@"')
        with board.ssh(python=old) as target, pytest.raises(DeviceError, match=r"Python is 3\.9, but 3\.10 or later"):
            run_one(target, models.float)

    def test_a_model_that_the_board_cannot_load(self, target, models, tmp_path):
        with pytest.raises(ModelError, match=r"127.0.0.1:\d+: the interpreter cannot load .*/truncated\.tflite: "):
            run_one(target, models.truncated)
        with pytest.raises(ModelError, match=r"no model file to read at .*nothing\.tflite"):
            run_one(target, tmp_path / "nothing.tflite")

    def test_examples_that_do_not_fit(self, target, models):
        with pytest.raises(DataError, match=r"takes examples of shape \[8\]"):
            run_one(target, models.float, {"features": FEATURES[:, :5]})


@pytest.mark.parametrize(
    "wrong",
    [
        {"host": ""},
        {"host": "-oProxyCommand=touch /tmp/x"},
        {"host": "pi @board"},
        {"port": 0},
        {"python": " "},
        {"connect_timeout_s": 0},
        {"options": ("-v",)},
    ],
)
def test_what_can_never_work_is_refused(wrong):
    with pytest.raises(ConfigError):
        Ssh(**{"host": "board", **wrong})


def test_the_fingerprint_names_the_board_without_reaching_it():
    assert Ssh("pi@board", port=2222).fingerprint() == "ssh pi@board:2222, python3"
