"""Every error that kilonet raises on purpose, and the exit code each gives the command line.

::

    KilonetError            exit 1   could not do it
    ├── SpecError           exit 2   what the user stated is wrong: a key, a value, a file of them
    │   └── NetError                 a network that cannot be: the layer, its text, the shapes
    ├── UsageError          exit 2   the call itself is wrong: an unknown name, clashing options
    ├── BudgetError         exit 1   the network is over the parameters it may have
    ├── DataError           exit 1   a data set that cannot be read, or does not fit the network
    ├── EngineError         exit 1   no engine can train this here
    │   └── DivergenceError          the loss is no longer a number
    ├── StoreError          exit 1   a run folder that cannot be read or written
    └── StudyError          exit 1   runs of a study that failed; the others are finished

A message is one line: what is wrong, where, and what to do. Anything else that escapes is a
bug in kilonet and keeps its traceback.
"""

from __future__ import annotations

import difflib
import errno
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


class KilonetError(Exception):
    """The root: catch this to catch all that kilonet raises on purpose."""

    exit_code: ClassVar[int] = 1


class SpecError(KilonetError):
    """What the user stated is wrong: an unknown key, a value out of range, a malformed file."""

    exit_code: ClassVar[int] = 2


class NetError(SpecError):
    """A network that cannot be built; names the layer's number, its text and the shapes."""


class UsageError(KilonetError):
    """The call is wrong: a name that is not known, options that contradict each other."""

    exit_code: ClassVar[int] = 2


class BudgetError(KilonetError):
    """The network has more parameters than the study's budget allows."""


class DataError(KilonetError):
    """A data set that cannot be read, is damaged, or does not fit the network."""


class EngineError(KilonetError):
    """No engine can train this network here, or the training diverged."""


class DivergenceError(EngineError):
    """The training diverged: its loss is no longer a finite number."""


class StoreError(KilonetError):
    """A run folder that cannot be read, written, or resumed."""


class StudyError(KilonetError):
    """Runs of a study failed; the others are finished.

    Attributes:
        failures: each prints as its own line.
    """

    def __init__(self, failures: Iterable[object]) -> None:
        self.failures = tuple(failures)
        super().__init__("; ".join(map(str, self.failures)))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out, as Python, the system or the linker of a library tells it."""
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    told = str(error) if isinstance(error, ImportError | OSError) else ""
    return "failed to map segment" in told or "Cannot allocate memory" in told


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of an error line for an unknown ``word``: the nearest known one, else all of them."""
    known = sorted(known)
    nearest = difflib.get_close_matches(word, known, n=1)
    if nearest:
        return f"did you mean {nearest[0]!r}?"
    return f"known: {', '.join(known)}" if known else "none is known"
