"""Schedules and runs, by kfp's own client against a fake server that checks what is said by kfp-server-api's models."""

from __future__ import annotations

import json
import re
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytest.importorskip("kfp", reason="the extra 'kubeflow' is not installed")

import fake_kubeflow

from tfx_edge.cli import main
from tfx_edge.kubeflow.server import ServerSettings, connect

pytestmark = pytest.mark.filterwarnings("ignore")
BOUNDS = '{"thresholds": {"accuracy": {"min": 0.9}}}'


@pytest.fixture
def server() -> Iterator[fake_kubeflow.Server]:
    with fake_kubeflow.serve() as state:
        yield state


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A pipeline as `compile` writes it, with two gates of which Pusher takes one."""
    return write_package(tmp_path / "wine.yaml")


def write_package(file: Path, **parameters: Any) -> Path:
    def executor(path: str) -> dict[str, Any]:
        return {"container": {"image": "wine:1", "command": ["python"], "args": ["--executor_class_path", path]}}

    gate = "tfx_edge.edge_evaluator.executor.Executor"
    paths = {"Trainer": "tfx.Trainer", "Gate": gate, "Watched": gate, "Pusher": "tfx.Pusher"}
    markers = ("Gate-blessed", "Watched-blessed")
    tasks: dict[str, Any] = {name: {"taskInfo": {"name": name}, "componentRef": {"name": name}} for name in paths}
    tasks |= {name: {"taskInfo": {"name": name}, "componentRef": {"name": name}} for name in markers}
    tasks["Gate"]["inputs"] = {"parameters": {"config": {"componentInputParameter": "thresholds"}}}
    tasks["Pusher"]["inputs"] = {
        "artifacts": {
            "model_blessing": {"taskOutputArtifact": {"producerTask": "Gate", "outputArtifactKey": "blessing"}}
        }
    }
    spec = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "wine"},
        "defaultPipelineRoot": "gs://bucket/wine",
        "components": {name: {"executorLabel": name} for name in (*paths, *markers)},
        "deploymentSpec": {
            "executors": {
                **{name: executor(path) for name, path in paths.items()},
                **{name: {"container": {"image": "wine:1", "command": ["echo"]}} for name in markers},
            }
        },
        "root": {
            "dag": {"tasks": tasks},
            "inputDefinitions": {
                "parameters": {
                    "thresholds": {"parameterType": "STRING", "defaultValue": BOUNDS, "isOptional": True},
                    "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 5.0, "isOptional": True},
                    **parameters,
                }
            },
        },
    }
    file.write_text(yaml.safe_dump(spec))
    return file


def run(server: fake_kubeflow.Server, *arguments: str | Path) -> int:
    return main(["kubeflow", *map(str, arguments), "--host", server.host])


def one(server: fake_kubeflow.Server) -> dict[str, Any]:
    (schedule,) = server.schedules.values()
    return schedule


def test_fake_server_gets_a_schedule_with_all_that_it_needs(server: fake_kubeflow.Server, package: Path) -> None:
    status = run(
        server, "schedule", package, "--cron", "0 3 * * 1-5", "--pipeline-root", "s3://other/root", "--param",
        'thresholds={"thresholds": {"accuracy": {"min": 0.97}}}', "--param", "epochs=7", "--max-concurrency", "2",
        "--service-account", "runner", "--description", "every working day",
    )  # fmt: skip
    assert status == 0
    schedule = one(server)
    assert schedule["display_name"] == "wine"
    assert schedule["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1-5"}}
    assert schedule["mode"] == "ENABLE"
    assert schedule["no_catchup"] is True
    assert schedule["max_concurrency"] == "2"
    assert schedule["service_account"] == "runner"
    assert schedule["description"].startswith("every working day ")
    assert schedule["runtime_config"] == {
        "pipeline_root": "s3://other/root",
        "parameters": {"thresholds": '{"thresholds": {"accuracy": {"min": 0.97}}}', "epochs": 7},
    }
    assert schedule["pipeline_spec"]["schemaVersion"] == "2.1.0"
    assert server.experiments[schedule["experiment_id"]]["display_name"] == "Default"


def test_fake_server_gets_nothing_new_when_a_schedule_is_applied_again(
    server: fake_kubeflow.Server, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("schedule", package, "--cron", "0 3 * * *")
    run(server, *command)
    first = one(server)["recurring_run_id"]
    assert run(server, *command) == 0
    assert one(server)["recurring_run_id"] == first
    assert capsys.readouterr().out.splitlines()[-1].startswith("unchanged schedule 'wine'")
    posts = [path for method, path in server.requests if method == "POST"]
    assert posts == ["/apis/v2beta1/experiments", "/apis/v2beta1/recurringruns"]


@pytest.mark.parametrize(
    "change",
    [("--cron", "0 4 * * *"), ("--param", "epochs=6"), ("--catch-up",), ("--max-concurrency", "3"), ("--no-cache",)],
    ids=lambda change: change[0],
)
def test_fake_server_holds_one_schedule_after_a_change(
    server: fake_kubeflow.Server, package: Path, change: tuple[str, ...]
) -> None:
    run(server, "schedule", package, "--cron", "0 3 * * *")
    first = one(server)["recurring_run_id"]
    assert run(server, "schedule", package, "--cron", "0 3 * * *", *change) == 0
    assert one(server)["recurring_run_id"] != first
    methods = [method for method, path in server.requests if "recurringruns" in path]
    assert methods.index("DELETE") > len(methods) - 1 - methods[::-1].index("POST"), "the old one goes last"


def test_fake_server_gets_a_recompiled_pipeline_but_a_paused_schedule_stays_paused(
    server: fake_kubeflow.Server, package: Path
) -> None:
    run(server, "schedule", package, "--cron", "0 3 * * *", "--disabled")
    assert one(server)["mode"] == "DISABLE"
    package.write_text(package.read_text().replace("wine:1", "wine:2"))
    run(server, "schedule", package, "--cron", "0 3 * * *")
    assert "wine:2" in json.dumps(one(server)["pipeline_spec"])
    assert one(server)["mode"] == "DISABLE"
    identity = one(server)["recurring_run_id"]
    run(server, "schedule", package, "--cron", "0 3 * * *", "--enabled")
    assert (one(server)["mode"], one(server)["recurring_run_id"]) == ("ENABLE", identity)


def test_fake_server_loses_what_an_interrupted_change_left_behind(server: fake_kubeflow.Server, package: Path) -> None:
    run(server, "schedule", package, "--cron", "0 3 * * *")
    leftover = {**one(server), "recurring_run_id": "left-over", "description": "tfx-edge:old"}
    server.schedules["left-over"] = leftover
    run(server, "schedule", package, "--cron", "0 3 * * *")
    assert one(server)["recurring_run_id"] != "left-over"


def test_fake_server_keeps_the_old_schedule_when_the_new_one_is_refused(
    server: fake_kubeflow.Server, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(server, "schedule", package, "--cron", "0 3 * * *")
    kept = one(server)
    answer = server.answer

    def refuse(method: str, path: str, *rest: Any) -> dict[str, Any]:
        if (method, path) == ("POST", "/apis/v2beta1/recurringruns"):
            raise ValueError("no more schedules")
        return answer(method, path, *rest)

    server.answer = refuse  # type: ignore[method-assign]
    assert run(server, "schedule", package, "--cron", "0 4 * * *") == 1
    assert one(server) == kept
    assert "creating the schedule 'wine'" in (error := capsys.readouterr().err)
    assert "no more schedules" in error


def test_fake_server_tells_all_its_schedules_page_by_page(
    server: fake_kubeflow.Server, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.page = 2
    assert run(server, "schedules") == 0
    assert capsys.readouterr().out == "no schedules\n"
    for name in ("a", "b", "c", "d", "e"):
        run(server, "schedule", package, "--cron", "@daily", "--name", name)
    run(server, "disable-schedule", "b")
    capsys.readouterr()
    assert run(server, "schedules") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [re.split(r" {2,}", line)[:3] for line in lines] == [
        [name, "@daily", "disabled" if name == "b" else "enabled"] for name in "abcde"
    ]
    run(server, "schedules", "--json")
    assert json.loads(capsys.readouterr().out)[1]["enabled"] is False


def test_fake_server_enables_disables_and_deletes_by_name(
    server: fake_kubeflow.Server, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(server, "schedule", package, "--cron", "0 3 * * *")
    assert run(server, "disable-schedule", "wine") == 0
    assert one(server)["status"] == "DISABLED"
    assert run(server, "enable-schedule", "wine") == 0
    assert one(server)["status"] == "ENABLED"
    assert run(server, "delete-schedule", "beer") == 1
    assert "there is no schedule 'beer'" in (error := capsys.readouterr().err)
    assert "it has wine" in error
    assert run(server, "delete-schedule", "wine") == 0
    assert server.schedules == {}


def test_fake_server_does_not_guess_between_experiments(
    server: fake_kubeflow.Server, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for experiment in ("first", "second"):
        run(server, "schedule", package, "--cron", "0 3 * * *", "--experiment", experiment)
    assert run(server, "delete-schedule", "wine") == 1
    assert "give --experiment" in capsys.readouterr().err
    assert run(server, "delete-schedule", "wine", "--experiment", "second") == 0
    assert server.experiments[one(server)["experiment_id"]]["display_name"] == "first"


BLESSED = {"Trainer": "SUCCEEDED", "Gate": "SUCCEEDED", "Gate-blessed": "SUCCEEDED", "Watched-blessed": "SKIPPED"}
WITHHELD = BLESSED | {"Gate-blessed": "SKIPPED", "Watched-blessed": "SUCCEEDED"}


def test_fake_server_runs_to_a_blessing_and_the_status_is_0(
    server: fake_kubeflow.Server, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = [{}, {"Trainer": "RUNNING", "executor": "RUNNING"}, {"Trainer": "SUCCEEDED"}, BLESSED]
    assert run(server, "submit", package, "--interval", "0.01", "--param", "epochs=9") == 0
    (started,) = server.runs.values()
    assert started["runtime_config"] == {"pipeline_root": "gs://bucket/wine", "parameters": {"epochs": 9}}
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"run {started['run_id']} of wine on {server.host}"
    told = [line.split(" ", 1)[1] for line in lines[1:-2]]
    assert told[:2] == ["Trainer: runs", "Trainer: done"]
    assert sorted(told[2:]) == ["Gate-blessed: done", "Gate: done", "Watched-blessed: skipped"]
    assert lines[-2:] == ["Gate: blessed", "Watched: not blessed (decides nothing)"]


def test_fake_server_runs_to_no_blessing_and_the_status_is_not_0(
    server: fake_kubeflow.Server, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = [WITHHELD]
    assert run(server, "submit", package, "--interval", "0.01") == 1
    out, error = capsys.readouterr()
    assert "Gate: not blessed" in out
    assert re.search(r"error: not blessed by Gate in the run run-\d+", error)
    assert run(server, "submit", package, "--interval", "0.01", "--gate", "Watched") == 0
    started = len(server.runs)
    assert run(server, "submit", package, "--interval", "0.01", "--gate", "Watcher") == 1
    assert len(server.runs) == started
    assert "the pipeline's gates are Gate, Watched" in capsys.readouterr().err


@pytest.mark.parametrize("place", ["behind no marker", "in another pipeline"])
def test_fake_server_is_not_asked_to_run_a_gate_whose_verdict_it_could_not_tell(
    server: fake_kubeflow.Server, package: Path, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    spec = yaml.safe_load(package.read_text())
    dag = spec["root"]["dag"]
    if place == "behind no marker":
        del dag["tasks"]["Gate-blessed"]
    else:
        spec["components"]["inner"] = {"dag": dag}
        spec["root"]["dag"] = {"tasks": {"inner": {"componentRef": {"name": "inner"}}}}
    unmarked = package.with_name("unmarked.yaml")
    unmarked.write_text(yaml.safe_dump(spec))
    server.script = [BLESSED]
    assert run(server, "submit", unmarked, "--interval", "0.01") == 1
    assert "the verdict of Gate" in (error := capsys.readouterr().err)
    assert "compile the pipeline with 'tfx-edge kubeflow compile'" in error
    assert server.requests == []


def test_fake_server_told_to_run_it_by_others_and_the_status_is_not_0(
    server: fake_kubeflow.Server, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server, "submit", package, "--no-wait") == 0
    run_id = capsys.readouterr().out.strip()
    del server.runs[run_id]["pipeline_spec"]["root"]["dag"]["tasks"]["Gate-blessed"]
    server.script = [BLESSED]
    assert run(server, "follow", run_id, "--interval", "0.01") == 1
    assert "the verdict of Gate could not be known" in capsys.readouterr().err


def test_fake_server_runs_a_gate_whose_verdict_is_not_told_and_the_status_is_not_0(
    server: fake_kubeflow.Server, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = [{"Trainer": "SUCCEEDED"}]
    assert run(server, "submit", package, "--interval", "0.01") == 1
    assert "Gate: no verdict" in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["FAILED", "CANCELED"])
def test_fake_server_fails_half_way_and_the_status_is_not_0(
    server: fake_kubeflow.Server, package: Path, capsys: pytest.CaptureFixture[str], ending: str
) -> None:
    server.script = [{"Trainer": "RUNNING"}, {"Trainer-driver": "FAILED", "executor": "FAILED"}]
    server.ending = ending
    assert run(server, "submit", package, "--interval", "0.01") == 1
    assert re.search(rf"the run run-\d+ ended as {ending} in Trainer; see the logs", capsys.readouterr().err)


def test_fake_server_is_away_for_a_while_and_the_run_is_followed_on(
    server: fake_kubeflow.Server, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server, "submit", package, "--no-wait") == 0
    run_id = capsys.readouterr().out.strip()
    server.script = [BLESSED]
    server.faults = [(503, "{}")] * 3
    assert run(server, "follow", run_id, "--interval", "0.01") == 0
    out = capsys.readouterr().out
    assert out.count("the server does not answer; asking again") == 3
    assert "Gate: blessed" in out
    server.faults = [(500, "{}")] * 10
    assert run(server, "follow", run_id, "--interval", "0.01") == 0
    server.faults = [(500, '{"message": "database is locked"}')] * 11
    assert run(server, "follow", run_id, "--interval", "0.01") == 1
    assert "answered 500" in (error := capsys.readouterr().err)
    assert "database is locked" in error


def test_fake_server_never_ends_and_waiting_does(
    server: fake_kubeflow.Server, package: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.ending = "RUNNING"
    assert run(server, "submit", package, "--interval", "0.01", "--limit", "0.1") == 1
    assert re.search(r"did not end within 0.1 s and goes on; follow it again with 'tfx-edge", capsys.readouterr().err)


@pytest.mark.parametrize("option", ["--interval", "--limit"])
@pytest.mark.parametrize("value", ["-1", "0", "nan", "inf", "1e300", "soon"])
def test_a_time_that_nobody_can_wait_is_a_wrong_usage(
    package: Path, capsys: pytest.CaptureFixture[str], option: str, value: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["kubeflow", "submit", str(package), option, value])
    assert caught.value.code == 2
    assert f"argument {option}: '{value}' is no number of seconds above 0" in capsys.readouterr().err


@pytest.mark.parametrize(("action", "option"), [("compile", "--arg"), ("submit", "--param"), ("schedule", "--param")])
def test_a_name_without_a_value_is_a_wrong_usage(
    package: Path, capsys: pytest.CaptureFixture[str], action: str, option: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["kubeflow", action, str(package), option, "epochs"])
    assert caught.value.code == 2
    assert f"argument {option}: 'epochs' gives no value; write name=value" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ((401, '{"message": "no token"}'), ["answered 401", "no token", "--token-file"]),
        ((403, "{}"), ["answered 403", "--namespace"]),
        ((404, "not found"), ["answered 404", "check --host"]),
        ((500, '{"error": "boom"}'), ["answered 500", "boom", "log of its ml-pipeline pod"]),
        ((200, "<html>Log in</html>"), ["something else than Kubeflow's API", "--token-file"]),
        (3.0, ["did not answer within 1 s", "--request-timeout"]),
    ],
    ids=["401", "403", "404", "500", "login page", "hangs"],
)
def test_fake_server_that_refuses_is_told_in_one_line(
    server: fake_kubeflow.Server, capsys: pytest.CaptureFixture[str], fault: Any, words: list[str]
) -> None:
    server.faults = [fault]
    started = time.monotonic()
    assert run(server, "schedules", "--request-timeout", "1") == 1
    assert time.monotonic() - started < 2.5
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert [word for word in [*words, server.host] if word not in error] == []
    assert len(server.requests) == 1


def test_no_server_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"http://127.0.0.1:{free.getsockname()[1]}"
    assert main(["kubeflow", "schedules", "--host", host]) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert f"cannot reach {host}" in error
    assert "check --host" in error
    assert "refused" in error
    assert " object at 0x" not in error


def test_a_missing_client_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "kfp", None)
    assert main(["kubeflow", "schedules", "--host", "http://127.0.0.1:1"]) == 1
    assert "pip install 'tfx-edge[kubeflow]'" in capsys.readouterr().err


def test_fake_server_sees_the_token(server: fake_kubeflow.Server, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    assert run(server, "schedules", "--token-file", token) == 0
    assert server.headers[-1]["authorization"] == "Bearer secret"
    assert run(server, "schedules", "--token-file", tmp_path / "none") == 1


def test_fake_server_sees_the_token_that_is_there_now(
    server: fake_kubeflow.Server, package: Path, tmp_path: Path
) -> None:
    """A cluster renews such a file while a run is followed."""
    token = tmp_path / "token"
    token.write_text("first")
    client = connect(ServerSettings(host=server.host, token_file=token))
    for word in ("first", "second"):
        token.write_text(f"{word}\n")
        client.list_recurring_runs()
        assert server.headers[-1]["authorization"] == f"Bearer {word}"


def test_fake_server_is_found_by_the_environment_and_told_the_namespace(
    server: fake_kubeflow.Server, package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", server.host)
    assert main(["kubeflow", "schedule", str(package), "--cron", "@daily", "--namespace", "team"]) == 0
    (experiment,) = server.experiments.values()
    assert experiment["namespace"] == "team"
    assert main(["kubeflow", "schedules", "--namespace", "team"]) == 0
    assert server.queries[-1]["namespace"] == "team"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--param", "epoch=1"], ["--param epoch", "it has epochs, thresholds"]),
        (["--param", "epochs=many"], ["--param epochs is 'many'", "NUMBER_INTEGER"]),
        (["--param", "epochs=1.5"], ["--param epochs is '1.5'"]),
        (["--param", "thresholds=@missing.json"], ["cannot read 'missing.json'"]),
        (
            ["--param", 'thresholds={"thresholds": {"accuracy": {"least": 1}}}'],
            ["--param thresholds, the configuration of Gate", "unknown key", "least"],
        ),
        (["--param", 'thresholds={"slices": [["a"]], "x": 1}'], ["unknown key 'x'"]),
        (["--pipeline-root", "/tmp/root"], ["the pipeline root is '/tmp/root'", "gs://"]),
        (["--cron", "0 3 * *"], ["--cron is '0 3 * *'", "4 fields"]),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) and str(value[0]).startswith("--") else "",
)
def test_fake_server_is_not_asked_when_a_schedule_is_wrong(
    server: fake_kubeflow.Server,
    package: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: list[str],
) -> None:
    assert run(server, "schedule", package, "--cron", "0 3 * * *", *arguments) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert [word for word in words if word not in error] == []
    assert server.requests == []


@pytest.mark.parametrize("command", [("submit",), ("schedule", "--cron", "@daily")], ids=lambda words: words[0])
def test_fake_server_is_not_asked_when_a_compiled_default_is_wrong(
    server: fake_kubeflow.Server, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    wrong = {"parameterType": "STRING", "defaultValue": '{"threshold": {}}', "isOptional": True}
    package = write_package(tmp_path / "wine.yaml", thresholds=wrong)
    assert run(server, command[0], package, *command[1:]) == 1
    error = capsys.readouterr().err
    assert "the compiled default of thresholds, the configuration of Gate: " in error
    assert "unknown key 'threshold'" in error
    assert server.requests == []
    right = f"thresholds={BOUNDS}"
    assert run(server, "schedule", package, "--cron", "@daily", "--param", right) == 0


def test_fake_server_is_not_asked_without_a_value_that_has_no_default(
    server: fake_kubeflow.Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = write_package(tmp_path / "wine.yaml", baseline={"parameterType": "STRING"})
    assert run(server, "submit", package) == 1
    assert "the pipeline needs baseline" in capsys.readouterr().err
    assert server.requests == []
    macro = "gs://bucket/[[ScheduledTime.2006-01-02]]"
    assert run(server, "schedule", package, "--cron", "@daily", "--param", f"baseline={macro}") == 0
    assert one(server)["runtime_config"]["parameters"] == {"baseline": macro}


@pytest.mark.parametrize("content", ["", "a: [", "schemaVersion: 2.0.0", "- 1"])
def test_a_file_that_is_no_pipeline_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str) -> None:
    file = tmp_path / "pipeline.yaml"
    file.write_text(content)
    for path in (file, tmp_path / "missing.yaml"):
        assert main(["kubeflow", "submit", str(path)]) == 1
        assert str(path) in capsys.readouterr().err
