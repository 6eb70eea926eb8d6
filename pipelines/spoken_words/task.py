"""Which of ten command words is spoken in a second of audio, or another word, or none, by **synthesised** voices.

No recorded corpus comes with any package, so espeak-ng speaks the words; see `data`. The model takes the log-mel
features that the device computes; see `features`.
"""

from __future__ import annotations

from tfx_edge.pipelines.spoken_words import data, voices
from tfx_edge.pipelines.task import Task

TASK = Task(
    name="spoken_words",
    title="Spoken words: commands by synthesised voices",
    write_examples=data.write_examples,
    fetch=voices.install,
    module="tfx_edge.pipelines.spoken_words.module",
    epochs=8,
    min_quality=0.9,
    max_drop=0.03,
    max_size_ratio={"int8": 0.3, "qat_int8": 0.3, "int4_weights": 0.2, "int4_blockwise": 0.2},
    training={"epochs": 2, "batch_size": 64, "learning_rate": 1e-4},
)
