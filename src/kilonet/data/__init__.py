"""Data sets: loading, describing, splitting and augmenting them."""

from kilonet.data.dataset import MAX_CLASSES, Dataset
from kilonet.data.describe import DatasetSummary, SplitSummary, describe
from kilonet.data.normalization import normalization
from kilonet.data.oddities import warn_of_oddities
from kilonet.data.run_data import RunData
from kilonet.data.samples import draw_samples
from kilonet.data.sources import load_dataset
from kilonet.data.split import validation_split

__all__ = [
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
    "warn_of_oddities",
]
