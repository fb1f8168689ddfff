"""Studies: stages × seeds, the scheduler that shares the machine, and the executors."""

from kilonet.study.observer import StudyObserver
from kilonet.study.result import (
    IncompleteStudyError,
    StageResult,
    StudyResult,
    default_folder,
    read_study,
)
from kilonet.study.study import run_study
from kilonet.study.trial import Failure, Trial

__all__ = [
    "Failure",
    "IncompleteStudyError",
    "StageResult",
    "StudyObserver",
    "StudyResult",
    "Trial",
    "default_folder",
    "read_study",
    "run_study",
]
