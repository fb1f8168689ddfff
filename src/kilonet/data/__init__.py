"""Data sets: loading, describing, splitting and augmenting them."""

from kilonet.data.dataset import MAX_CLASSES, Dataset
from kilonet.data.describe import DatasetSummary, SplitSummary, describe, normalization
from kilonet.data.run_data import RunData
from kilonet.data.samples import draw_samples
from kilonet.data.sources import DATASET_NAMES, load_dataset
from kilonet.data.split import validation_split

__all__ = [
    "DATASET_NAMES",
    "MAX_CLASSES",
    "Dataset",
    "DatasetSummary",
    "RunData",
    "SplitSummary",
    "describe",
    "draw_samples",
    "load_dataset",
    "normalization",
    "validation_split",
]
