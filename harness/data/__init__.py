"""Datasets from the Hub, from this machine, or made on the spot, as windows of samples."""

from harness.data.dataset import Dataset, Window
from harness.data.loading import fetch, load

__all__ = ["Dataset", "Window", "fetch", "load"]
