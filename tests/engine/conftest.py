"""The engine and the runs that its tests share."""

from __future__ import annotations

from collections.abc import Iterator

import engine as engines
import pytest

THRESHOLDS = '{"accuracy": {"min": 0.8, "max_drop": 0.15}, "size_bytes": {"max": 50000}}'


@pytest.fixture(scope="session")
def engine() -> Iterator[engines.Engine]:
    """A Docker daemon with the image of the author's pipeline."""
    for started in engines.start():
        started.build(f"{engines.AUTHOR}:create_pipeline", "--arg", "root=/volume", "--volume", "claim:/volume")
        yield started


@pytest.fixture(scope="session")
def digits(engine: engines.Engine, tmp_path_factory: pytest.TempPathFactory) -> engines.Run:
    """The digits pipeline, whole. Its volume lies in the pipeline root, the only folder that the runner mounts."""
    from tfx_edge.pipelines.digits import data

    root = tmp_path_factory.mktemp("digits")
    volume = root / "volume"
    data.write_examples(volume / "data")
    for folder in (root, volume):
        folder.chmod(0o777)  # tasks run as another user
    package = engine.compile(
        "tfx_edge.pipelines.digits.pipeline:create",
        root / "digits.yaml",
        *("--arg", f"root={volume}", "--arg", f"thresholds={THRESHOLDS}", "--arg", "epochs=6"),
        *("--pipeline-root", "minio://mlpipeline/digits", "--volume", f"claim:{volume}"),
    )
    return engine.run(package, root)
