"""Metrics, one per file, and the text normalizers that run before them."""

from harness.metrics.base import CorpusMetric, Metric, build

__all__ = ["CorpusMetric", "Metric", "build"]
