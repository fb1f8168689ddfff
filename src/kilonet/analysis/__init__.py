"""Rows → statistics → findings → sentences.

Pure functions, except :func:`read_errors`, which reads the runs' test logits.
"""

from kilonet.analysis.comparisons import DecidedBy, Effect
from kilonet.analysis.descriptive import Statistics, binomial_error, binomial_interval, describe
from kilonet.analysis.differences import Difference, compare, correct
from kilonet.analysis.findings import Finding, Kind, Verdict
from kilonet.analysis.measurements import Measurements, measure
from kilonet.analysis.misclassified import (
    Calibration,
    CalibrationBin,
    Errors,
    measure_errors,
    read_errors,
    stage_errors,
)
from kilonet.analysis.pooling import Pool
from kilonet.analysis.power import Sensitivity
from kilonet.analysis.results import StageAnalysis, StudyAnalysis
from kilonet.analysis.stages import analyze
from kilonet.analysis.suggestions import Suggestion
from kilonet.storage.record import Split

__all__ = [
    "Calibration",
    "CalibrationBin",
    "DecidedBy",
    "Difference",
    "Effect",
    "Errors",
    "Finding",
    "Kind",
    "Measurements",
    "Pool",
    "Sensitivity",
    "Split",
    "StageAnalysis",
    "Statistics",
    "StudyAnalysis",
    "Suggestion",
    "Verdict",
    "analyze",
    "binomial_error",
    "binomial_interval",
    "compare",
    "correct",
    "describe",
    "measure",
    "measure_errors",
    "read_errors",
    "stage_errors",
]
