"""A search on a console: a line a trial, one screen at most, and a final table."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from kilonet.report.terminal import search_progress
from kilonet.report.terminal.search_progress import SearchProgress
from kilonet.search.observer import METHODS, SearchRun
from kilonet.search.result import SearchResult, State
from kilonet.storage.record import EpochRow
from search_results import FOLDER, made_search

SEARCH = made_search()
SCREEN = 34


class Player:
    """An observer with its console's output."""

    def __init__(
        self, *, terminal: bool = False, width: int = 80, height: int = SCREEN, quiet: bool = False
    ) -> None:
        self.file = io.StringIO()
        self.console = Console(
            file=self.file,
            force_terminal=terminal,
            width=width,
            height=height,
            color_system=None,
            highlight=False,
        )
        self.progress = SearchProgress(self.console, quiet=quiet)

    def begin(self, number: int, *, rung: int = 0, seed: int | None = None) -> SearchRun:
        """A training begins, and takes a step."""
        run = SEARCH.trials[number].run
        assert run is not None
        if seed is not None:
            run = run.replace({"train.seed": seed})
        folder = FOLDER / "runs" / f"{number}-{rung}-{seed}"
        found = SearchRun(
            run=run,
            folder=folder,
            number=number,
            rung=rung,
            num_rungs=3,
            confirms=seed is not None,
        )
        bar = self.progress.begin_run(found)
        bar.begin(run, engine="native", folder=folder, epochs_done=0)
        bar.begin_epoch(0, num_steps=10)
        bar.step(step=0, batch=4, loss=0.5, accuracy=91.25, lr=0.1)
        return found

    def screen(self) -> str:
        """The live display as of now."""
        with self.console.capture() as capture:
            self.console.print(self.progress._display.render())
        return capture.get()

    def shown(self) -> str:
        return self.file.getvalue()


@pytest.fixture(autouse=True)
def _no_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_progress, "report_search", lambda result: None)


def so_far(number: int) -> SearchResult:
    """The search when the first trials had ended, before confirmation."""
    return replace(SEARCH, trials=SEARCH.trials[:number], confirmed=(), tomls={}, study_toml=None)


def first(state: State) -> int:
    return next(trial.number for trial in SEARCH.trials if trial.state is state)


def test_it_has_every_method_of_an_observer() -> None:
    assert all(name in vars(SearchProgress) for name in METHODS)


def test_a_trial_at_full_length_has_a_line() -> None:
    player, number = Player(), first(State.COMPLETE)
    player.begin(number)
    player.progress.update(so_far(number + 1))
    trial = SEARCH.trials[number]
    assert player.shown() == (
        f"Trial {number}: {trial.accuracy:.2f}% after 15 epochs, {trial.parameters:,} parameters, "
        "the best so far\n"
    )
    player.progress.update(so_far(number + 1))
    assert player.shown().count("\n") == 1  # once


def test_a_stopped_trial_has_a_line_in_a_file_alone() -> None:
    number = first(State.PRUNED)
    for terminal in (False, True):
        player = Player(terminal=terminal)
        player.begin(number)
        player.progress.update(so_far(number + 1))
        stopped = f"Trial {number}: {SEARCH.trials[number].accuracy:.2f}%, stopped after 2 epochs\n"
        assert player.shown() == ("" if terminal else stopped)


def test_trials_of_before_and_of_other_processes_have_no_line() -> None:
    player = Player()
    player.progress.update(so_far(40))
    assert player.shown() == ""
    assert f"{so_far(40).trained} of 60 trials" in player.screen()


@pytest.mark.parametrize(("width", "height"), [(80, 24), (60, 12), (120, 34)])
def test_the_display_fits_the_screen(width: int, height: int) -> None:
    player = Player(terminal=True, width=width, height=height)
    player.begin(12)
    player.begin(13)
    player.progress.update(SEARCH)
    lines = player.screen().splitlines()
    assert len(lines) <= height
    assert all(len(line.rstrip()) <= width for line in lines)
    text = "\n".join(lines)
    assert "60 of 60 trials" in text
    assert "Trial 12, rung 1 of 3" in text
    assert f"{SEARCH.front[-1].parameters:,}" in text
    assert "Ctrl-C stops" in lines[-1]


def test_a_bar_shows_the_validation_accuracy_and_goes() -> None:
    player = Player(terminal=True)
    found = player.begin(12)
    assert "train 91.25%" in player.screen()
    row = EpochRow(
        epoch=0,
        train_accuracy=91.0,
        train_loss=0.3,
        test_accuracy=None,
        test_loss=None,
        validation_accuracy=95.5,
        validation_loss=0.2,
        lr=0.1,
        seconds=1.0,
    )
    player.progress._bars[found.folder].end_epoch(row, correct=9100, count=10000)
    assert "validation 95.50%" in player.screen()
    player.progress.fail_run(found, "the loss is not finite")
    assert "rung 1" not in player.screen()
    assert player.shown() == "Trial 12, rung 1 of 3 failed: the loss is not finite\n"


def test_the_beginning_and_the_confirmation() -> None:
    player = Player()
    player.progress.begin_search(
        SEARCH.space,
        folder=Path("kilonet-searches/small"),
        engine="native",
        num_trials=60,
        num_jobs=2,
    )
    runs = [player.begin(14, rung=2, seed=seed) for seed in (1001, 1002)]
    player.progress.begin_confirmation(runs)
    assert player.shown().splitlines() == [
        "native: small, 60 trials, at most 6,000 parameters, 2 at a time",
        "Folder: kilonet-searches/small",
        "Confirming 1 network with fresh seeds: 2 runs",
    ]
    assert "Trial 14, seed 1001" in player.screen()


@pytest.mark.parametrize("terminal", [True, False])
def test_the_final_table_fits_a_screen(terminal: bool) -> None:
    player = Player(terminal=terminal)
    data = player.progress.finish(SEARCH)
    lines = player.shown().splitlines()
    assert len(lines) <= SCREEN
    text = player.shown()
    assert "the test set was not read" in text
    assert f"kilonet train {FOLDER / 'networks' / 'best-1.toml'} --seeds 5" in text
    assert f"Report: {FOLDER / 'report.html'}" in text
    assert data["best"]["trial"] == SEARCH.confirmed[0].trial.number
    if not terminal:
        assert not any(line.endswith(" ") for line in lines)
        assert text.isascii()


def test_quiet_prints_the_table_and_the_report_alone() -> None:
    player = Player(quiet=True)
    number = first(State.COMPLETE)
    player.begin(number)
    player.progress.update(so_far(number + 1))
    assert player.shown() == ""
    player.progress.finish(SEARCH)
    assert "were confirmed" not in player.shown()
    assert "best-1.toml" in player.shown()


def test_a_search_with_nothing_to_report_has_no_report() -> None:
    player = Player()
    result = replace(so_far(0), num_trials=5)
    data = player.progress.finish(result)
    assert data["best"] is None
    assert player.progress.report_error is None
    assert "Report" not in player.shown()
    assert "no best network" in player.shown()


@pytest.mark.parametrize("error", [OSError("disk full"), ValueError("a fault"), MemoryError()])
def test_a_report_that_fails_is_one_line(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(result: SearchResult) -> None:
        raise error

    monkeypatch.setattr(search_progress, "report_search", fail)
    player = Player()
    player.progress.finish(SEARCH)
    assert player.progress.report_error is not None
    assert "\n" not in player.progress.report_error
    assert f"kilonet report {FOLDER}" in player.progress.report_error
    assert "Report: " not in player.shown()
