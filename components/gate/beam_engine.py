"""Which of Beam's engines scores the examples, read from a pipeline's Beam arguments."""

from __future__ import annotations

import importlib.util
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

from tfx_edge.errors import ConfigError

ONE_PROCESS_RUNNER = "apache_beam.runners.direct.direct_runner.BundleBasedDirectRunner"
PROCESSES_RUNNER = "apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
DASK_RUNNER = "apache_beam.runners.dask.dask_runner.DaskRunner"
# By the names that Beam gives them, in lower case and without "runner" at the end.
_ONE_PROCESS = {"bundlebaseddirect", "prism"}
_ELSEWHERE = {"dataflow", "flink", "portable", "spark"}
_ONE_PROCESS_BY_DEFAULT = {"", "direct", "switchingdirect", "fnapi"}
# The arguments by which engines are told how many workers there are, and the names of our own.
_WORKERS = ("--direct_num_workers", "--parallelism", "--max_num_workers", "--num_workers")
START_TIMEOUT, BATCH_TIMEOUT, STRIPES = (
    f"--tfx_edge_{name}" for name in ("start_timeout_s", "batch_timeout_s", "stripes")
)
_DASK_CLUSTER = {"--dask_client_address", "--dask_scheduler_file"}
_DASK_PARTITIONS = {"--dask_partition_size", "--dask_npartitions"}
_SERVICE_TIMEOUT, _YEAR_S = "--job_server_timeout", 365 * 24 * 3600
# From as many files a worker on, an unequal share of them costs little.
_EVEN = 4


@dataclass(frozen=True)
class Engine:
    """An engine, as Beam's arguments describe it.

    Attributes:
      arguments: Beam's, without our own among them.
      settings: the last value of each argument by its name.
    """

    arguments: tuple[str, ...]
    settings: dict[str, str]

    @classmethod
    def parse(cls, pipeline_args: Sequence[str]) -> Engine:
        """Reads the Beam arguments of a TFX pipeline."""
        joined = _joined(pipeline_args)
        settings = {name: value for name, _, value in (argument.partition("=") for argument in joined)}
        ours = {START_TIMEOUT, BATCH_TIMEOUT, STRIPES}
        return cls(tuple(argument for argument in joined if argument.partition("=")[0] not in ours), settings)

    @property
    def runner(self) -> str:
        """The runner's name in lower case, without its module and without "runner" at the end."""
        return self.settings.get("--runner", "").rpartition(".")[2].lower().removesuffix("runner")

    @property
    def has_workers(self) -> bool:
        """Whether there is more than the process that starts the job; without, Beam only costs its start."""
        if self.runner in _ONE_PROCESS_BY_DEFAULT:
            alone = self.settings.get("--direct_running_mode", "in_memory") == "in_memory"
            return not alone and self.settings.get("--direct_num_workers", "1") != "1"
        return self.runner not in _ONE_PROCESS

    @property
    def workers_elsewhere(self) -> bool:
        """Whether the workers may be on other machines, which see none of this one's files."""
        return self.runner in _ELSEWHERE or (self.runner == "dask" and bool(self.settings.keys() & _DASK_CLUSTER))

    @property
    def beam_arguments(self) -> list[str]:
        """What Beam is given: local runners are named in full, since newer ones of Beam's try to download another."""
        others = [argument for argument in self.arguments if argument.partition("=")[0] != "--runner"]
        if not self.has_workers:
            return [f"--runner={ONE_PROCESS_RUNNER}", *others]
        runner = PROCESSES_RUNNER if self.runner in _ONE_PROCESS_BY_DEFAULT else self.settings["--runner"]
        if runner == "DaskRunner":  # Beam knows it by its whole name only
            runner = DASK_RUNNER
        # Beam would end a job that lasts longer; whether the service is there is asked before.
        patient = [f"{_SERVICE_TIMEOUT}={_YEAR_S}"] if self.job_service else []
        # Beam would give 128 elements, here all pieces, to one worker of Dask's.
        spread = (
            ["--dask_partition_size=1"] if self.runner == "dask" and not self.settings.keys() & _DASK_PARTITIONS else []
        )
        return [f"--runner={runner}", *others, *patient, *spread]

    @property
    def job_service(self) -> str:
        """The host and port of a job service that runs already, or empty."""
        endpoint = self.settings.get("--job_endpoint", "")
        return "" if endpoint == "embed" else endpoint

    @property
    def job_service_timeout_s(self) -> float:
        """Seconds to wait for the job service."""
        return self._positive(_SERVICE_TIMEOUT, 60)

    @property
    def start_timeout_s(self) -> float:
        """Seconds that may pass until the first worker has read its first batch."""
        return self._positive(START_TIMEOUT, 900)

    @property
    def batch_timeout_s(self) -> float:
        """Seconds that may pass without a batch from any worker."""
        return self._positive(BATCH_TIMEOUT, 600)

    def stripes(self, files: int) -> int:
        """Into how many pieces each file is split, so that workers have equal shares of a few files.

        Raises:
          ConfigError: the argument for it is no whole number.
        """
        told = self._positive(STRIPES, 0)
        if told:
            return math.ceil(told)
        workers = self._workers()
        return workers // math.gcd(workers, files) if 0 < files < _EVEN * workers else 1

    def require_usable(self) -> None:
        """Raises ConfigError where it is known beforehand that the engine cannot score the examples."""
        if self.runner == "dataflow":
            raise ConfigError(
                "Dataflow's workers cannot reach the examples: EdgeEvaluator reads local paths only. Score in its own "
                'process, by .with_beam_pipeline_args(["--runner=DirectRunner"]) on EdgeEvaluator, or give it an '
                "engine whose workers mount the pipeline root (docs/engines.md)"
            )
        if self.runner == "portable" and not self.settings.get("--job_endpoint"):
            raise ConfigError("--runner=PortableRunner needs --job_endpoint=<host>:<port>, where a job service listens")
        if self.runner == "dask":
            import apache_beam

            if tuple(int(part) for part in apache_beam.__version__.split(".")[:2]) < (2, 77):
                raise ConfigError(
                    f"Beam's DaskRunner does not work in Beam {apache_beam.__version__}; use the current stack, which "
                    "has Beam 2.77, or another runner"
                )
            if not importlib.util.find_spec("distributed"):
                raise ConfigError("Beam's DaskRunner needs the package distributed: pip install distributed")

    def _workers(self) -> int:
        told = next((self.settings[name] for name in _WORKERS if self.settings.get(name, "").isdigit()), None)
        if told is not None:
            return int(told) or os.cpu_count() or 1
        local_cluster = self.runner == "dask" and not self.workers_elsewhere
        return os.cpu_count() or 1 if local_cluster else 1

    def _positive(self, name: str, default: float) -> float:
        try:
            value = float(self.settings.get(name, default))
        except ValueError:
            value = -1.0
        if value < 0 or (not value and name in self.settings):
            raise ConfigError(f"{name} is {self.settings[name]!r}, but it takes a number above 0")
        return value


def _joined(arguments: Sequence[str]) -> list[str]:
    """Gives values that stand in an argument of their own back to their names."""
    joined: list[str] = []
    for argument in arguments:
        if argument.startswith("--") or not joined:
            joined.append(argument)
        else:
            joined[-1] += f"={argument}"
    return joined
