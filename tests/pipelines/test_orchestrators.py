"""A plain TFX pipeline gains the gate and goes to each orchestrator: docs/orchestrators.md, run as it is written."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
import yaml
from wine import HERE, Execution, Node, Winery

pytestmark = pytest.mark.pipeline

DOCUMENT = HERE.parents[1] / "docs" / "orchestrators.md"
TEXT = DOCUMENT.read_text()
ADDED, PARAMETER, LOCAL, BEAM, AIRFLOW, VERTEX, VERDICT = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
COMPILE, COMPILE_VERTEX = re.findall(r"tfx-edge (kubeflow compile (?:.*\\\n)*.*)", TEXT)
BEAM_OPTION = re.findall(r"run_beam\.py (\S+)", TEXT)
UNREACHABLE = {"thresholds": {"size_bytes": {"max": 100}}, "time_budget_s": 1}


def gated(folder: Path, *more: str) -> Path:
    """The file of the stock pipeline with the document's lines in the place of its Pusher."""
    stock = (HERE / "stock" / "pipeline.py").read_text()
    before, pusher, rest = re.split(r"(    pusher = Pusher\(.*?\n    \)\n)", stock, maxsplit=1, flags=re.DOTALL)
    destination = re.search(r"push_destination=(.*\),)\n    \)", pusher, re.DOTALL)
    assert destination is not None
    lines = [f"push_destination = {textwrap.dedent(destination[1]).rstrip(',')}\n"]
    imports, _, components = ADDED.partition("\n\n")
    if more:  # the configuration is changed before the components take it
        first, _, others = components.partition("\n")
        lines += [first, "\n", *more, others]
    else:
        lines.append(components)
    rest = rest.replace("            pusher,\n", "            float_model, int8_model, gate, pusher,\n")
    file = folder / "my_pipeline.py"
    before = before.replace("\n\n\ndef create_pipeline", f"\n{imports}\n\n\ndef create_pipeline")
    file.write_text(before + textwrap.indent("".join(lines), "    ") + rest)
    return file


def run(snippet: str, **given: Any) -> SimpleNamespace:
    exec(compile(snippet, DOCUMENT, "exec"), given)
    return SimpleNamespace(**given)


def create(winery: Winery, folder: Path, name: str, *more: str) -> Any:
    return winery.create(gated(folder, *more), HERE / "edge" / "model" / "wine_model.py", name)


@pytest.fixture(scope="module")
def local(winery: Winery, edge: dict[str, Node], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Node]:
    """The nodes after a run under LocalDagRunner; what `edge` did comes from the cache."""
    pipeline = create(winery, tmp_path_factory.mktemp("local"), "orchestrated_local", PARAMETER)
    with mock.patch.object(sys, "argv", sys.argv[:1]):
        run(LOCAL, my_pipeline=pipeline, metadata_path=str(winery.metadata))
    return {name: winery.node(name) for name in edge}


def test_the_lines_make_a_gated_pipeline_of_a_plain_one(local: dict[str, Node], winery: Winery) -> None:
    assert local["Trainer"].execution.last_known_state == Execution.CACHED
    assert local["EdgeEvaluator"].outputs["blessing"].custom_properties["blessed"].int_value == 1
    (pushed,) = winery.pushed("orchestrated_local")
    assert (pushed / "tflite").is_file()


def test_a_script_ends_with_why_the_model_was_not_blessed(
    local: dict[str, Node], winery: Winery, tmp_path: Path
) -> None:
    pipeline = create(winery, tmp_path, "orchestrated_blocked", f"gate_config = {UNREACHABLE}\n")
    with (
        mock.patch.object(sys, "argv", sys.argv[:1]),
        pytest.raises(SystemExit, match=r"not blessed by EdgeEvaluator in run .*: size_bytes"),
    ):
        run(LOCAL, my_pipeline=pipeline, metadata_path=str(winery.metadata))
    assert not winery.pushed("orchestrated_blocked")


def test_the_verdict_is_that_of_the_newest_run_also_from_the_cache(
    local: dict[str, Node], winery: Winery, tmp_path: Path
) -> None:
    pipeline = create(winery, tmp_path, "orchestrated_local", PARAMETER)
    with mock.patch.object(sys, "argv", sys.argv[:1]):
        run(LOCAL, my_pipeline=pipeline, metadata_path=str(winery.metadata))
    assert winery.node("EdgeEvaluator").execution.last_known_state == Execution.CACHED


def test_it_runs_under_beam(local: dict[str, Node], winery: Winery, tmp_path: Path) -> None:
    pipeline = create(winery, tmp_path, "orchestrated_beam", PARAMETER)
    with mock.patch.object(sys, "argv", [*sys.argv[:1], *BEAM_OPTION]):
        run(BEAM, my_pipeline=pipeline)
    assert winery.node("EdgeEvaluator").execution.last_known_state == Execution.CACHED
    assert len(winery.pushed("orchestrated_beam")) == 1


@pytest.mark.airflow
def test_it_is_a_dag_of_airflow(winery: Winery, tmp_path: Path) -> None:
    dag = run(AIRFLOW, my_pipeline=create(winery, tmp_path, "orchestrated_airflow", PARAMETER)).DAG
    assert {"EdgeEvaluator", "Pusher"} <= set(dag.task_ids)
    assert "gate-config" in dag.params


def compiled(folder: Path, command: str) -> Path:
    """Runs a compile command of the document on the gated pipeline, whose arguments have defaults below ``root``."""
    pytest.importorskip("kfp", reason="compiling for Kubeflow needs the extra 'kubeflow'")
    gated(folder, PARAMETER).rename(folder / "gated.py")
    module = HERE / "edge" / "model" / "wine_model.py"
    preprocessing = HERE / "stock" / "preprocessing" / "wine_preprocessing.py"
    (folder / "my_pipeline.py").write_text(
        textwrap.dedent(f"""
        import gated

        def create_pipeline(root: str = "/data"):
            return gated.create_pipeline(
                "wine", f"{{root}}/artifacts", f"{{root}}/data", {str(preprocessing)!r}, {str(module)!r},
                f"{{root}}/pushed", "/data/metadata.db", [])
        """)
    )
    words = shlex.split(command.replace("\\\n", " "))
    done = subprocess.run(
        [sys.executable, "-m", "tfx_edge.cli", *words], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / words[words.index("-o") + 1]


def test_it_compiles_for_kubeflow(tmp_path: Path) -> None:
    spec = next(yaml.safe_load_all(compiled(tmp_path, COMPILE).read_text()))
    assert {"LiteConverter", "Quantizer", "EdgeEvaluator-blessed", "Pusher"} <= spec["root"]["dag"]["tasks"].keys()
    assert "gate-config" in spec["root"]["inputDefinitions"]["parameters"]


def test_vertex_ai_takes_it_as_a_job_whose_marker_tells_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud import aiplatform
    from google.cloud.aiplatform_v1.types import PipelineTaskDetail

    job_file = compiled(tmp_path, COMPILE_VERTEX)
    assert "EdgeEvaluator-blessed" in json.loads(job_file.read_text())["pipelineSpec"]["root"]["dag"]["tasks"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(aiplatform.initializer.global_config, "_credentials", AnonymousCredentials())
    job = run(VERTEX).job
    given = job._gca_resource.runtime_config.parameter_values["gate-config"]
    assert json.loads(given) == {"thresholds": {"accuracy": {"min": 0.9}}}

    def ended(state: Any) -> SimpleNamespace:
        return SimpleNamespace(task_details=[PipelineTaskDetail(task_name="EdgeEvaluator-blessed", state=state)])

    run(VERDICT, sys=sys, job=ended(PipelineTaskDetail.State.SUCCEEDED))
    for job in (ended(PipelineTaskDetail.State.SKIPPED), SimpleNamespace(task_details=[])):
        with pytest.raises(SystemExit, match="not blessed"):
            run(VERDICT, sys=sys, job=job)
