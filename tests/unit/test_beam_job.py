"""When an evaluation goes to Beam."""

from __future__ import annotations

import pytest

from tfx_edge.edge_evaluator.beam import has_workers


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], False),
        (["--runner=DirectRunner"], False),
        (["--runner", "DirectRunner", "--direct_num_workers=2"], False),
        (["--runner=apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"], False),
        (["--direct_running_mode=multi_processing", "--direct_num_workers=0"], True),
        (["--direct_running_mode", "multi_processing", "--direct_num_workers", "1"], False),
        (["--runner=DataflowRunner", "--project=p"], True),
        (["--runner", "FlinkRunner"], True),
        (["--runner=apache_beam.runners.dask.dask_runner.DaskRunner"], True),
    ],
)
def test_beam_is_used_where_it_has_workers(arguments: list[str], expected: bool) -> None:
    assert has_workers(arguments) is expected
