"""What a pipeline author may say of a model, its inputs and its outputs; `metadata` beside this writes it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from tfx_edge.config import Config


class Audio(Config):
    """Sound: samples a second, and channels."""

    sample_rate: int = Field(ge=1)
    channels: int = Field(default=1, ge=1)


class ScoreCalibration(Config):
    """Sigmoids that make the scores of classes comparable.

    Attributes:
      file: CSV file, for each class a line ``scale,slope,offset[,min_score]`` or an empty one.
      transformation: what is done to a score first.
      default: the score where a line is empty, or the score below ``min_score``.
    """

    file: str
    transformation: Literal["identity", "log", "inverse_logistic"] = "identity"
    default: float = 0.0


class TensorMetadata(Config):
    """What an app has to know of one input or output.

    Attributes:
      description: for people.
      mean: the app gives ``(value - mean) / std``: one number, or one for each channel.
      std: likewise, above 0.
      min: the least value after normalisation, likewise.
      max: the greatest.
      image: the input is an image with these channels.
      audio: the input is sound.
      labels: names of the classes in order, or the path of a file with one a line. Where the output is an integer that
        is not quantized, they name its values, else the places of its last dimension.
      score_threshold: scores below it count as none.
      score_calibration: how to make scores comparable.
    """

    description: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    min: tuple[float, ...] = ()
    max: tuple[float, ...] = ()
    image: Literal["rgb", "grayscale"] | None = None
    audio: Audio | None = None
    labels: tuple[str, ...] | str = ()
    score_threshold: float | None = None
    score_calibration: ScoreCalibration | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> TensorMetadata:
        if len(self.mean) != len(self.std):
            raise ValueError(f"give as many mean as std: there are {len(self.mean)} and {len(self.std)}")
        if any(value <= 0 for value in self.std):
            raise ValueError("std is divided by and must be above 0")
        if self.image and self.audio:
            raise ValueError("a tensor is an image or audio, not both: leave one out")
        if not isinstance(self.labels, str) and any(
            not label or label.splitlines() != [label] for label in self.labels
        ):
            raise ValueError("a label is one line that is not empty, since the file of labels has one a line")
        return self


class Metadata(Config):
    """What a model says of itself.

    Attributes:
      name: of the model.
      description: what it does.
      version: of the model.
      author: who made it.
      license: what may be done with it.
      inputs: by the name of the input in the signature.
      outputs: likewise.
      files: paths of further files to pack into the model.
    """

    name: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    inputs: dict[str, TensorMetadata] = Field(default_factory=dict)
    outputs: dict[str, TensorMetadata] = Field(default_factory=dict)
    files: tuple[str, ...] = ()
