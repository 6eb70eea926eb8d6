"""`docker build`, and what to do when it does not work."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tfx_edge.errors import EdgeError

_ELSEWHERE = "or write the context with --context and build it elsewhere"
_PATIENCE = 60.0  # seconds that a daemon gets to tell its version


class ImageError(EdgeError):
    """The image could not be built: there is no docker, its daemon does not answer, or the build failed."""


def check() -> None:
    """Finds out whether there is a daemon.

    Raises:
      ImageError: docker is not installed, or its daemon does not answer.
    """
    if shutil.which("docker") is None:
        raise ImageError(f"there is no docker on this machine; install it, {_ELSEWHERE}")
    try:
        done = subprocess.run(
            ["docker", "version", "--format", "{{.Server.Version}}"],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        reason = f"no answer within {_PATIENCE:.0f} s"
    else:
        if not done.returncode:
            return
        reason = " ".join(done.stderr.split()) or f"status {done.returncode}"
    raise ImageError(f"docker's daemon cannot be used ({reason}); start it, set DOCKER_HOST, {_ELSEWHERE}")


def build(context: Path, tag: str, network: str | None = None, build_args: Sequence[str] = ()) -> None:
    """Builds an image; docker's own output goes to stderr.

    Args:
      context: the build context.
      tag: the image's reference.
      network: of the build, such as ``host``.
      build_args: ``NAME=VALUE`` each, or ``NAME`` for the environment variable of that name.

    Raises:
      ImageError: the build failed.
    """
    command = ["docker", "build", "--tag", tag]
    command += ["--network", network] if network else []
    for argument in build_args:
        command += ["--build-arg", argument]
    done = subprocess.run([*command, str(context)], stdout=sys.stderr, check=False)
    if done.returncode:
        raise ImageError(
            f"docker build of {tag} ended with status {done.returncode}, and said why above. Where it could not fetch "
            "an image or a package, see --base, --builder, --build-arg PIP_INDEX_URL=... and --network"
        )
