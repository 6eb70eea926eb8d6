"""The pipeline as a DAG of Apache Airflow 2: put this folder, or a link to it, into Airflow's folder of DAGs."""

from __future__ import annotations

import datetime
import runpy
from pathlib import Path

from tfx_edge.airflow import AirflowDagRunner, AirflowPipelineConfig

# Not imported: all DAG files share one process, in which other projects may have a module of that name.
create_pipeline = runpy.run_path(str(Path(__file__).resolve().parent / "pipeline.py"))["create_pipeline"]

SCHEDULE = {
    "schedule": "0 3 * * *",
    "start_date": datetime.datetime(2026, 1, 1),
    "catchup": False,
    "max_active_runs": 1,
}

DAG = AirflowDagRunner(AirflowPipelineConfig(SCHEDULE)).run(create_pipeline())
