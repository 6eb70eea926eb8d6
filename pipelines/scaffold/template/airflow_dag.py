"""The pipeline as a DAG of Apache Airflow 2: put this folder, or a link to it, into Airflow's folder of DAGs."""

from __future__ import annotations

import datetime
import sys
from pathlib import Path

from tfx_edge.airflow import AirflowDagRunner, AirflowPipelineConfig

sys.path.insert(0, str(Path(__file__).resolve().parent))

import pipeline

SCHEDULE = {
    "schedule": "0 3 * * *",
    "start_date": datetime.datetime(2026, 1, 1),
    "catchup": False,
    "max_active_runs": 1,
}

DAG = AirflowDagRunner(AirflowPipelineConfig(SCHEDULE)).run(pipeline.create_pipeline())
