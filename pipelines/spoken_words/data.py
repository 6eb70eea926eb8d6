"""Spoken command words as TFRecord files of log-mel features. The voices are **synthesised**, not recorded.

Ten of the words of Google's Speech Commands (P. Warden, arXiv:1804.03209, 2018), other words, and noise without a word,
as there. What a microphone adds is simulated: pitch, speed, loudness, where in the second the word lies, and noise.
A model that does well here has learnt to tell synthesised words from one another. How well it would do on people is not
known.

No speaker is in both splits, nor even a variant with another accent. The other words of the eval split do not occur in
the train split.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from tfx_edge.pipelines.spoken_words import features, voices
from tfx_edge.pipelines.spoken_words.voices import ACCENTS, RATE, VARIANTS, Speaker
from tfx_edge.pipelines.tfrecords import write_split

Split = Literal["train", "eval"]

COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")
CLASSES = (*COMMANDS, "other word", "no word")
OTHERS: Mapping[Split, tuple[str, ...]] = {
    "train": (
        "bed", "bird", "cat", "dog", "happy", "house", "tree", "wow", "zero", "one", "three", "four", "five", "six",
        "seven", "eight", "nine", "forward", "follow", "visual", "table", "garden", "light", "paper", "blue", "green",
        "bread", "water", "school", "street", "train", "plane", "night", "morning", "open", "close", "start", "wait",
        "fast", "slow", "big", "small", "hot", "cold", "black", "white", "push", "pull", "turn", "hello", "please",
        "thanks", "mother", "father", "cup", "sock", "lift", "note", "gold", "low", "often", "noise", "upper", "guess",
    ),
    "eval": (
        "two", "marvin", "sheila", "backward", "learn", "window", "summer", "music", "apple", "river", "money",
        "doctor",
    ),
}  # fmt: skip
CLIPS: Mapping[Split, int] = {"train": 440, "eval": 100}
"""Of each class."""

_SEED = 20
_OUT_OF = 4  # variants, of which one is in the eval split
_PROGRESS = 1200  # clips between two lines

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clip:
    """How a second of audio is made.

    Attributes:
      label: number of the class in ``CLASSES``.
      word: what is said; None for noise alone.
      speaker: who says it.
      pitch: as `speak` takes it.
      speed: likewise.
      level: greatest sample of the word.
      start: where in the free time the word lies, from 0 to 1.
      noise_db: the noise's energy over the word's, in decibels.
      tilt: the noise's power falls with frequency to this power: 0 is white, 1 pink, 2 brown.
      seed: of the noise.
    """

    label: int
    word: str | None
    speaker: Speaker
    pitch: int
    speed: int
    level: float
    start: float
    noise_db: float
    tilt: float
    seed: int


def speakers(split: Split) -> list[Speaker]:
    """Who speaks in a split: every accent with each of the split's variants."""
    variants = [name for i, name in enumerate(VARIANTS) if (i % _OUT_OF == 0) == (split == "eval")]
    return [Speaker(accent, variant) for accent in ACCENTS for variant in variants]


def plan(split: Split, clips: int) -> list[Clip]:
    """The clips of a split, so many of each class; the same each time."""
    rng = np.random.default_rng([_SEED, list(CLIPS).index(split)])
    everyone = speakers(split)
    words: dict[int, tuple[str | None, ...]] = {label: (word,) for label, word in enumerate(COMMANDS)}
    words |= {CLASSES.index("other word"): OTHERS[split], CLASSES.index("no word"): (None,)}
    return [
        Clip(
            label=label,
            word=choices[i % len(choices)],
            speaker=everyone[rng.integers(len(everyone))],
            pitch=int(rng.integers(25, 76)),
            speed=int(rng.integers(120, 221)),
            level=float(rng.uniform(0.05, 0.9)),
            start=float(rng.uniform()),
            noise_db=float(rng.uniform(-30, -6)),
            tilt=float(rng.uniform(0, 2)),
            seed=int(rng.integers(2**31)),
        )
        for i in range(clips)
        for label, choices in words.items()
    ]


def record(clip: Clip) -> np.ndarray:
    """A second of audio: samples from -1 to 1 at 16 kHz, of shape (16000,)."""
    noise = _noise(clip)
    if clip.word is None:
        return noise * clip.level * 10 ** (clip.noise_db / 20)
    word = voices.speak(clip.speaker, clip.word, clip.pitch, clip.speed)[:RATE]
    word *= clip.level / np.abs(word).max()
    noise *= np.sqrt(np.mean(word**2)) * 10 ** (clip.noise_db / 20)
    start = int(clip.start * (RATE - len(word)))
    noise[start : start + len(word)] += word
    return np.clip(noise, -1, 1)


def _noise(clip: Clip) -> np.ndarray:
    """A second of noise whose mean square is 1."""
    spectrum = np.fft.rfft(np.random.default_rng(clip.seed).standard_normal(RATE))
    spectrum[1:] *= np.arange(1, len(spectrum)) ** (-clip.tilt / 2)
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, RATE)
    return (noise / np.sqrt(np.mean(noise**2))).astype(np.float32)


def write_examples(directory: Path, clips: Mapping[Split, int] = CLIPS) -> None:
    """Writes ``log_mel``, 49 × 40 floats row by row, ``label``, and which ``word`` it is by which ``speaker``.

    Args:
      directory: where the splits go; one that is there is kept.
      clips: of each class in each split.

    Raises:
      DataError: espeak-ng or one of its voices is not installed.
    """
    for split, count in clips.items():
        write_split(directory, split, _examples(split, plan(split, count)))


def _examples(split: Split, clips: list[Clip]) -> Iterator[dict[str, Any]]:
    """The features of each clip; espeak-ng runs on all cores."""
    voices.require()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        heard = pool.map(lambda clip: features.log_mel(record(clip)), clips)
        for number, (clip, log_mel) in enumerate(zip(clips, heard, strict=True), start=1):
            yield {"log_mel": log_mel, "label": clip.label, "word": clip.word or "", "speaker": str(clip.speaker)}
            if number % _PROGRESS == 0 or number == len(clips):
                _log.info("%s: %d of %d clips synthesised", split, number, len(clips))
