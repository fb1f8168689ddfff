"""The front of a search, what is confirmed, and the networks that get a file."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonet.search.folder import mean_interval
from kilonet.search.networks import run_to_train, study_of, to_confirm, write_networks
from kilonet.search.result import Candidate, Confirmed, Rung, SearchResult, SearchTrial, State
from kilonet.search.space import Space
from kilonet.spec import load_run, load_study
from small_spaces import small_space

SPACE = small_space()
_rng = random.Random(0)
RUNS = [run for run in (SPACE.draw(_rng).run for _ in range(12)) if run is not None]


def trial(number: int, parameters: int, accuracy: float, *, epochs: int = 4) -> SearchTrial:
    rung = Rung(
        epochs=epochs, images=540, accuracy=accuracy, loss=0.1, seconds=1.0, folder=Path("x")
    )
    return SearchTrial(
        number=number,
        state=State.COMPLETE if epochs == 4 else State.PRUNED,
        values={},
        run=RUNS[number % len(RUNS)],
        parameters=parameters,
        macs=10 * parameters,
        rungs=(rung,),
        ended=float(number),
    )


def confirmed(trial: SearchTrial, *accuracies: float) -> Confirmed:
    return Confirmed(
        trial=trial,
        seeds=tuple(range(len(accuracies))),
        accuracies=accuracies,
        folders=(Path("x"),) * len(accuracies),
        ci95=mean_interval(accuracies),
    )


def result(*trials: SearchTrial, confirming: tuple[Confirmed, ...] = ()) -> SearchResult:
    return SearchResult(
        space=SPACE,
        path=Path("search"),
        num_trials=len(trials),
        seconds=1.0,
        trials=trials,
        confirmed=tuple(sorted(confirming, key=lambda each: -each.mean)),
    )


def numbers(candidates: tuple[Candidate, ...]) -> list[int]:
    return [each.trial.number for each in candidates]


def test_the_front_of_single_runs() -> None:
    found = result(trial(0, 500, 97), trial(1, 400, 98), trial(2, 900, 99), trial(3, 950, 99))
    assert numbers(found.front) == [1, 2]
    assert found.best is not None
    assert found.best.trial.number == 2  # as accurate as the third, with fewer parameters
    assert found.best.ci95 is None


def test_a_lucky_run_does_not_push_out_a_confirmed_network() -> None:
    trials = [trial(0, 900, 99.0), trial(1, 800, 99.5), trial(2, 300, 97.0), trial(3, 200, 99.4)]
    found = result(*trials, confirming=(confirmed(trials[0], 98.0, 98.2),))
    assert numbers(found.front) == [2, 0]
    assert found.best is not None
    assert found.best.validation_accuracy == pytest.approx(98.1)


def test_the_winner_is_the_best_mean() -> None:
    trials = [trial(0, 900, 99.9), trial(1, 800, 99.0)]
    found = result(
        *trials, confirming=(confirmed(trials[0], 98.0, 98.0), confirmed(trials[1], 98.5, 98.5))
    )
    assert found.best is not None
    assert found.best.trial.number == 1
    assert numbers(found.front) == [1]


@given(
    st.lists(st.tuples(st.integers(100, 110), st.floats(90, 100)), min_size=1, max_size=12),
    st.sets(st.integers(0, 11)),
)
def test_no_network_of_the_front_equals_a_smaller_one(
    sizes: list[tuple[int, float]], which: set[int]
) -> None:
    trials = [trial(i, *size) for i, size in enumerate(sizes)]
    confirming = tuple(
        confirmed(trials[i], trials[i].accuracy - 1.0) for i in which if i < len(trials)
    )
    found = result(*trials, confirming=confirming)
    front = [(each.parameters, each.validation_accuracy) for each in found.front]
    assert front == sorted(front)
    assert (
        len({size for size, _ in front}) == len({accuracy for _, accuracy in front}) == len(front)
    )
    assert found.best is not None
    assert found.best.validation_accuracy == front[-1][1]
    # None of those that compete is better than the front where the front ends.
    pool = [(c.trial.parameters, c.mean) for c in confirming] or sizes
    for size, accuracy in pool:
        assert any(s <= size and a >= accuracy for s, a in front)


def test_what_is_confirmed() -> None:
    """Half of them the most accurate, then smaller ones of the front, then what was stopped."""
    trials = [
        trial(0, 900, 99.0),
        trial(1, 890, 98.9),
        trial(2, 880, 98.8),
        trial(3, 300, 97.0),
        trial(4, 950, 98.0),
        trial(5, 100, 99.9, epochs=1),
        trial(6, 100, 50.0, epochs=2),
    ]
    found = result(*trials)
    assert [each.number for each in to_confirm(found, number=3)] == [0, 1, 2]
    assert [each.number for each in to_confirm(found, number=4)] == [0, 1, 2, 3]
    assert [each.number for each in to_confirm(found, number=7)] == [0, 1, 2, 4, 3, 6, 5]
    assert [each.number for each in to_confirm(found, number=20)] == [0, 1, 2, 4, 3, 6, 5]
    assert to_confirm(found, number=0) == []


def test_the_interval_is_students() -> None:
    # By hand: mean 99, standard deviation 1, t(0.975, 2) = 4.3027, divided by √3.
    low, high = mean_interval([98.0, 99.0, 100.0]) or (0, 0)
    assert (low, high) == (pytest.approx(99 - 2.48414, abs=1e-4), 100.0)
    assert mean_interval([98.0]) is None
    assert mean_interval([98.0, 98.0]) is None


def test_a_plateau_keeps_its_validation_split() -> None:
    run = RUNS[0].replace({"train.schedule": "plateau"})
    assert run_to_train(run).data.validation == 100
    assert run_to_train(run).data.test
    assert run_to_train(RUNS[0]).data.validation == 0


def test_networks_are_written_and_old_ones_removed(tmp_path: Path) -> None:
    trials = [trial(i, 900 - 100 * i, 99.0 - i) for i in range(3)]
    found = result(*trials, confirming=(confirmed(trials[0], 98.0, 98.2),))
    object.__setattr__(found, "path", tmp_path)
    (tmp_path / "networks").mkdir()
    (tmp_path / "networks" / "best-9.toml").write_text("old")
    files = write_networks(found, seeds=3)
    assert sorted(p.name for p in (tmp_path / "networks").iterdir()) == [
        *("best-1.toml", "best-2.toml", "best-3.toml", "study.toml"),
    ]
    for number, file in files.items():
        assert load_run(str(file)) == run_to_train(RUNS[number])
    assert "the mean of 2 fresh seeds" in files[0].read_text()
    assert "of a single run, by which it was chosen" in files[1].read_text()
    study = load_study(str(tmp_path / "networks" / "study.toml"))
    in_order = [RUNS[0], RUNS[2], RUNS[1]]  # the confirmed one, then the front, smallest first
    distinct = list(dict.fromkeys(run_to_train(run).content_hash for run in in_order))
    assert [stage.run.content_hash for stage in study.stages] == distinct
    assert (study.seeds, study.target) == (3, 98.1)


def test_a_study_of_networks_of_other_kinds() -> None:
    """Another optimizer, schedule, average and augmentation in each stage."""
    kinds = [
        {"train.optimizer": "adamw", "train.average": "ema"},
        {"train.schedule": {"name": "cosine"}},
        {"data.augment": [{"name": "rotation", "degrees": 7}], "net.block": ["conv", "silu"]},
    ]
    runs = [RUNS[0], *(RUNS[0].replace(kind) for kind in kinds)]
    trials = [
        SearchTrial(**{**vars(trial(i, 900 - i, 99.0 - i)), "run": run})
        for i, run in enumerate(runs)
    ]
    candidates = [Candidate(trial=each, confirmed=None) for each in trials]
    study = study_of(result(*trials), candidates, seeds=2)
    assert [stage.run for stage in study.stages] == [run_to_train(run) for run in runs]


def test_the_course_and_the_frame(space: Space) -> None:
    pytest.importorskip("pandas")
    trials = [trial(0, 500, 97), trial(1, 400, 99, epochs=1), trial(2, 900, 98)]
    found = result(*trials)
    assert [(p.number, p.trained, p.accuracy, p.best) for p in found.course] == [
        (0, 1, 97, 97),
        (1, 2, None, 97),
        (2, 3, 98, 98),
    ]
    frame = found.to_frame()
    assert list(frame["state"]) == ["complete", "pruned", "complete"]
    assert "choose.width" in frame
