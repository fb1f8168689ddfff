"""Rows → statistics → findings → sentences.

Pure functions, but for :func:`read_errors`, which reads the test logits that the runs have kept.
"""

from kilonet.analysis.changes import Suggestion
from kilonet.analysis.comparison import Difference, Effect, compare, correct
from kilonet.analysis.doubtful import DoubtfulLabel, doubtful_labels
from kilonet.analysis.errors import (
    Calibration,
    CalibrationBin,
    ClassPair,
    Errors,
    HardImage,
    measure_errors,
)
from kilonet.analysis.findings import Finding
from kilonet.analysis.ladder import RungAnalysis, StudyAnalysis, analyse
from kilonet.analysis.measurements import Change, Measurements, measure
from kilonet.analysis.power import Sensitivity
from kilonet.analysis.predictions import read_errors, rung_errors
from kilonet.analysis.statistics import Statistics, binomial_error, describe

__all__ = [
    "Calibration",
    "CalibrationBin",
    "Change",
    "ClassPair",
    "Difference",
    "DoubtfulLabel",
    "Effect",
    "Errors",
    "Finding",
    "HardImage",
    "Measurements",
    "RungAnalysis",
    "Sensitivity",
    "Statistics",
    "StudyAnalysis",
    "Suggestion",
    "analyse",
    "binomial_error",
    "compare",
    "correct",
    "describe",
    "doubtful_labels",
    "measure",
    "measure_errors",
    "read_errors",
    "rung_errors",
]
