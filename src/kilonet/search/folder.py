"""A search's folder: its space, the snapshot of its trials, its runs, and the best networks.

::

    space.toml       the space
    search.db        the trials, for the sampler; SQLite, unless --storage names another storage
    search.json      the same, for reports, which need no Optuna; written after each trial
    runs/            a run folder for each training, named by its content hash
    networks/        the best networks: best-1.toml, …, for `kilonet train`, and study.toml
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from kilonet.errors import KilonetError, StorageError
from kilonet.paths import expand
from kilonet.search.files import SPEC, load_space, space_to_toml
from kilonet.search.result import Confirmed, Rung, SearchResult, SearchTrial, State
from kilonet.search.space import Space
from kilonet.search.storage import Stored
from kilonet.spec import InvalidSpecError
from kilonet.spec.changes import flattened
from kilonet.storage.atomic import is_temporary, write_atomically
from kilonet.storage.files import names_in
from kilonet.storage.lock import LOCK
from kilonet.storage.reports import HTML_REPORT, MARKDOWN_REPORT, check_reports

DATABASE = "search.db"
SNAPSHOT = "search.json"
RUNS = "runs"
NETWORKS = "networks"
_OWNER = ".kilonet.owner"
_FORMAT = 1

_FILES = frozenset(
    {
        LOCK,
        SPEC,
        DATABASE,
        SNAPSHOT,
        RUNS,
        NETWORKS,
        _OWNER,
        MARKDOWN_REPORT,
        HTML_REPORT,
        "figures",
    }
)
_BESIDE_DATABASE = (f"{DATABASE}-",)
"""Beginnings of the names of files that SQLite writes beside its own."""


def default_folder(space: Space) -> Path:
    """``kilonet-searches/NAME-PARAMETERS``: a search with another budget is another one."""
    most = space.budget.parameters
    return Path("kilonet-searches") / (space.name if most is None else f"{space.name}-{most}")


def check_folder(path: Path, space: Space) -> bool:
    """Whether the folder holds a search of this space.

    Raises:
        StorageError: it holds another search, or something else.
    """
    check_reports(path)
    if not (path / SPEC).is_file():
        _refuse_other_files(path)
        return False
    try:
        found = load_space(path)
    except KilonetError as error:
        raise StorageError(f"{path}: its {SPEC} cannot be read: {error}") from None
    if found == space:
        return True
    before, now = flattened(found.to_dict()), flattened(space.to_dict())
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    what = f" ({', '.join(keys[:3])})" if keys else ""
    raise StorageError(
        f"{path}: holds a search of another space{what}; name another folder with --out, or search "
        f"that space: 'kilonet search {path}'"
    )


def write_space(path: Path, space: Space) -> None:
    """Begin a search's folder; StorageError if it cannot be written."""
    try:
        (path / RUNS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{path / RUNS}: cannot be written: {error.strerror}") from None
    write_atomically(path / SPEC, space_to_toml(space, folder=path))


def owner_of(path: Path) -> str:
    """What tells this folder's trials from those of other folders in a shared storage."""
    file = path / _OWNER
    try:
        return file.read_text("ascii").strip()
    except FileNotFoundError:
        write_atomically(file, uuid.uuid4().hex)
        return file.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StorageError(f"{file}: cannot be read: {error}") from None


@dataclass(kw_only=True)
class Snapshots:
    """Results as of now, from the stored trials; what did not change is not built again.

    Attributes:
        space, path: the search's.
        built: number of a trial → what it was built from, and the trial.
    """

    space: Space
    path: Path
    built: dict[int, tuple[Stored, SearchTrial]] = field(default_factory=dict)

    def result(
        self,
        stored: Iterable[tuple[int, Stored]],
        *,
        num_trials: int,
        seconds: float,
        confirmed: Mapping[int, Sequence[Mapping[str, Any]]],
        tomls: Mapping[int, Path] | None = None,
    ) -> SearchResult:
        """The result of these trials.

        Args:
            stored: number and content of each trial.
            num_trials: as of the result.
            seconds: as of the result.
            confirmed: number of a trial → seed, accuracy and folder of each confirming run.
            tomls: as of the result.
        """
        trials = {number: self._trial(number, each) for number, each in stored}
        found = [
            _confirmed(trials[number], runs, path=self.path)
            for number, runs in confirmed.items()
            if number in trials and runs
        ]
        found.sort(key=lambda each: (-each.mean, each.trial.parameters or 0, each.trial.number))
        study = self.path / NETWORKS / "study.toml"
        return SearchResult(
            space=self.space,
            path=self.path,
            num_trials=num_trials,
            seconds=seconds,
            trials=tuple(trials[number] for number in sorted(trials)),
            confirmed=tuple(found),
            tomls=dict(tomls or {}),
            study_toml=study if study.is_file() else None,
        )

    def _trial(self, number: int, stored: Stored) -> SearchTrial:
        found = self.built.get(number)
        if found is None or found[0] != stored:
            self.built[number] = found = (stored, self._build(number, stored))
        return found[1]

    def _build(self, number: int, stored: Stored) -> SearchTrial:
        run = None
        if State(stored.state) is not State.INVALID:
            before = self.built.get(number)
            run = before[1].run if before is not None else self.space.run_of(stored.values)
        return SearchTrial(
            number=number,
            state=State(stored.state),
            values=dict(stored.values),
            run=run,
            parameters=stored.parameters,
            macs=stored.macs,
            rungs=tuple(
                Rung(
                    epochs=rung.epochs,
                    images=rung.images,
                    accuracy=rung.accuracy,
                    loss=rung.loss,
                    seconds=rung.seconds,
                    folder=self.path / RUNS / rung.folder,
                )
                for rung in stored.rungs
            ),
            reason=stored.reason,
            duplicate_of=stored.duplicate_of,
            began=stored.began,
            ended=stored.ended,
        )


def write_snapshot(
    result: SearchResult,
    stored: Iterable[tuple[int, Stored]],
    confirmed: Mapping[int, Sequence[Mapping[str, Any]]],
) -> None:
    """Write ``search.json``; StorageError if it cannot be written."""
    networks = result.path / NETWORKS
    data = {
        "format": _FORMAT,
        "num_trials": result.num_trials,
        "seconds": round(result.seconds, 3),
        "trials": [{"number": number, **each.to_json()} for number, each in stored],
        "confirmed": {str(number): runs for number, runs in confirmed.items()},
        "networks": {
            str(number): file.relative_to(networks).as_posix()
            for number, file in result.tomls.items()
        },
    }
    write_atomically(result.path / SNAPSHOT, json.dumps(data, indent=1, allow_nan=False) + "\n")


def read_search(folder: Path | str) -> SearchResult:
    """A search's results, finished or not, from its folder; needs no Optuna.

    Raises:
        StorageError: the folder holds no search, or its files are damaged.
    """
    path = expand(folder)
    if not (path / SPEC).is_file():
        raise StorageError(f"{path}: holds no search: it has no {SPEC}")
    try:
        space = load_space(path)
    except InvalidSpecError as error:
        raise StorageError(f"{path}: its {SPEC} cannot be read: {error}") from None
    try:
        data = json.loads((path / SNAPSHOT).read_text("utf-8"))
        if data["format"] != _FORMAT:
            raise StorageError(
                f"{path / SNAPSHOT}: format {data['format']} is of another version of kilonet"
            )
        trials = []
        for trial in data["trials"]:
            number = trial.pop("number")
            trials.append((int(number), Stored.from_json(trial)))
        confirmed = {int(number): runs for number, runs in data["confirmed"].items()}
        tomls = {int(n): path / NETWORKS / name for n, name in data["networks"].items()}
        return Snapshots(space=space, path=path).result(
            trials,
            num_trials=int(data["num_trials"]),
            seconds=float(data["seconds"]),
            confirmed=confirmed,
            tomls=tomls,
        )
    except FileNotFoundError:
        raise StorageError(
            f"{path}: no trial has ended yet; 'kilonet search {path}' continues it"
        ) from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, KilonetError):
            raise
        raise StorageError(
            f"{path / SNAPSHOT}: is damaged ({type(error).__name__}: {error}); "
            f"'kilonet search {path}' writes it again"
        ) from None


def seconds_before(path: Path) -> float:
    """The seconds that a search took before it was stopped; 0 if nothing says."""
    try:
        return float(json.loads((path / SNAPSHOT).read_text("utf-8"))["seconds"])
    except (OSError, ValueError, LookupError, TypeError):
        return 0.0


def mean_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean by Student's t, within 0 and 100; None where it has no width."""
    from scipy.special import stdtrit  # the quantile of Student's t, without all of scipy.stats

    if len(values) < 2 or stdev(values) < 1e-9:
        return None  # equal values would claim certainty
    half = float(stdtrit(len(values) - 1, 0.975)) * stdev(values) / len(values) ** 0.5
    mean = fmean(values)
    return max(mean - half, 0.0), min(mean + half, 100.0)


def _confirmed(trial: SearchTrial, runs: Sequence[Mapping[str, Any]], *, path: Path) -> Confirmed:
    accuracies = tuple(float(run["accuracy"]) for run in runs)
    return Confirmed(
        trial=trial,
        seeds=tuple(int(run["seed"]) for run in runs),
        accuracies=accuracies,
        folders=tuple(path / RUNS / str(run["folder"]) for run in runs),
        ci95=mean_interval(accuracies),
    )


def _refuse_other_files(path: Path) -> None:
    for name in names_in(path):
        known = name in _FILES or name.startswith(_BESIDE_DATABASE) or is_temporary(name)
        if not known:
            raise StorageError(
                f"{path}: contains {name!r}, which is not a search's; name another folder"
            )
