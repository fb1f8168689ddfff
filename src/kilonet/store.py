"""Run folders: what is in them, how they are written, how they are read back."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kilonet.atomic import is_aside, write_atomically
from kilonet.data.npz import read_npz
from kilonet.errors import DataError, StoreError
from kilonet.lock import LOCK
from kilonet.record import EpochRow, RunRecord
from kilonet.sealed import (
    FORMAT,
    FORMATS,
    AlteredError,
    Arrays,
    arrays_to_bytes,
    json_from_bytes,
    json_to_bytes,
    rows_from_bytes,
    rows_to_bytes,
    tensors_from_bytes,
    tensors_to_bytes,
)
from kilonet.spec import Run, load_run, to_toml

_RUN = "run.toml"
_ENVIRONMENT = "environment.json"
_EPOCHS = "epochs.jsonl"
_STEPS = "steps.npz"
_CHECKPOINT = "checkpoint.safetensors"
_WEIGHTS = "weights.safetensors"
_PREDICTIONS = "predictions.npz"


@dataclass(frozen=True, kw_only=True)
class StepLog:
    """Every step of a run so far.

    Attributes:
        loss: (steps,) float64, nats, each step's mean.
        correct: (steps,) int64.
    """

    loss: NDArray[np.float64]
    correct: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """Where a run stands.

    Attributes:
        epochs: how many are finished.
        state: the engine's, see :meth:`kilonet.engine.Engine.state`.
        rows: one a finished epoch.
        steps: one a step of the finished epochs.
    """

    epochs: int
    state: Arrays
    rows: tuple[EpochRow, ...]
    steps: StepLog


class RunFolder:
    """One run's folder. Every file in it is replaced whole or not at all.

    The checkpoint is written last in an epoch and is what counts: rows and steps beyond it belong
    to an epoch that was cut off, and are dropped on reading. A file that was truncated or altered
    is refused by whatever reads it (:mod:`kilonet.sealed` tells how it is noticed), and nothing is
    written over it.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return is_file(self.path / _RUN)

    def begin(self, run: Run, environment: Mapping[str, Any]) -> None:
        """Write the spec and the environment; forget any earlier run here.

        Raises:
            StoreError: if the folder cannot be written, or holds files that are not a run's, or
                results whose spec is lost.
        """
        if not self.exists():
            self._refuse_strangers()
            for name in (_WEIGHTS, _CHECKPOINT):
                if is_file(self.path / name):
                    raise StoreError(
                        f"{self.path / _RUN}: missing, though {name} is there; restore it from a "
                        "copy, or name another folder"
                    )
        # The spec goes last and comes last: without it the folder counts as empty, so there is
        # no instant at which it counts as empty and still holds results.
        for name in (_PREDICTIONS, _WEIGHTS, _CHECKPOINT, _STEPS, _EPOCHS, _RUN):
            self._remove(name)
        spec = to_toml(run).encode()
        record = {"format": FORMAT, "run_sha256": _sha256(spec), **environment}
        self._write(_ENVIRONMENT, json_to_bytes(record))
        self._write(_RUN, spec)

    def bring_up_to_date(self) -> None:
        """Rewrite an unfinished run of an older format in this one, before it goes on."""
        environment = self.environment()
        if environment["format"] == FORMAT:
            return
        checkpoint = self.checkpoint()
        if checkpoint is not None:
            self.save(checkpoint)
        # Last: the environment's format says what the other files may be asked to hold.
        seal = {"format": FORMAT, "run_sha256": _sha256(self._read(_RUN))}
        self._write(_ENVIRONMENT, json_to_bytes(seal | environment | seal))

    def note_resumption(self, environment: Mapping[str, Any], *, after_epoch: int) -> None:
        """Record that the run goes on after an epoch, if the environment is no longer the same."""
        begun = self.environment()
        resumed = begun.setdefault("resumed", [])
        before = {**begun, **(resumed[-1] if resumed else {})}
        if any(before.get(key) != value for key, value in environment.items() if key != "started"):
            resumed.append({"after_epoch": after_epoch, **environment})
            self._write(_ENVIRONMENT, json_to_bytes(begun))

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the steps, the rows and, last, the state of a run after an epoch."""
        steps = {
            "loss": checkpoint.steps.loss,
            "correct": checkpoint.steps.correct,
            "epochs": np.array(checkpoint.epochs),
        }
        self._write(_STEPS, arrays_to_bytes(steps))
        self._write(_EPOCHS, rows_to_bytes(checkpoint.rows))
        metadata = {"epochs": str(checkpoint.epochs)}
        self._write(_CHECKPOINT, tensors_to_bytes(checkpoint.state, metadata))

    def finish(self, *, weights: Arrays, logits: NDArray[np.float32]) -> None:
        """Write the final weights and the test set's logits; from then on the run is finished."""
        self._write(_WEIGHTS, tensors_to_bytes(weights, {}))
        self._write(_PREDICTIONS, arrays_to_bytes({"logits": logits}))

    def run(self) -> Run:
        """The spec.

        Raises:
            StoreError: if there is none, or it is not as it was written.
            SpecError: if it does not hold.
        """
        if not self.exists():
            raise StoreError(f"{self.path}: not a run folder: it has no {_RUN}")
        environment = self.environment()
        if environment["format"] > 1 and environment["run_sha256"] != _sha256(self._read(_RUN)):
            raise self._altered(_RUN)
        return load_run(str(self.path / _RUN))

    def environment(self) -> dict[str, Any]:
        """What ``environment.json`` holds; StoreError where it is damaged or of a newer format."""
        path = self.path / _ENVIRONMENT
        try:
            environment = json_from_bytes(self._read(_ENVIRONMENT))
        except AlteredError as error:
            raise self._altered(_ENVIRONMENT, str(error)) from None
        found = environment.get("format")
        if found not in FORMATS:
            raise StoreError(
                f"{path}: format {found!r}, but this kilonet reads formats {FORMATS[0]} to "
                f"{FORMATS[-1]}; use the version that wrote it, or another folder"
            )
        for table in ("engine", "data"):
            if not isinstance(environment.get(table), dict):
                raise self._altered(_ENVIRONMENT, f"{table!r} is no table")
        if not isinstance(environment.get("resumed", []), list):
            raise self._altered(_ENVIRONMENT, "'resumed' is no list")
        if found > 1 and "run_sha256" not in environment:
            raise self._altered(_ENVIRONMENT, "'run_sha256' is missing")
        return environment

    def last_engine(self) -> dict[str, Any]:
        """What ``environment.json`` tells of the engine that took the run as far as it is."""
        environment = self.environment()
        for resumed in reversed(environment.get("resumed", [])):
            if isinstance(resumed, dict) and isinstance(resumed.get("engine"), dict):
                return dict(resumed["engine"])
        return dict(environment["engine"])

    def rows(self) -> tuple[EpochRow, ...]:
        """The epochs' rows, none before the first one's end; StoreError where they are damaged."""
        if not is_file(self.path / _EPOCHS):
            return ()
        checks = self.environment()["format"] > 1
        try:
            return rows_from_bytes(self._read(_EPOCHS), checks=checks)
        except AlteredError as error:
            raise self._altered(_EPOCHS, str(error)) from None

    def finished(self) -> bool:
        """Whether the run trained to its end and all its results are here."""
        needed = (_RUN, _ENVIRONMENT, _EPOCHS, _WEIGHTS, _PREDICTIONS)
        if not all(is_file(self.path / name) for name in needed):
            return False
        return len(self.rows()) == self.run().train.epochs

    def record(self) -> RunRecord:
        """The run as far as it has come: to its end, or to its checkpoint."""
        run = self.run()
        if self.finished():
            rows = self.rows()
        else:
            checkpoint = self.checkpoint()
            rows = () if checkpoint is None else checkpoint.rows
        return RunRecord(path=self.path, run=run, rows=rows, environment=self.environment())

    def checkpoint(self) -> Checkpoint | None:
        """Where to resume, or None where no epoch was finished.

        Raises:
            StoreError: if the checkpoint is truncated or altered, or does not fit the rows.
        """
        path = self.path / _CHECKPOINT
        if not is_file(path):
            rows = self.rows()
            # A kill in the first epoch's save leaves one row without it, never more. If it is there
            # now, the run goes on as we look.
            if len(rows) > 1 and not is_file(path):
                raise StoreError(
                    f"{path}: missing, though {_EPOCHS} tells of {len(rows)} epochs; {self._anew}"
                )
            return None
        # In the opposite order to that of writing, so that of a run that goes on as we look the
        # steps and rows are ahead of the checkpoint, never behind.
        state, metadata = self._read_tensors(_CHECKPOINT)
        rows = self.rows()
        epochs = int(metadata["epochs"]) if metadata.get("epochs", "").isdecimal() else -1
        arrays = self._read_arrays(_STEPS, ("loss", "correct", "epochs"))
        loss, correct = arrays["loss"].astype(np.float64), arrays["correct"].astype(np.int64)
        # Steps and rows run one epoch ahead if the run was cut off before its checkpoint.
        steps, odd = divmod(len(loss) * epochs, max(1, int(arrays["epochs"])))
        if not 1 <= epochs <= len(rows) or odd or not steps <= len(loss) == len(correct):
            raise StoreError(f"{path}: does not fit the rows beside it; {self._anew}")
        return Checkpoint(
            epochs=epochs,
            state=state,
            rows=rows[:epochs],
            steps=StepLog(loss=loss[:steps], correct=correct[:steps]),
        )

    def weights(self) -> dict[str, NDArray[np.generic]]:
        """The final weights, PyTorch's names; StoreError where the run is unfinished or damaged."""
        return self._read_tensors(_WEIGHTS)[0]

    def test_logits(self) -> NDArray[np.float32]:
        """(test images, classes) of the final weights; StoreError as :meth:`weights`."""
        return self._read_arrays(_PREDICTIONS, ("logits",))["logits"].astype(np.float32)

    @property
    def _anew(self) -> str:
        return f"restore it from a copy, or remove {self.path} to train the run again"

    def _altered(self, name: str, where: str = "") -> StoreError:
        where = f" ({where})" if where else ""
        return StoreError(f"{self.path / name}: truncated or altered{where}; {self._anew}")

    def _refuse_strangers(self) -> None:
        """A folder with a user's own files in it is not ours to write into."""
        try:
            strangers = sorted(
                entry.name
                for entry in self.path.iterdir()
                if entry.name not in _OURS and not is_aside(entry.name)
            )
        except FileNotFoundError:
            return
        except OSError as error:
            raise StoreError(f"{self.path}: cannot be read: {error.strerror}") from None
        if strangers:
            raise StoreError(
                f"{self.path}: holds {strangers[0]!r}, which is not a run's; name another folder"
            )

    def _remove(self, name: str) -> None:
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self.path / name}: cannot be removed: {error.strerror}") from None

    def _write(self, name: str, content: bytes | str) -> None:
        write_atomically(self.path / name, content)

    def _read(self, name: str) -> bytes:
        path = self.path / name
        try:
            return path.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{path}: missing; the run is unfinished or damaged") from None
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from None

    def _read_arrays(self, name: str, keys: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
        path = self.path / name
        if not is_file(path):
            raise StoreError(f"{path}: missing; the run is unfinished or damaged")
        try:
            path.open("rb").close()
        except OSError as error:  # whole, for all that is known
            raise StoreError(f"{path}: cannot be read: {error.strerror}") from None
        try:
            return read_npz(path, names=keys)
        except DataError:
            raise self._altered(name) from None

    def _read_tensors(self, name: str) -> tuple[dict[str, NDArray[np.generic]], dict[str, str]]:
        try:
            tensors, metadata = tensors_from_bytes(self._read(name))
        except AlteredError:
            raise self._altered(name) from None
        if metadata.get("format") not in {str(known) for known in FORMATS}:
            raise StoreError(
                f"{self.path / name}: format {metadata.get('format')!r}, but this kilonet reads "
                f"formats {FORMATS[0]} to {FORMATS[-1]}; use the version that wrote it"
            )
        return tensors, metadata


_OURS = frozenset({LOCK, _RUN, _ENVIRONMENT, _EPOCHS, _STEPS, _CHECKPOINT, _WEIGHTS, _PREDICTIONS})


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def is_file(path: Path) -> bool:
    """Whether there is a file; StoreError where that cannot be told: a name too long, no access."""
    try:
        return path.is_file()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise StoreError(f"{path}: cannot be read: {reason}") from None
