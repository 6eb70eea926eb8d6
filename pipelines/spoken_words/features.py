"""Log-mel features: what the device computes from the microphone before it asks the model.

The model does not take audio. Devices have signal processing of their own (CMSIS-DSP, a DSP core, a phone's FFT), which
is smaller and faster than an FFT among TFLite's operators. This file states what they must compute; the numbers are
those of ``tf.signal.stft`` and ``tf.signal.linear_to_mel_weight_matrix``.
"""

from __future__ import annotations

import functools

import numpy as np

from tfx_edge.pipelines.spoken_words.voices import RATE

WINDOW = 640
"""Samples in a frame: 40 ms, under a periodic Hann window."""
HOP = 320
"""Samples from one frame to the next: 20 ms."""
FFT = 1024
"""The frame is padded with zeros to this many samples."""
BANDS = 40
"""Triangles of equal width on the mel scale 1127 ln(1 + f / 700), between the two frequencies below."""
LOWEST_HZ, HIGHEST_HZ = 60.0, 7600.0
FLOOR = 1e-6
"""Added to the energy of a band before its natural logarithm is taken."""
FRAMES = 1 + (RATE - WINDOW) // HOP
"""Frames in a second of audio: 49."""


def log_mel(samples: np.ndarray) -> np.ndarray:
    """The log-mel matrix of a clip.

    Args:
      samples: from -1 to 1 at 16 kHz, of shape (n,) with n ≥ ``WINDOW``.

    Returns:
      float32 of shape (frames, ``BANDS``): log of the energy.
    """
    frames = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    energy = np.abs(np.fft.rfft(frames * window, FFT)) ** 2
    return np.log(energy @ _triangles() + FLOOR).astype(np.float32)


@functools.cache
def _triangles() -> np.ndarray:
    """Weights of shape (frequencies, bands)."""

    def mel(hertz: np.ndarray) -> np.ndarray:
        return 1127 * np.log1p(hertz / 700)

    lowest, highest = mel(np.array([LOWEST_HZ, HIGHEST_HZ]))
    edges = np.linspace(lowest, highest, BANDS + 2)
    position = mel(np.fft.rfftfreq(FFT, 1 / RATE))[:, None]
    rising = (position - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - position) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rising, falling))
