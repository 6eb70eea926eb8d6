"""The quality metrics that thresholds can name.

A metric keeps a few numbers of each example (its columns), so that any number of examples can be scored wherever they
are, and only columns travel. Figures come from scikit-learn. To add one, write what it keeps, what it makes of that and
how each example moves it, and list it here. Thresholds need the names while a pipeline is built: import lazily.
"""

from __future__ import annotations

import math

from tfx_edge.gate import class_metrics, error_metrics, rank_metrics
from tfx_edge.gate.metric_kinds import QualityMetric, mean_metric

_PRECISION = (rank_metrics.average_precision, None, rank_metrics.rarity)
_AUC = (rank_metrics.auc, rank_metrics.auc_influences, rank_metrics.rarity)

QUALITY_METRICS: dict[str, QualityMetric] = {
    metric.name: metric
    for metric in (
        QualityMetric(
            "accuracy",
            "higher",
            0.0,
            1.0,
            class_metrics.keep_classes,
            class_metrics.accuracy,
            hits=class_metrics.correct,
        ),
        QualityMetric(
            "macro_f1",
            "higher",
            0.0,
            1.0,
            class_metrics.keep_classes,
            class_metrics.macro_f1,
            class_metrics.f1_influences,
            class_metrics.f1_reach,
        ),
        QualityMetric(
            "macro_recall",
            "higher",
            0.0,
            1.0,
            class_metrics.keep_classes,
            class_metrics.macro_recall,
            class_metrics.recall_influences,
            class_metrics.recall_reach,
        ),
        mean_metric("log_loss", "lower", class_metrics.keep_log_loss),
        QualityMetric("auc", "higher", 0.0, 1.0, rank_metrics.keep_ranks, *_AUC),
        QualityMetric("average_precision", "higher", 0.0, 1.0, rank_metrics.keep_ranks, *_PRECISION),
        QualityMetric("anomaly_auc", "higher", 0.0, 1.0, rank_metrics.keep_anomaly, *_AUC),
        QualityMetric("anomaly_average_precision", "higher", 0.0, 1.0, rank_metrics.keep_anomaly, *_PRECISION),
        mean_metric("mean_absolute_error", "lower", error_metrics.keep_absolute_errors),
        QualityMetric(
            "rmse",
            "lower",
            0.0,
            math.inf,
            keep=error_metrics.keep_squared_errors,
            value=error_metrics.rmse,
            influences=error_metrics.rmse_influences,
            reach=error_metrics.rmse_reach,
        ),
        QualityMetric(
            "r2",
            "higher",
            -math.inf,
            1.0,
            error_metrics.keep_r2,
            error_metrics.r2,
            error_metrics.r2_influences,
            error_metrics.r2_reach,
        ),
    )
}
