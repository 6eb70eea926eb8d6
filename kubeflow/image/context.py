"""The build context of an image: a Dockerfile, pinned requirements, wheels and the pipeline's modules."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tfx_edge.errors import ConfigError
from tfx_edge.kubeflow.compiler import Compiled
from tfx_edge.kubeflow.image import distributions, modules, wheels

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
FOLDER = "/opt/tfx-edge"

_FIRST_LINE = "# Written by: tfx-edge kubeflow image\n"
_DOCKERFILE = """\
# Installs with the compilers of one image, and leaves them behind.
FROM {builder} AS installed
RUN {check}
RUN python3 -m venv {folder}
ENV PATH={folder}/bin:$PATH
# Where pip finds packages, if it is told: docker build --build-arg PIP_INDEX_URL=...
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG PIP_CERT
RUN pip install --no-cache-dir {pip}
COPY requirements.txt {folder}/
# As it works where one compiles: nothing is resolved or judged anew. What is built from source gets pinned tools too.
RUN PIP_CONSTRAINT={folder}/requirements.txt PIP_BUILD_CONSTRAINT={folder}/requirements.txt \\
    pip install --no-cache-dir --no-deps --ignore-requires-python --requirement {folder}/requirements.txt

FROM {base}
RUN {check}
COPY --from=installed {folder} {folder}
ENV PATH={folder}/bin:$PATH
COPY wheels {folder}/wheels
RUN pip install --no-cache-dir --no-index --no-deps {folder}/wheels/*.whl
COPY modules {folder}/modules
# Any user will do. HOME and LOGNAME serve those that /etc/passwd does not know.
ENV PYTHONPATH={folder}/modules HOME=/tmp LOGNAME=tfx-edge
WORKDIR /tmp
USER 1000:1000
"""
_CHECK = (
    'python3 -c "import sys; '
    "sys.version_info[:2] == ({major}, {minor}) or sys.exit('tfx-edge: the image needs Python {major}.{minor}, "
    "as on the machine that compiles, and has ' + sys.version)\""
)


def default_base() -> str:
    """The image that the pipeline's image is made from."""
    return f"python:{PYTHON}-slim"


def default_builder() -> str:
    """The image, of the same system, that has compilers."""
    return f"python:{PYTHON}"


def write(compiled: Compiled, folder: Path, base: str, builder: str) -> list[str]:
    """Writes the context of a pipeline's image.

    Args:
      compiled: the pipeline.
      folder: is made, or must be empty or hold an earlier context.
      base: the image that it is made from; has Python, of the version of this one.
      builder: the image in which packages are installed; has compilers, and venv.

    Returns:
      What its author should know.

    Raises:
      ConfigError: the folder holds something else, or a module of the pipeline cannot be carried over.
      EdgeError: a wheel cannot be built.
    """
    found = modules.find(compiled)
    closure = distributions.closure([distributions.OWN, *sorted(found.distributions)])
    _clear(folder)
    for distribution in closure.local:
        wheels.make(distribution, folder / "wheels")
    _copy(found.local, folder / "modules")
    (folder / "requirements.txt").write_text("".join(f"{line}\n" for line in closure.pinned))
    pip = distributions.installed("pip")
    lines = _DOCKERFILE.format(
        base=base,
        builder=builder,
        folder=FOLDER,
        check=_CHECK.format(major=sys.version_info.major, minor=sys.version_info.minor),
        pip=f"pip=={pip.version}" if pip else "--upgrade pip",
    )
    (folder / "Dockerfile").write_text(_FIRST_LINE + lines)
    return [
        *(f"holds {place} as module {name!r}" for name, place in sorted(found.local.items())),
        *(f"{missing}, is not installed here; the image will lack it too" for missing in closure.missing),
    ]


def _clear(folder: Path) -> None:
    """Makes way for a new context, and for nothing else."""
    earlier = folder / "Dockerfile"
    ours = earlier.is_file() and earlier.read_text(errors="replace").startswith(_FIRST_LINE)
    if folder.is_dir() and any(folder.iterdir()) and not ours:
        raise ConfigError(f"--context {folder} holds other files; name an empty or a new folder")
    try:
        for part in ("wheels", "modules"):
            shutil.rmtree(folder / part, ignore_errors=True)
            (folder / part).mkdir(parents=True)
    except OSError as error:
        raise ConfigError(f"cannot write into {str(folder)!r} ({error.strerror}); name another --context") from error


def _copy(places: dict[str, Path], target: Path) -> None:
    unwanted = shutil.ignore_patterns("__pycache__", ".*")
    for place in places.values():
        if place.is_dir():
            shutil.copytree(place, target / place.name, ignore=unwanted)
        else:
            shutil.copy(place, target)
