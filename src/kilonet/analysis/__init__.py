"""Rows → statistics → findings → sentences. Pure functions: nothing here reads or writes a file."""

from kilonet.analysis.findings import Effect, Finding
from kilonet.analysis.ladder import RungAnalysis, StudyAnalysis, analyse
from kilonet.analysis.measurements import Change, Measurements, measure
from kilonet.analysis.statistics import (
    Difference,
    Statistics,
    binomial_error,
    compare,
    describe,
)
from kilonet.analysis.suggestions import Suggestion

__all__ = [
    "Change",
    "Difference",
    "Effect",
    "Finding",
    "Measurements",
    "RungAnalysis",
    "Statistics",
    "StudyAnalysis",
    "Suggestion",
    "analyse",
    "binomial_error",
    "compare",
    "describe",
    "measure",
]
