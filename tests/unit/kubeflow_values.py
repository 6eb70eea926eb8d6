"""Components that tell what they were given; TFX needs functions without postponed annotations."""

from pathlib import Path

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, OutputDict, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types.standard_artifacts import Examples, Model


@component
def Count(examples: InputArtifact[Examples]) -> OutputDict(lines=int, share=float, told=str):
    """Gives values."""
    return {"lines": len(Path(examples.uri, "rows").read_text()), "share": 0.5, "told": "x"}


@component
def Repeat(lines: int, times: Parameter[int], copy: OutputArtifact[Model]) -> None:
    """Takes one value as an artifact and one as a parameter."""
    Path(copy.uri).write_text("line\n" * lines * times)
    copy.set_string_custom_property("where", copy.uri)


class Teller(BaseBeamExecutor):
    """Tells under which name it knows its input."""

    def Do(self, input_dict, output_dict, exec_properties):
        output_dict["model"][0].set_string_custom_property("told", f"it is {input_dict['examples'][0].uri}")
