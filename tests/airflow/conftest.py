"""An Airflow that the tests share, and one of their own for the scheduler."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from airflow_home import Airflow, make


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Airflow:
    if importlib.util.find_spec("airflow") is None:
        pytest.skip("Airflow is not installed here: make test-airflow")
    return make(tmp_path_factory.mktemp("airflow"))


@pytest.fixture
def scheduled(tmp_path: Path, airflow: Airflow) -> Airflow:
    """Another Airflow, for the scheduler, whose pipeline has not run yet."""
    return make(tmp_path)
