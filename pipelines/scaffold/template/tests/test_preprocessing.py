"""Transform's function on the data, through Transform's own implementation."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
import wine_model
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

DATA = Path(__file__).parents[1] / "data" / "wine.csv"


def test_measures_are_scaled_and_put_side_by_side(tmp_path: Path) -> None:
    """Mean 0 and deviation 1 over the data; the label stays as it is."""
    with DATA.open() as file:
        rows = [
            {name: [int(text) if name == wine_model.LABEL else float(text)] for name, text in row.items()}
            for row in csv.DictReader(file)
        ]
    spec = {name: tf.io.FixedLenFeature([1], tf.int64 if name == wine_model.LABEL else tf.float32) for name in rows[0]}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    with tft_beam.Context(temp_dir=str(tmp_path)):
        (transformed, _), _ = (rows, metadata) | tft_beam.AnalyzeAndTransformDataset(wine_model.preprocessing_fn)
    measures = np.array([row["measures"] for row in transformed])
    assert measures.shape == (len(rows), len(wine_model.MEASURES))
    np.testing.assert_allclose(measures.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(measures.std(axis=0), 1, atol=1e-3)
    assert [row[wine_model.LABEL].tolist() for row in transformed] == [row[wine_model.LABEL] for row in rows]
