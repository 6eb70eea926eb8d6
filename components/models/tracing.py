"""How TensorFlow traces tf_keras."""

from __future__ import annotations


def trace_as_it_is() -> None:
    """Keeps autograph from rewriting tf_keras itself, which costs TensorFlow 2.16 twelve seconds at the first trace.

    TensorFlow exempts ``keras`` by rule; tf_keras under its own name is missing from the rules of that release.
    """
    from tensorflow.python.autograph.core import config

    rule = config.DoNotConvert("tf_keras")
    if not any(str(existing) == str(rule) for existing in config.CONVERSION_RULES):
        config.CONVERSION_RULES = (rule, *config.CONVERSION_RULES)
