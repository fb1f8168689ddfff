"""Rows → statistics → findings → sentences. Pure functions: nothing here reads or writes a file."""

from kilonet.analysis.comparison import Difference, Effect, compare, correct
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
from kilonet.analysis.statistics import Statistics, binomial_error, describe
from kilonet.analysis.suggestions import Suggestion

__all__ = [
    "Calibration",
    "CalibrationBin",
    "Change",
    "ClassPair",
    "Difference",
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
    "measure",
    "measure_errors",
]
