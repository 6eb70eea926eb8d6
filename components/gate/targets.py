"""Where a model is judged: the configuration of each kind of target."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from tfx_edge.config import Config
from tfx_edge.devices.adb import Adb
from tfx_edge.devices.local import Local
from tfx_edge.devices.mcu import Mcu
from tfx_edge.devices.qemu import Qemu
from tfx_edge.devices.ssh import Ssh
from tfx_edge.devices.target import RunOptions, Target
from tfx_edge.errors import ConfigError
from tfx_edge.gate.contract import Contract


class TargetConfig(Config):
    """What all kinds of targets take.

    Attributes:
      thresholds: bounds for this target, beside the evaluator's; of a metric that both bound, this one counts.
      contract: rules for the inside of the file on this target, instead of the evaluator's.
      num_threads: threads of the interpreter.
      kernel: ``"default"``, which delegates to XNNPACK what it takes, or ``"builtin"`` without it.
      runs: timed invocations in each process; a slow model gets as many as the time allows.
      warmup: untimed invocations before them.
      timeout_s: seconds that one process may take, start and transfer included.
    """

    TARGET: ClassVar[type[Target]]

    thresholds: dict[str, Any] = Field(default_factory=dict)
    contract: Contract | None = None
    num_threads: int = Field(default=1, ge=1)
    kernel: Literal["default", "builtin"] = "default"
    runs: int = Field(default=200, ge=1)
    warmup: int = Field(default=20, ge=0)
    timeout_s: float = Field(default=120, gt=0)

    @model_validator(mode="after")
    def _can_be_made(self) -> TargetConfig:
        try:
            self.connect()
        except ConfigError as error:
            raise ValueError(str(error)) from None
        return self

    def connect(self) -> Target:
        """The target, which is not reached for before it is used."""
        own = set(type(self).model_fields) - set(TargetConfig.model_fields) - {"kind"}
        return self.TARGET(**{name: getattr(self, name) for name in own})

    @property
    def run_options(self) -> RunOptions:
        """How each process on it measures."""
        return RunOptions(self.runs, self.warmup, self.num_threads, self.kernel, self.timeout_s)


class LocalConfig(TargetConfig):
    """The machine that EdgeEvaluator runs on."""

    TARGET = Local
    kind: Literal["local"] = "local"


class SshConfig(TargetConfig):
    """A Linux board, as `tfx_edge.devices.ssh.Ssh` takes it."""

    TARGET = Ssh
    kind: Literal["ssh"]
    host: str
    port: int | None = None
    identity_file: str | None = None
    options: tuple[str, ...] = ()
    python: str = "python3"
    workdir: str | None = None
    connect_timeout_s: float = Field(default=15, gt=0)


class AdbConfig(TargetConfig):
    """An Android phone, as `tfx_edge.devices.adb.Adb` takes it."""

    TARGET = Adb
    kind: Literal["adb"]
    benchmark_model: str
    serial: str | None = None
    adb: str = "adb"
    remote_dir: str = "/data/local/tmp"
    delegate: Literal["cpu", "gpu", "nnapi"] = "cpu"
    cores: tuple[int, ...] = ()
    flags: tuple[str, ...] = ()


class McuConfig(TargetConfig):
    """A microcontroller, as `tfx_edge.devices.mcu.Mcu` stands for it."""

    TARGET = Mcu
    kind: Literal["mcu"]


class QemuConfig(TargetConfig):
    """An emulated arm64 userland, as `tfx_edge.devices.qemu.Qemu` takes it."""

    TARGET = Qemu
    kind: Literal["qemu"]
    root: str
    cpu: str = "cortex-a72"


AnyTarget = Annotated[LocalConfig | SshConfig | AdbConfig | McuConfig | QemuConfig, Field(discriminator="kind")]
