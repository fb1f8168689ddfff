"""The best networks of a search: as runs for ``kilonet train``, and as one study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kilonet.errors import SpecError, StorageError
from kilonet.formatting import count, percent
from kilonet.search.folder import NETWORKS
from kilonet.search.result import Candidate, Confirmed, SearchResult, SearchTrial, State
from kilonet.spec import InvalidSpecError, Run, Stage, Study, to_toml
from kilonet.storage.atomic import write_atomically

STUDY = "study.toml"


def to_confirm(result: SearchResult, *, number: int) -> list[SearchTrial]:
    """The trials to confirm: half of them the most accurate ones, the others the next of the front.

    So both the winner and the smaller networks that are nearly as good are more than one lucky run.
    They are trials that were trained at full length; where those are fewer, the best that were
    stopped at the longest rung follow.
    """
    ranked = result.complete
    stopped = sorted(
        (trial for trial in result.trials if trial.state is State.PRUNED and trial.rungs),
        key=lambda trial: (-trial.rungs[-1].epochs, -(trial.accuracy or 0.0), trial.number),
    )
    chosen = list(ranked[: math.ceil(number / 2)])
    front: list[SearchTrial] = []
    for trial in ranked:  # most accurate first: on the front if smaller than all before it
        if all((trial.parameters or 0) < (other.parameters or 0) for other in front):
            front.append(trial)
    for trial in [*front, *ranked, *stopped]:
        if len(chosen) < number and trial not in chosen:
            chosen.append(trial)
    return chosen


def best_networks(result: SearchResult) -> list[Candidate]:
    """The networks that get a file: confirmed ones, best first, then the rest of the front."""
    confirmed = [result.candidate(each.trial) for each in result.confirmed]
    numbers = {each.trial.number for each in confirmed}
    rest = [each for each in result.front if each.trial.number not in numbers]
    if not confirmed and result.best is not None:
        best = result.best
        rest = [best, *(each for each in rest if each.trial.number != best.trial.number)]
    return [*confirmed, *rest]


def run_to_train(run: Run) -> Run:
    """A trial's run as it is trained for good: on all training images, with the test set read.

    A run whose training needs the validation split, as for a plateau schedule, keeps it.
    """
    final = run.replace({"data.test": True, "train.seed": 1})
    try:
        return final.replace({"data.validation": 0})
    except InvalidSpecError:
        return final


def write_networks(result: SearchResult, *, seeds: int) -> dict[int, Path]:
    """Write ``networks/best-1.toml``, … and ``networks/study.toml``.

    Args:
        result: of the search.
        seeds: of the study.

    Returns:
        Number of a trial → the file of its run.

    Raises:
        StorageError: they cannot be written.
    """
    folder = result.path / NETWORKS
    candidates = best_networks(result)
    files: dict[int, Path] = {}
    for i, candidate in enumerate(candidates):
        file = folder / f"best-{i + 1}.toml"
        assert candidate.trial.run is not None
        run = to_toml(run_to_train(candidate.trial.run), folder=folder)
        write_atomically(file, f"# {_description(candidate, result)}\n\n{run}")
        files[candidate.trial.number] = file
    _remove_others(folder, keep={file.name for file in files.values()})
    if candidates:
        study = study_of(result, candidates, seeds=seeds)
        head = f"# The best networks of the search {result.space.name}, each a stage."
        write_atomically(folder / STUDY, f"{head}\n\n{to_toml(study, folder=folder)}")
    return files


def study_of(result: SearchResult, candidates: Sequence[Candidate], *, seeds: int) -> Study:
    """A study whose stages are these networks; the first one is its base run."""
    runs = [run_to_train(_run(candidate.trial)) for candidate in candidates]
    base = runs[0]
    stages = [Stage(name=f"Trial {candidates[0].trial.number}", target=_figures(candidates[0]))]
    before = base
    for candidate, run in zip(candidates[1:], runs[1:], strict=True):
        change = _change(before, run)
        if not change:
            continue  # the same but for what a study sets itself
        try:
            reached = before.replace(change)
        except SpecError:
            continue
        if reached == run:
            name = f"Trial {candidate.trial.number}"
            stages.append(Stage(name=name, target=_figures(candidate), change=change))
            before = run
    epochs = max(run.train.epochs for run in runs)
    parameters = result.space.budget.parameters
    # What the best has reached on the validation split, rounded down: a target that can be missed.
    target = math.floor(10 * candidates[0].validation_accuracy) / 10
    return Study(
        name=f"{result.space.name}-best",
        target=max(target, 1.1),
        budget={"epochs": epochs} | ({} if parameters is None else {"parameters": parameters}),
        seeds=seeds,
        net=base.net,
        data=base.data,
        train=base.train.replace({"seed": 1}),
        stage=stages,
    )


def _run(trial: SearchTrial) -> Run:
    assert trial.run is not None
    return trial.run


def _change(before: Run, after: Run) -> dict[str, Any]:
    """The values of a run's sections that differ, whole, by their paths."""
    changes: dict[str, Any] = {}
    for part in ("net", "data", "train"):
        old, new = (getattr(run, part).to_dict() for run in (before, after))
        for key in {**old, **new}:
            if old.get(key) == new.get(key):
                continue
            # TOML has no null; "none" is how an averaging is turned off.
            changes[f"{part}.{key}"] = new.get(key, "none")
    return changes


def _figures(candidate: Candidate) -> str:
    accuracy = percent(candidate.validation_accuracy)
    size = f"{candidate.parameters:,} parameters, {candidate.macs:,} multiply-adds"
    return f"{size}; validation accuracy {accuracy}, {_basis(candidate.confirmed)}."


def _description(candidate: Candidate, result: SearchResult) -> str:
    return (
        f"Trial {candidate.trial.number} of the search {result.space.name}: {_figures(candidate)}"
    )


def _basis(confirmed: Confirmed | None) -> str:
    if confirmed is None:
        return "of a single run, by which it was chosen"
    return f"the mean of {count(len(confirmed.seeds), 'fresh seed')}"


def _remove_others(folder: Path, *, keep: set[str]) -> None:
    """Remove the files of networks that were among the best earlier in the search."""
    try:
        for file in folder.glob("best-*.toml"):
            if file.name not in keep:
                file.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror}") from None
