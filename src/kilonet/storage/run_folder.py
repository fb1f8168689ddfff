"""Run folders: the files of a run, how they are written, and how they are read."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kilonet.errors import StorageError
from kilonet.paths import expand
from kilonet.spec import Run, parse_run, to_toml
from kilonet.storage.atomic import is_temporary, write_atomically
from kilonet.storage.checksums import (
    FORMAT,
    READABLE_FORMATS,
    Arrays,
    CorruptError,
    arrays_from_bytes,
    arrays_to_bytes,
    json_from_bytes,
    json_to_bytes,
    rows_from_bytes,
    rows_to_bytes,
    tensors_from_bytes,
    tensors_to_bytes,
)
from kilonet.storage.files import is_file, names_in, unreadable
from kilonet.storage.lock import LOCK
from kilonet.storage.provenance import Provenance
from kilonet.storage.record import EpochRow, RunRecord, Split, stopping
from kilonet.storage.run_state import Checkpoint, RunState, StepLog

SPEC = "run.toml"
PROVENANCE = "environment.json"
_ROWS = "epochs.jsonl"
_STEPS = "steps.npz"
CHECKPOINT = "checkpoint.safetensors"
_WEIGHTS = "weights.safetensors"
_LOGITS = "predictions.npz"

_LOGITS_OF = {Split.TEST: "logits", Split.VALIDATION: "validation_logits"}
"""The name of the array in ``predictions.npz``, of which there is one."""

_BEST = "best/"
"""Begins the names of the best epoch's weights in a checkpoint."""

WRITTEN = (PROVENANCE, SPEC, _STEPS, _ROWS, CHECKPOINT, _WEIGHTS, _LOGITS)
"""The files of a run, in the order of writing."""

FILES = frozenset({LOCK, *WRITTEN})
"""The names that a run folder may contain."""

_UNCOMPARED: dict[str, Any] = {"started": "", "after_epoch": None, "resumed": (), "lineage": ()}
"""The fields of a provenance that say nothing about the environment."""


class RunFolder:
    """One run's folder. Every file in it is replaced as a whole or not at all.

    The checkpoint is written last in an epoch and decides how far the run is: rows and steps beyond
    it belong to an interrupted epoch and are dropped. A truncated or altered file is an error (see
    :mod:`kilonet.storage.checksums`) and is never overwritten.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = expand(path)

    def exists(self) -> bool:
        """Whether the folder contains a run."""
        return is_file(self.path / SPEC)

    def read(self) -> RunState | None:
        """The run, or None if there is none.

        Raises:
            StorageError: a file is damaged, of a newer format, or does not fit the others.
            SpecError: the spec is invalid, as one of a newer version may be.
        """
        # First, so that a run that finishes meanwhile counts as unfinished, not as damaged.
        finished = is_file(self.path / _WEIGHTS) and is_file(self.path / _LOGITS)
        found = self._read_spec()
        if found is None:
            return None
        run, content, spec_sha256 = found
        checked = content["format"] > 1
        checkpoint = None
        if finished:
            rows = self._read_rows(checked=checked)
            ended = stopping(run, rows)
            if len(rows) != run.train.epochs and not (ended is not None and ended.stopped):
                raise StorageError(
                    f"{self.path / _ROWS}: has {len(rows)} of {run.train.epochs} epochs, though "
                    f"{_WEIGHTS} exists; {self._remedy}"
                )
        else:
            checkpoint = self._read_checkpoint(checked=checked)
            rows = () if checkpoint is None else checkpoint.rows
        provenance = Provenance.from_json(content)
        return RunState(
            record=RunRecord(path=self.path, run=run, rows=rows, provenance=provenance),
            finished=finished,
            checkpoint=checkpoint,
            format=content["format"],
            spec_sha256=spec_sha256,
        )

    def record(self) -> RunRecord:
        """The run up to its end or its checkpoint; raises as :meth:`read`, and if there is none."""
        state = self.read()
        if state is None:
            raise StorageError(f"{self.path}: not a run folder: it has no {SPEC}")
        return state.record

    def spec(self) -> Run | None:
        """The spec alone, or None if there is no run; raises as :meth:`read`."""
        found = self._read_spec()
        return None if found is None else found[0]

    def weights(self) -> dict[str, NDArray[np.generic]]:
        """The final weights, by PyTorch's names.

        Raises:
            StorageError: the run is unfinished, or the file is damaged.
        """
        return self._read_tensors(_WEIGHTS, self._read(_WEIGHTS))[0]

    def last_checkpoint(self, state: RunState) -> Checkpoint:
        """The checkpoint after the last epoch of a finished run, which it keeps.

        Args:
            state: of the folder.

        Raises:
            StorageError: it is missing or damaged.
        """
        found = self._read_checkpoint(checked=state.format > 1)
        if found is None or found.epochs != len(state.record.rows):
            raise StorageError(
                f"{self.path / CHECKPOINT}: missing, or not that of the last epoch; {self._remedy}"
            )
        return found

    def test_logits(self) -> NDArray[np.float32]:
        """(test images, classes) float32, of the final weights.

        Raises:
            StorageError: the run is unfinished, the file is damaged, or the run does not use the
                test set.
        """
        return self._read_logits(Split.TEST)

    def validation_logits(self) -> NDArray[np.float32]:
        """Likewise of the validation split: (validation images, classes) float32.

        In the order of :attr:`kilonet.data.RunData.validation_index`. Written for runs that do not
        use the test set alone.

        Raises:
            StorageError: as :meth:`test_logits`; or the run uses the test set.
        """
        return self._read_logits(Split.VALIDATION)

    def begin(self, run: Run, provenance: Provenance) -> None:
        """Write the spec and its provenance; remove the files of an earlier run.

        Raises:
            StorageError: the folder cannot be written, contains files that are not a run's, or
                contains results without their spec.
        """
        self.clear()
        spec = to_toml(run, folder=self.path).encode()
        self._write_provenance(provenance, spec_sha256=sha256(spec))
        self.write_file(SPEC, spec)

    def resume(self, state: RunState, provenance: Provenance) -> Provenance:
        """Prepare the folder for more epochs after ``state``.

        An older format is rewritten in the current one. If the environment has changed, the
        resumption is added to the run's provenance.

        Returns:
            The provenance of the run.
        """
        begun = state.record.provenance
        before = begun.resumed[-1] if begun.resumed else begun
        changed = _comparable(before) != _comparable(provenance)
        moved = begun.data.path != provenance.data.path
        if moved:  # the images, which are the same
            begun = replace(begun, data=replace(begun.data, path=provenance.data.path))
        if state.format < FORMAT and state.checkpoint is not None:
            self.save(state.checkpoint)
        if changed:
            last_epoch = len(state.record.rows) - 1
            resumption = replace(provenance, after_epoch=last_epoch)
            begun = replace(begun, resumed=(*begun.resumed, resumption))
        recorded = bool(begun.normalization.mean)
        if not recorded:  # by version 0.1; it continues with what it began with
            begun = replace(begun, normalization=provenance.normalization)
        if changed or moved or not recorded or state.format < FORMAT:
            # After the checkpoint: the format decides which checksums the other files must have.
            self._write_provenance(begun, spec_sha256=state.spec_sha256)
        return begun

    def save(self, checkpoint: Checkpoint) -> None:
        """Write the steps, the rows and, last, the state of a run after an epoch."""
        steps = {
            "loss": checkpoint.steps.loss,
            "correct": checkpoint.steps.correct,
            "epochs": np.array(checkpoint.epochs),
        }
        self.write_file(_STEPS, arrays_to_bytes(steps))
        self.write_file(_ROWS, rows_to_bytes(checkpoint.rows))
        metadata = {"epochs": str(checkpoint.epochs), "steps": str(len(checkpoint.steps.loss))}
        best = {f"{_BEST}{name}": array for name, array in checkpoint.best.items()}
        self.write_file(CHECKPOINT, tensors_to_bytes({**checkpoint.state, **best}, metadata))

    def finish(
        self, *, weights: Arrays, logits: NDArray[np.float32], split: Split = Split.TEST
    ) -> None:
        """Write the final weights and the logits of a split, which make the run finished."""
        self.write_file(_WEIGHTS, tensors_to_bytes(weights, {}))
        self.write_file(_LOGITS, arrays_to_bytes({_LOGITS_OF[split]: logits}))

    def clear(self) -> None:
        """Remove the files of an earlier run; raises as :meth:`begin`."""
        if not self.exists():
            self._refuse_other_files()
        # Without its spec a folder counts as empty. So the spec is removed last and written last:
        # at no instant does a folder count as empty and contain results.
        for name in (_LOGITS, _WEIGHTS, CHECKPOINT, _STEPS, _ROWS, SPEC):
            self._remove(name)

    def _read_spec(self) -> tuple[Run, dict[str, Any], str] | None:
        """The spec, the content of ``environment.json``, and the digest of the spec."""
        text = self.read_file(SPEC)
        if text is None:
            return None
        provenance = self.read_file(PROVENANCE)
        if provenance is None:
            # It is written first and never removed, so its absence is a user's doing.
            raise StorageError(
                f"{self.path / SPEC}: is not kilonet's, as {PROVENANCE} is missing; restore that "
                "from a copy, or name another folder"
            )
        try:
            content = json_from_bytes(provenance)
        except CorruptError as error:
            raise self._corrupt(PROVENANCE, str(error)) from None
        found = content.get("format")
        if found not in READABLE_FORMATS:
            raise self._unknown_format(PROVENANCE, found)
        for table in ("engine", "data"):
            if not isinstance(content.get(table), dict):
                raise self._corrupt(PROVENANCE, f"{table!r} is not a table")
        if not isinstance(content.get("resumed", []), list):
            raise self._corrupt(PROVENANCE, "'resumed' is not a list")
        if found > 1 and "run_sha256" not in content:
            raise self._corrupt(PROVENANCE, "'run_sha256' is missing")
        spec_sha256 = sha256(text)
        if found > 1 and content["run_sha256"] != spec_sha256:
            raise self._corrupt(SPEC)
        return parse_run(text, file=self.path / SPEC), content, spec_sha256

    def _read_rows(self, *, checked: bool) -> tuple[EpochRow, ...]:
        content = self.read_file(_ROWS)
        if content is None:
            return ()
        try:
            return rows_from_bytes(content, checked=checked)
        except CorruptError as error:
            raise self._corrupt(_ROWS, str(error)) from None

    def _read_checkpoint(self, *, checked: bool) -> Checkpoint | None:
        path = self.path / CHECKPOINT
        # In the opposite order of writing: if another process continues the run meanwhile, steps
        # and rows are ahead of the checkpoint, never behind.
        content = self.read_file(CHECKPOINT)
        rows = self._read_rows(checked=checked)
        if content is None:
            # A kill while the first epoch is saved leaves one row and no checkpoint, never more
            # rows. If the checkpoint exists by now, another process continues the run.
            if len(rows) > 1 and not is_file(path):
                raise StorageError(
                    f"{path}: missing, though {_ROWS} has {len(rows)} epochs; {self._remedy}"
                )
            return None
        state, metadata = self._read_tensors(CHECKPOINT, content)
        epochs = int(metadata["epochs"]) if metadata.get("epochs", "").isdecimal() else -1
        arrays = self._read_arrays(_STEPS, ("loss", "correct", "epochs"))
        loss, correct = arrays["loss"].astype(np.float64), arrays["correct"].astype(np.int64)
        # Steps and rows are one epoch ahead if the run was interrupted before its checkpoint.
        if "steps" in metadata:
            steps, odd = int(metadata["steps"]) if metadata["steps"].isdecimal() else -1, 0
        else:  # of version 0.2, whose epochs have equal numbers of steps
            steps, odd = divmod(len(loss) * epochs, max(1, int(arrays["epochs"])))
        if not 1 <= epochs <= len(rows) or odd or not 0 <= steps <= len(loss) == len(correct):
            raise StorageError(f"{path}: does not match {_ROWS} and {_STEPS}; {self._remedy}")
        return Checkpoint(
            epochs=epochs,
            state={n: array for n, array in state.items() if not n.startswith(_BEST)},
            best={n[len(_BEST) :]: array for n, array in state.items() if n.startswith(_BEST)},
            rows=rows[:epochs],
            steps=StepLog(loss=loss[:steps], correct=correct[:steps]),
        )

    def _read_tensors(
        self, name: str, content: bytes
    ) -> tuple[dict[str, NDArray[np.generic]], dict[str, str]]:
        try:
            tensors, metadata = tensors_from_bytes(content)
        except CorruptError:
            raise self._corrupt(name) from None
        if metadata.get("format") not in {str(known) for known in READABLE_FORMATS}:
            raise self._unknown_format(name, metadata.get("format"))
        return tensors, metadata

    def _read_logits(self, split: Split) -> NDArray[np.float32]:
        content = self._read(_LOGITS)
        key = _LOGITS_OF[split]
        try:
            return arrays_from_bytes(content, names=(key,))[key].astype(np.float32)
        except CorruptError:
            tested = self.record().run.data.test
            if tested is (split is Split.TEST):
                raise self._corrupt(_LOGITS) from None
        raise StorageError(
            f"{self.path / _LOGITS}: has the logits of the {'test set' if tested else 'validation'}"
            f"{'' if tested else ' split'} alone: data.test = {str(tested).lower()}"
        )

    def _read_arrays(self, name: str, keys: tuple[str, ...]) -> dict[str, NDArray[np.generic]]:
        try:
            return arrays_from_bytes(self._read(name), names=keys)
        except CorruptError:
            raise self._corrupt(name) from None

    def _read(self, name: str) -> bytes:
        content = self.read_file(name)
        if content is None:
            ends = name in (_WEIGHTS, _LOGITS) and is_file(self.path / CHECKPOINT)
            how = f": {self.record().resume_command} completes it" if ends else ""
            raise StorageError(
                f"{self.path / name}: missing; the run is unfinished or damaged{how}"
            )
        return content

    def read_file(self, name: str) -> bytes | None:
        """A file's content, unchecked; None if there is no such file."""
        path = self.path / name
        try:
            return path.read_bytes()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise unreadable(path, error) from None

    def _write_provenance(self, provenance: Provenance, *, spec_sha256: str) -> None:
        content = {"format": FORMAT, "run_sha256": spec_sha256, **provenance.to_json()}
        self.write_file(PROVENANCE, json_to_bytes(content))

    def write_file(self, name: str, content: bytes) -> None:
        """Write a file as a whole or not at all."""
        write_atomically(self.path / name, content)

    def _remove(self, name: str) -> None:
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path / name}: cannot be removed: {error.strerror}") from None

    def _refuse_other_files(self) -> None:
        """Refuse a folder without a spec that contains more than a killed process leaves."""
        names = [name for name in names_in(self.path) if not is_temporary(name)]
        others = [name for name in names if name not in FILES]
        if others:
            raise StorageError(
                f"{self.path}: contains {others[0]!r}, which is not a run's; name another folder"
            )
        for name in (_WEIGHTS, CHECKPOINT, _LOGITS, _STEPS, _ROWS):
            if name in names:
                raise StorageError(
                    f"{self.path / SPEC}: missing, though {name} exists; restore it from a "
                    "copy, or name another folder"
                )
        content = self.read_file(PROVENANCE)
        if content is not None and b'"format"' not in content:
            raise StorageError(
                f"{self.path}: contains {PROVENANCE!r}, which is not a run's; name another folder"
            )

    @property
    def _remedy(self) -> str:
        return f"restore it from a copy, or remove {self.path} to train the run again"

    def _corrupt(self, name: str, where: str = "") -> StorageError:
        where = f" ({where})" if where else ""
        return StorageError(f"{self.path / name}: truncated or altered{where}; {self._remedy}")

    def _unknown_format(self, name: str, found: object) -> StorageError:
        return StorageError(
            f"{self.path / name}: format {found!r}, but this kilonet reads formats "
            f"{READABLE_FORMATS[0]} to {READABLE_FORMATS[-1]}; use the version that wrote it, or "
            "another folder"
        )


def _comparable(provenance: Provenance) -> Provenance:
    """The environment alone, without where the images are."""
    return replace(provenance, data=replace(provenance.data, path=""), **_UNCOMPARED)


def sha256(content: bytes) -> str:
    """The digest that ``environment.json`` records of ``run.toml``, in hex."""
    return hashlib.sha256(content).hexdigest()
