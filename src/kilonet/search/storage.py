"""A search's trials in an Optuna storage, which several processes and machines may share.

Candidates are drawn in memory and written whole: one transaction each, where asking the storage for
each value would take one a choice, and a second for a candidate on a busy disk.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from kilonet.errors import StorageError
from kilonet.search.result import State
from kilonet.search.sample import import_optuna, quiet
from kilonet.search.space import Space

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.storages import BaseStorage, RDBStorage
    from optuna.trial import FrozenTrial

_TRIES = 10
_RETRY_SECONDS = 0.5

_ATTRIBUTE = "kilonet"
_SPACE = "kilonet:space"
_CONFIRMED = "kilonet:confirmed"


@dataclass(frozen=True, kw_only=True)
class StoredRung:
    """A finished training of a trial, as it is stored.

    Attributes:
        epochs, images, accuracy, loss, seconds: as of :class:`kilonet.search.result.Rung`.
        folder: name of the run's folder in the search's ``runs``.
    """

    epochs: int
    images: int
    accuracy: float
    loss: float
    seconds: float
    folder: str


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A trial, as it is stored: as JSON, beside what Optuna knows of it.

    Attributes:
        state: as of :class:`kilonet.search.result.SearchTrial`, likewise the rest.
        run_hash: content hash of its run; "" without one.
        owner: identifies the search folder that trains it.
        seen: when its process was last alive, in seconds of Unix time.
    """

    state: str
    values: Mapping[str, Any]
    run_hash: str = ""
    parameters: int | None = None
    macs: int | None = None
    rungs: tuple[StoredRung, ...] = ()
    reason: str = ""
    duplicate_of: int | None = None
    began: float = 0.0
    ended: float | None = None
    owner: str = ""
    seen: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Stored:
        """The inverse of :meth:`to_json`; raises TypeError for other data."""
        rungs = tuple(StoredRung(**rung) for rung in data.get("rungs", ()))
        return cls(**{**data, "rungs": rungs})


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A trial in the storage.

    Attributes:
        number: from 0, in the order in which candidates were drawn.
        key: Optuna's, for changes.
        stored: its content.
        frozen: Optuna's view of it.
    """

    number: int
    key: int
    stored: Stored
    frozen: FrozenTrial = field(repr=False)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return not self.frozen.state.is_finished()


class TrialStore:
    """The trials of one search.

    Args:
        url: of the storage, as Optuna takes it.
        space: what is searched; each space has trials of its own, also under one name.

    Raises:
        StorageError: the storage cannot be opened.
        UsageError: Optuna is not installed.
    """

    def __init__(self, url: str, space: Space) -> None:
        import_optuna()
        self._where = _without_password(url)
        self.name = f"{space.name}-{space.content_hash[:12]}"
        with self._translated():
            self._storage, self._study = _open(url, self.name)
            self._storage.set_study_user_attr(self._study, _SPACE, space.to_dict())

    def entries(self) -> list[Entry]:
        """All trials, by number; those that are not a search's are left out."""
        with self._translated():
            found = self._storage.get_all_trials(self._study, deepcopy=False)
        entries = []
        for trial in sorted(found, key=lambda trial: trial.number):
            with suppress(KeyError, TypeError):  # a trial that somebody else added
                stored = Stored.from_json(trial.user_attrs[_ATTRIBUTE])
                entries.append(
                    Entry(number=trial.number, key=trial._trial_id, stored=stored, frozen=trial)  # noqa: SLF001
                )
        return entries

    def add(self, trial: Trial, stored: Stored) -> Entry:
        """Add a candidate that was drawn in memory, with the state that it has."""
        from optuna.trial import TrialState, create_trial

        states = {
            State.RUNNING: TrialState.RUNNING,
            State.COMPLETE: TrialState.COMPLETE,
            State.OVER_BUDGET: TrialState.PRUNED,
            State.INVALID: TrialState.PRUNED,
        }
        drawn = trial.study.get_trials(deepcopy=False)[trial.number]
        accuracies = {i: rung.accuracy for i, rung in enumerate(stored.rungs)}
        template = create_trial(
            # A duplicate says nothing new; as a failed trial no sampler counts it twice.
            state=states.get(State(stored.state), TrialState.FAIL),
            params=drawn.params,
            distributions=drawn.distributions,
            constraints=drawn.constraints,
            intermediate_values=accuracies,
            user_attrs={_ATTRIBUTE: stored.to_json()},
        )
        with self._translated():
            key = self._storage.create_new_trial(self._study, template)
            frozen = self._storage.get_trial(key)
        return Entry(number=frozen.number, key=key, stored=stored, frozen=frozen)

    def update(self, entry: Entry, stored: Stored) -> bool:
        """Change a trial that runs; False if another process ended it meanwhile."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        state = State(stored.state)
        try:
            with self._translated():
                before = len(entry.stored.rungs)
                for i, rung in enumerate(stored.rungs[before:], start=before):
                    self._storage.set_trial_intermediate_value(entry.key, i, rung.accuracy)
                self._storage.set_trial_user_attr(entry.key, _ATTRIBUTE, stored.to_json())
                if state is State.RUNNING:
                    return True
                last = [stored.rungs[-1].accuracy] if stored.rungs else None
                ends = {State.COMPLETE: TrialState.COMPLETE, State.PRUNED: TrialState.PRUNED}
                end = ends.get(state, TrialState.FAIL)
                values = None if end is TrialState.FAIL else last
                self._storage.set_trial_state_values(entry.key, end, values)
        except UpdateFinishedTrialError:
            return False
        return True

    def confirmed(self) -> dict[int, list[dict[str, Any]]]:
        """Number of a trial → its confirmation's runs, each with seed, accuracy and folder."""
        with self._translated():
            found = self._storage.get_study_user_attrs(self._study).get(_CONFIRMED, {})
        return {int(number): list(runs) for number, runs in found.items()}

    def set_confirmed(self, confirmed: Mapping[int, list[dict[str, Any]]]) -> None:
        """The inverse of :meth:`confirmed`."""
        data = {str(number): runs for number, runs in confirmed.items()}
        with self._translated():
            self._storage.set_study_user_attr(self._study, _CONFIRMED, data)

    def close(self) -> None:
        """Close the connection."""
        with suppress(Exception):  # of a storage that is gone
            self._storage.remove_session()
            engine = getattr(getattr(self._storage, "_backend", None), "engine", None)
            if engine is not None:
                engine.dispose()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Errors of the storage as StorageError in one line."""
        from optuna.exceptions import OptunaError, StorageInternalError

        try:
            yield
        except StorageInternalError as error:
            cause = error.__cause__ or error
            raise self._error(cause) from None
        except (OptunaError, KeyError):
            raise
        except ImportError as error:
            raise StorageError(
                f"{self._where}: its database driver is not installed ({error.name or error}); "
                "install it, or leave out --storage"
            ) from None
        except Exception as error:
            # SQLAlchemy's and the driver's errors have no common base; ours are no bugs of theirs.
            if not type(error).__module__.startswith(("sqlalchemy", "alembic", "sqlite3")):
                raise
            raise self._error(error) from None

    def _error(self, cause: BaseException) -> StorageError:
        reason = (
            str(getattr(cause, "orig", None) or cause).partition("\n")[0] or type(cause).__name__
        )
        return StorageError(
            f"{self._where}: the storage of the trials cannot be used: {reason}; check the URL and "
            "the disk; finished runs are kept, and the same command resumes"
        )


def _open(url: str, name: str) -> tuple[BaseStorage, int]:
    from optuna.exceptions import DuplicatedStudyError
    from optuna.storages import RDBStorage, get_storage
    from optuna.study import StudyDirection

    # Alembic tells of each table that it finds.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    kwargs = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else None
    with quiet():
        storage = get_storage(_created(lambda: RDBStorage(url, engine_kwargs=kwargs)))
        try:
            study = storage.create_new_study([StudyDirection.MAXIMIZE], name)
        except DuplicatedStudyError:
            study = storage.get_study_id_from_name(name)
    return storage, study


def _created(create: Callable[[], RDBStorage]) -> RDBStorage:
    """The storage; tried again if another process creates its tables at the same moment."""
    from sqlalchemy.exc import SQLAlchemyError

    for _ in range(_TRIES):
        try:
            return create()
        except SQLAlchemyError as error:
            if "exists" not in str(error) and "UNIQUE" not in str(error).upper():
                raise
            time.sleep(_RETRY_SECONDS)
    return create()


def _without_password(url: str) -> str:
    """The URL as messages show it."""
    scheme, separator, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    if not at:
        return url
    return f"{scheme}{separator}{login.partition(':')[0]}@{place}"


def with_rung(stored: Stored, rung: StoredRung) -> Stored:
    """The trial with one more training."""
    return replace(stored, rungs=(*stored.rungs, rung))
