"""A real Airflow on SQLite with the DAG of this folder, in a home of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parent.parent / "pipelines"))

from wine import HERE as PIPELINES
from wine import Winery

DAG = "wine_edge"
BIN = Path(sys.executable).parent
SETTINGS = {
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
    "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": "180",
    "AIRFLOW__CORE__DAG_FILE_PROCESSOR_TIMEOUT": "180",
    "AIRFLOW__SCHEDULER__MIN_FILE_PROCESS_INTERVAL": "600",
}


@dataclass(frozen=True)
class Airflow:
    """One home of Airflow and what its DAG leaves behind."""

    home: Path
    winery: Winery

    @property
    def environment(self) -> dict[str, str]:
        path = f"{BIN}{os.pathsep}{os.environ['PATH']}"  # the scheduler starts its tasks by the name airflow
        own = {"AIRFLOW_HOME": str(self.home), "WINE_ROOT": str(self.winery.root), "PATH": path}
        return {**os.environ, **SETTINGS, **own, "TF_CPP_MIN_LOG_LEVEL": "2"}

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "airflow", *arguments],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=False,
        )

    def listed(self, *arguments: str) -> list[dict[str, str]]:
        """The rows that a command prints as JSON, behind the log lines of its imports; none for a DAG not known yet."""
        done = subprocess.run(
            [BIN / "airflow", *arguments, "-o", "json"],
            env=self.environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        return json.loads(done.stdout[done.stdout.index("[{") :]) if "[{" in done.stdout else []

    def test_run(self, date: str, **conf: Any) -> subprocess.CompletedProcess[str]:
        """Runs the DAG for a date in one process."""
        return self.command("dags", "test", DAG, date, "--conf", json.dumps(conf))

    def states(self, run_id: str) -> dict[str, str]:
        """The state of each task of a run."""
        return {row["task_id"]: row["state"] for row in self.listed("tasks", "states-for-dag-run", DAG, run_id)}

    @contextmanager
    def scheduler(self) -> Iterator[subprocess.Popen[bytes]]:
        """Lets Airflow's scheduler run its tasks meanwhile."""
        with (self.home / "scheduler.log").open("w") as log:
            process = subprocess.Popen(
                [BIN / "airflow", "scheduler"], env=self.environment, stdout=log, stderr=log, start_new_session=True
            )
            try:
                yield process
            finally:
                process.terminate()
                process.wait(60)

    def history(self) -> list[dict[str, Any]]:
        """What `tfx-edge history` tells of the verdicts."""
        return json.loads(self._ask("history", "--metadata", str(self.winery.metadata)))

    def lineage(self, pushed: Path) -> dict[str, Any]:
        """What `tfx-edge lineage` tells of a pushed folder."""
        return json.loads(self._ask("lineage", str(pushed), "--metadata", str(self.winery.metadata)))

    def _ask(self, *arguments: str) -> str:
        command = [BIN / "tfx-edge", *arguments, "--json"]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout


def make(folder: Path) -> Airflow:
    home = folder / "airflow"
    (home / "dags").mkdir(parents=True)
    modules = ("edge/model/wine_model.py", "stock/preprocessing/wine_preprocessing.py")
    for file in (Path(__file__).parent / "dags" / "wine_edge.py", *(PIPELINES / module for module in modules)):
        shutil.copy(file, home / "dags")
    root = folder / "wine"
    root.mkdir()
    airflow = Airflow(home, Winery(root))
    done = airflow.command("db", "migrate")
    assert done.returncode == 0, done.stdout
    return airflow
