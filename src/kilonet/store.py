"""Run folders: what is in them, how they are written, how they are read back."""

from __future__ import annotations

import hashlib
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from kilonet.atomic import is_aside, write_atomically
from kilonet.data.npz import read_npz
from kilonet.errors import DataError, StoreError
from kilonet.lock import LOCK
from kilonet.record import EpochRow, RunRecord
from kilonet.spec import Run, load_run, to_toml

FORMAT = 1
"""Of run folders; a folder of a newer format is refused, not guessed at."""

_RUN = "run.toml"
_ENVIRONMENT = "environment.json"
_EPOCHS = "epochs.jsonl"
_STEPS = "steps.npz"
_CHECKPOINT = "checkpoint.safetensors"
_WEIGHTS = "weights.safetensors"
_PREDICTIONS = "predictions.npz"

Arrays = Mapping[str, NDArray[np.generic]]


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
    to an epoch that was cut off, and are dropped on reading.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def exists(self) -> bool:
        """Whether a run was begun here."""
        return is_file(self.path / _RUN)

    def begin(self, run: Run, environment: Mapping[str, Any]) -> None:
        """Write the spec and the environment; forget any earlier run here.

        Raises:
            StoreError: if the folder cannot be written, or holds files that are not a run's.
        """
        if not self.exists():
            self._refuse_strangers()
        # The spec goes first and comes last: without it the folder counts as empty.
        for name in (_RUN, _CHECKPOINT, _PREDICTIONS, _WEIGHTS, _STEPS, _EPOCHS):
            self._remove(name)
        record = {"format": FORMAT, **environment}
        self._write(_ENVIRONMENT, json.dumps(record, indent=2) + "\n")
        self._write(_RUN, to_toml(run))

    def note_resumption(self, environment: Mapping[str, Any], *, after_epoch: int) -> None:
        """Record that the run goes on after an epoch, if the environment is no longer the same."""
        begun = self.environment()
        resumed = begun.setdefault("resumed", [])
        before = {**begun, **(resumed[-1] if resumed else {})}
        if any(before.get(key) != value for key, value in environment.items() if key != "started"):
            resumed.append({"after_epoch": after_epoch, **environment})
            self._write(_ENVIRONMENT, json.dumps(begun, indent=2) + "\n")

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the steps, the rows and, last, the state of a run after an epoch."""
        steps = {
            "loss": checkpoint.steps.loss,
            "correct": checkpoint.steps.correct,
            "epochs": np.array(checkpoint.epochs),
        }
        self._write_arrays(_STEPS, steps)
        self._write(_EPOCHS, "".join(_row_to_json(row) + "\n" for row in checkpoint.rows))
        metadata = {"format": str(FORMAT), "epochs": str(checkpoint.epochs)}
        self._write_tensors(_CHECKPOINT, checkpoint.state, metadata)

    def finish(self, *, weights: Arrays, logits: NDArray[np.float32]) -> None:
        """Write the final weights and the test set's logits; from then on the run is finished."""
        self._write_tensors(_WEIGHTS, weights, {"format": str(FORMAT)})
        self._write_arrays(_PREDICTIONS, {"logits": logits})

    def run(self) -> Run:
        """The spec.

        Raises:
            StoreError: if there is none.
            SpecError: if it does not hold.
        """
        if not self.exists():
            raise StoreError(f"{self.path}: not a run folder: it has no {_RUN}")
        return load_run(str(self.path / _RUN))

    def environment(self) -> dict[str, Any]:
        """What ``environment.json`` holds; StoreError where it is damaged or of another format."""
        path = self.path / _ENVIRONMENT
        try:
            environment = json.loads(self._read(_ENVIRONMENT))
        except ValueError:
            raise StoreError(f"{path}: not valid JSON; {self._anew}") from None
        found = environment.get("format") if isinstance(environment, dict) else None
        if found != FORMAT:
            raise StoreError(
                f"{path}: format {found!r}, but this kilonet reads format {FORMAT}; "
                "use the version that wrote it, or another folder"
            )
        for table in ("engine", "data"):
            if not isinstance(environment.get(table), dict):
                raise StoreError(f"{path}: {table!r} is damaged; {self._anew}")
        if not isinstance(environment.get("resumed", []), list):
            raise StoreError(f"{path}: 'resumed' is damaged; {self._anew}")
        return dict(environment)

    def last_engine(self) -> dict[str, Any]:
        """What ``environment.json`` tells of the engine that took the run as far as it is."""
        environment = self.environment()
        for resumed in reversed(environment.get("resumed", [])):
            if isinstance(resumed, dict) and isinstance(resumed.get("engine"), dict):
                return dict(resumed["engine"])
        return dict(environment["engine"])

    def rows(self) -> tuple[EpochRow, ...]:
        """The epochs' rows, none before the first one's end; StoreError where they are damaged."""
        path = self.path / _EPOCHS
        if not is_file(path):
            return ()
        rows = []
        for number, line in enumerate(self._read(_EPOCHS).decode(errors="replace").splitlines()):
            try:
                row = EpochRow(**json.loads(line))
            except (TypeError, ValueError):
                row = None
            if row is None or row.epoch != number or not _is_whole(row):
                raise StoreError(f"{path}: line {number + 1} is damaged; {self._anew}")
            rows.append(row)
        return tuple(rows)

    def finished(self) -> bool:
        """Whether the run trained to its end and all its results are here."""
        needed = (_RUN, _ENVIRONMENT, _EPOCHS, _WEIGHTS, _PREDICTIONS)
        if not all(is_file(self.path / name) for name in needed):
            return False
        return len(self.rows()) == self.run().train.epochs

    def record(self) -> RunRecord:
        """The run as far as it has come."""
        run = self.run()
        return RunRecord(path=self.path, run=run, rows=self.rows(), environment=self.environment())

    def checkpoint(self) -> Checkpoint | None:
        """Where to resume, or None where no epoch was finished.

        Raises:
            StoreError: if the checkpoint is truncated or altered, or does not fit the rows.
        """
        path = self.path / _CHECKPOINT
        if not is_file(path):
            return None
        state, metadata = self._read_tensors(_CHECKPOINT)
        epochs = int(metadata["epochs"]) if metadata.get("epochs", "").isdecimal() else -1
        rows = self.rows()
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
        return f"remove {self.path} to train the run again"

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

    def _write_arrays(self, name: str, arrays: Arrays) -> None:
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        self._write(name, buffer.getvalue())

    def _write_tensors(self, name: str, arrays: Arrays, metadata: dict[str, str]) -> None:
        tensors = {key: np.ascontiguousarray(array) for key, array in arrays.items()}
        # ascontiguousarray makes an array of a scalar; batch norm's count must stay one.
        tensors = {key: array.reshape(arrays[key].shape) for key, array in tensors.items()}
        content = safetensors.numpy.save(tensors, {**metadata, "sha256": _digest(tensors)})
        self._write(name, _with_sorted_metadata(content))

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
            return read_npz(path, names=keys)
        except DataError:
            raise StoreError(f"{path}: truncated or altered; {self._anew}") from None

    def _read_tensors(self, name: str) -> tuple[dict[str, NDArray[np.generic]], dict[str, str]]:
        path = self.path / name
        content = self._read(name)
        try:
            tensors = safetensors.numpy.load(content)
            header = int.from_bytes(content[:8], "little")
            metadata = json.loads(content[8 : 8 + header])["__metadata__"]
        except (safetensors.SafetensorError, ValueError, KeyError, TypeError):
            tensors, metadata = {}, {}
        if metadata.get("sha256") != _digest(tensors):
            raise StoreError(f"{path}: truncated or altered; {self._anew}")
        return dict(tensors), metadata


_OURS = frozenset({LOCK, _RUN, _ENVIRONMENT, _EPOCHS, _STEPS, _CHECKPOINT, _WEIGHTS, _PREDICTIONS})


def _with_sorted_metadata(content: bytes) -> bytes:
    """A safetensors file of which equal tensors make equal bytes.

    safetensors writes metadata in the order of a hash table that is seeded anew in each process.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors begin at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[end:]


def _digest(tensors: Arrays) -> str:
    """SHA-256 over names, dtypes, shapes and bytes: safetensors itself notices no flipped bit."""
    digest = hashlib.sha256()
    for key in sorted(tensors):
        array = tensors[key]
        digest.update(f"{key} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def is_file(path: Path) -> bool:
    """Whether there is a file; StoreError where that cannot be told: a name too long, no access."""
    try:
        return path.is_file()
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: cannot be read: {error}") from None


def _row_to_json(row: EpochRow) -> str:
    return json.dumps({k: v for k, v in asdict(row).items() if v is not None}, allow_nan=False)


def _is_whole(row: EpochRow) -> bool:
    """Whether every value that was read is a finite number."""
    values = [value for value in asdict(row).values() if value is not None]
    optional = {"validation_accuracy", "validation_loss"}
    required = len(fields(EpochRow)) - len(optional)
    numbers = all(isinstance(value, int | float) and math.isfinite(value) for value in values)
    return numbers and len(values) >= required
