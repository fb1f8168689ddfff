"""The exceptions of kilonet, and their exit codes on the command line.

::

    KilonetError            exit 1   the base class
    ├── SpecError           exit 2   an invalid spec: a key, a value, a file
    │   └── NetError                 a network that cannot be built
    ├── UsageError          exit 2   a wrong call: an unknown name, contradictory options
    ├── BudgetError         exit 1   a network or a training over the study's budget
    ├── DataError           exit 1   a data set that cannot be read or does not fit the network
    ├── EngineError         exit 1   no engine can train the network here
    │   └── DivergenceError          the loss is no longer finite
    ├── ClusterError        exit 1   a cluster that cannot be reached, or cannot train the study
    ├── StorageError        exit 1   a run folder that cannot be read or written
    └── StudyError          exit 1   runs of a study failed; the others are finished

A message is one line: what is wrong, where, and what to do. Any other exception is a bug in kilonet
and keeps its traceback.
"""

from __future__ import annotations

import difflib
import errno
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class KilonetError(Exception):
    """Base class of kilonet's exceptions."""

    exit_code: ClassVar[int] = 1


class SpecError(KilonetError):
    """An invalid spec: an unknown key, a value out of range, a malformed file."""

    exit_code: ClassVar[int] = 2


class NetError(SpecError):
    """A network that cannot be built; names the layer's path, text and shapes."""


class UsageError(KilonetError):
    """A wrong call: an unknown name, or options that contradict each other."""

    exit_code: ClassVar[int] = 2


class BudgetError(KilonetError):
    """A network or a training exceeds the study's budget."""


class DataError(KilonetError):
    """A data set cannot be read, is damaged, or does not fit the network."""


class EngineError(KilonetError):
    """No engine can train this network here, or the training diverged."""


class DivergenceError(EngineError):
    """The training diverged: its loss is no longer a finite number."""


class ClusterError(KilonetError):
    """A cluster cannot be reached, is lost, or cannot train the study."""


class StorageError(KilonetError):
    """A run folder cannot be read, written or resumed."""


class StudyError(KilonetError):
    """Runs of a study failed; the others are finished.

    Attributes:
        failures: ``str`` of each is a line.
    """

    def __init__(self, failures: Iterable[object]) -> None:
        self.failures = tuple(failures)
        super().__init__("; ".join(map(str, self.failures)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception means that memory ran out: Python's, the system's or the linker's."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    # The dynamic linker's errors have no code, only text.
    text = str(error) if isinstance(error, ImportError | OSError) else ""
    return "failed to map segment" in text or "Cannot allocate memory" in text


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown ``word``: the nearest known one, else all."""
    known = sorted(known)
    nearest = difflib.get_close_matches(word, known, n=1)
    if nearest:
        return f"did you mean {nearest[0]!r}?"
    return f"known: {', '.join(known)}" if known else "none is known"
