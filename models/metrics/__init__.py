"""Metrics that accumulate, exact over batches of any size and sound in float32."""

from __future__ import annotations

from models.metrics.accumulators import Average, Metric
from models.metrics.sequence import SequenceMetric, sequence_metrics

__all__ = ["Average", "Metric", "SequenceMetric", "sequence_metrics"]
