"""The data that a new project starts with: scikit-learn's wine recognition data as CSV.

Source: M. Forina et al., PARVUS (1988), through the UCI Machine Learning Repository: 13 chemical measures of 178 wines
from three cultivars.
"""

from __future__ import annotations

import csv
import io

LABEL = "cultivar"
_RENAMED = {"od280/od315_of_diluted_wines": "od280_od315"}  # a slash is no part of a feature's name in TensorFlow


def wine_csv() -> str:
    """The measures, as floats, and the cultivar, 0 to 2, under a line of their names."""
    from sklearn import datasets

    wine = datasets.load_wine()
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*(_RENAMED.get(name, name) for name in wine.feature_names), LABEL])
    writer.writerows(
        [*map(float, measures), int(label)] for measures, label in zip(wine.data, wine.target, strict=True)
    )
    return text.getvalue()
