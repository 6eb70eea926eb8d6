"""Synthesised voices: words spoken by espeak-ng, a formant synthesiser. Nobody was recorded.

espeak-ng has accents, which are rules of pronunciation, and variants, which change formants, pitch and timbre as
another vocal tract would. Here a **speaker** is an accent with a variant.
See https://github.com/espeak-ng/espeak-ng/blob/master/docs/voices.md.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np
from scipy import signal

from tfx_edge.errors import DataError
from tfx_edge.pipelines.package_data import REMEDY

RATE = 16_000
"""Samples a second."""

ACCENTS = (
    "en-029", "en-gb", "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-gb-x-rp", "en-us", "en-us-nyc",
)  # fmt: skip
VARIANTS = (
    "Alex", "Alicia", "Andrea", "Andy", "Annie", "AnxiousAndy", "Denis", "Diogo", "Gene", "Henrique", "Hugo", "Jacky",
    "Lee", "Marco", "Mario", "Michael", "Mike", "Nguyen", "RicishayMax", "Storm", "Tweaky", "adam", "anika",
    "announcer", "antonio", "aunty", "belinda", "benjamin", "boris", "caleb", "david", "ed", "edward", "f1", "f2", "f3",
    "f4", "f5", "grandma", "grandpa", "gustave", "iven", "john", "kaukovalta", "linda", "m1", "m2", "m3", "m4", "m5",
    "m6", "m7", "m8", "marcelo", "max", "michel", "miguel", "norbert", "pablo", "paul", "pedro", "quincy", "rob",
    "robert", "sandro", "shelby", "steph", "travis", "victor", "zac",
)  # fmt: skip
"""Without robots, whispers and creaks, and one of each family (``steph``, but not ``steph2``)."""

_PROGRAM = "espeak-ng"
_OWN_RATE = 22_050
_WAV_HEADER = 44
_AUDIBLE = 0.02


@dataclass(frozen=True)
class Speaker:
    """An accent with a variant."""

    accent: str
    variant: str

    def __str__(self) -> str:
        return f"{self.accent}+{self.variant}"


def install() -> None:
    """Installs espeak-ng by apt-get, unless it is there.

    Raises:
      DataError: it cannot be installed, or it lacks voices.
    """
    command = ["apt-get", "install", "--yes", "--no-install-recommends", _PROGRAM]
    if shutil.which(_PROGRAM) is None:
        problem = _complaint(command)
        if problem and os.geteuid() == 0:  # a fresh container has no lists of packages
            problem = _complaint(["apt-get", "update"]) or _complaint(command)
        if problem:
            raise DataError(
                f"`{' '.join(command)}` failed ({problem}): run it as root, or install {_PROGRAM} otherwise"
            )
    require()


def require() -> None:
    """Raises DataError unless espeak-ng is there with all voices that are needed.

    It does not refuse a variant that it lacks, but speaks without it: two speakers would be one.
    """
    if shutil.which(_PROGRAM) is None:
        raise DataError(f"{_PROGRAM}, which speaks the words, is not installed: {REMEDY}")
    lacking = set(VARIANTS) - _names("variant") | set(ACCENTS) - _names("en")
    if lacking:
        raise DataError(
            f"{_PROGRAM} lacks the voices {', '.join(sorted(lacking))}: install version 1.51 or later, with its data"
        )


def _complaint(command: list[str]) -> str:
    """What a command said when it failed; nothing when it did not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return f"{command[0]} cannot be run: {error.strerror}"
    return (done.stderr or done.stdout).strip() or f"status {done.returncode}" if done.returncode else ""


def _names(language: str) -> set[str]:
    listing = subprocess.run([_PROGRAM, f"--voices={language}"], capture_output=True, text=True, check=True).stdout
    cells = {cell for line in listing.splitlines() for cell in line.split()}
    return cells | {cell.removeprefix("!v/") for cell in cells}


@functools.cache
def _repeatable() -> tuple[str, ...]:
    """The option for the same samples each time; versions before 1.52 know no other way, and refuse it."""
    usage = subprocess.run([_PROGRAM, "--help"], capture_output=True, text=True, check=False).stdout
    return ("-D",) if "\n-D" in usage else ()


def speak(speaker: Speaker, word: str, pitch: int, speed: int) -> np.ndarray:
    """One word, without the silence around it.

    Args:
      speaker: who says it.
      word: an English word.
      pitch: 0 to 99; 50 is the speaker's own.
      speed: in words a minute; 175 is usual.

    Returns:
      Samples from -1 to 1 at ``RATE``, of shape (n,).

    Raises:
      DataError: espeak-ng failed, or was silent.
    """
    command = [_PROGRAM, *_repeatable(), "-v", str(speaker), "-p", str(pitch), "-s", str(speed), "--stdout", word]
    done = subprocess.run(command, capture_output=True, check=False)
    samples = np.frombuffer(done.stdout[_WAV_HEADER:], "<i2") / 32768
    loud = np.flatnonzero(np.abs(samples) > _AUDIBLE * np.abs(samples).max(initial=0))
    if done.returncode or not loud.size:
        said = done.stderr.decode(errors="replace").strip() or "nothing was heard"
        raise DataError(f"`{' '.join(command)}` failed: {said}")
    return signal.resample_poly(samples[loud[0] : loud[-1] + 1], RATE, _OWN_RATE).astype(np.float32)
