"""scikit-learn's handwritten digits as a TFRecord file: 1,797 real images of 8×8 pixels.

Source: E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository (1998).
"""

from __future__ import annotations

from pathlib import Path


def write_examples(directory: Path) -> None:
    """Writes ``digits.tfrecord``: ``pixels``, 64 floats from 0 to 16, and ``label``, 0 to 9. Kept when it is there."""
    import tensorflow as tf
    from sklearn import datasets

    path = directory / "digits.tfrecord"
    if path.is_file():
        return
    directory.mkdir(parents=True, exist_ok=True)
    digits = datasets.load_digits()
    temporary = directory.parent / "digits.part"
    with tf.io.TFRecordWriter(str(temporary)) as writer:
        for pixels, label in zip(digits.data, digits.target, strict=True):
            features = {
                "pixels": tf.train.Feature(float_list=tf.train.FloatList(value=pixels)),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    temporary.replace(path)
