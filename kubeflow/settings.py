"""What a pipeline is compiled for."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from tfx_edge.config import Config


def default_image() -> str:
    """The image's name where none is given: that of this version."""
    from importlib.metadata import version

    return f"tfx-edge:{version('tfx-edge')}"


class CompileSettings(Config):
    """Settings of `tfx_edge.kubeflow.compiler.compile_pipeline`.

    Attributes:
      target: ``kfp`` for open-source Kubeflow Pipelines v2, ``vertex`` for Vertex AI Pipelines.
      image: the container image of every task.
      pipeline_root: where artifacts are kept, in place of the pipeline's own root.
      volumes: persistent volume claims by name, each with the folder where every task finds it.
    """

    target: Literal["kfp", "vertex"] = "kfp"
    image: str = Field(default_factory=default_image, min_length=1)
    pipeline_root: str | None = None
    volumes: dict[str, str] = Field(default_factory=dict)

    @field_validator("volumes")
    @classmethod
    def _absolute(cls, volumes: dict[str, str]) -> dict[str, str]:
        for claim, folder in volumes.items():
            if not folder.startswith("/"):
                raise ValueError(f"the folder of volume {claim!r} is {folder!r}; give an absolute path")
        return volumes

    @model_validator(mode="after")
    def _mountable(self) -> CompileSettings:
        if self.volumes and self.target == "vertex":
            raise ValueError("Vertex AI mounts no volume claims; it mounts gs://bucket at /gcs/bucket")
        return self

    def on_volume(self, path: str) -> bool:
        """Whether a folder or file lies on one of the volumes."""
        return any(path == folder or path.startswith(folder.rstrip("/") + "/") for folder in self.volumes.values())
