"""Data sets: the embedded MNIST, IDX folders and NPZ files; what they hold, and how to split it."""

from kilonet.data.catalogue import DATASET_NAMES, load_dataset
from kilonet.data.dataset import MAX_CLASSES, Dataset
from kilonet.data.describe import DatasetSummary, SplitSummary, describe, normalisation
from kilonet.data.samples import draw_samples
from kilonet.data.split import validation_split

__all__ = [
    "DATASET_NAMES",
    "MAX_CLASSES",
    "Dataset",
    "DatasetSummary",
    "SplitSummary",
    "describe",
    "draw_samples",
    "load_dataset",
    "normalisation",
    "validation_split",
]
