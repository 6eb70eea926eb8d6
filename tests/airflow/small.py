"""A pipeline of an Importer, a Resolver, and a component that fails until its file is there."""

from pathlib import Path
from typing import Any

from tfx import types
from tfx.dsl.compiler import compiler
from tfx.dsl.component.experimental.annotations import Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.common.importer import Importer
from tfx.dsl.components.common.resolver import Resolver
from tfx.dsl.input_resolution.strategies.latest_artifact_strategy import LatestArtifactStrategy
from tfx.orchestration import pipeline
from tfx.types.standard_artifacts import Model

NAME = "small"


@component
def Reader(file: Parameter[str]):
    Path(file).read_text()


def compiled(folder: Path, connection: Any, imported: str) -> Any:
    nodes = [
        Importer(source_uri=str(folder / imported), artifact_type=Model, reimport=True).with_id("Importer"),
        Resolver(strategy_class=LatestArtifactStrategy, model=types.Channel(type=Model)).with_id("Resolver"),
        Reader(file=str(folder / "file")),
    ]
    return compiler.Compiler().compile(
        pipeline.Pipeline(NAME, str(folder), components=nodes, metadata_connection_config=connection)
    )
