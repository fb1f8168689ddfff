"""The live display, on a terminal and off it."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from kilonet.report.terminal.run_progress import RunProgress
from kilonet.spec import load_run
from kilonet.storage.record import EpochRow

RUN = load_run("interim")
ROW = EpochRow(
    epoch=0,
    train_accuracy=88.16,
    train_loss=0.4,
    test_accuracy=97.17,
    test_loss=0.10304,
    lr=0.01,
    seconds=9.0,
)


def show(*, terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=120, color_system=None)
    with RunProgress(console) as live:
        live.begin(RUN, engine="torch on cpu", folder=Path("here"), epochs_done=0)
        live.begin_epoch(0, num_steps=469)
        for batch in range(469):
            live.step(step=batch, batch=batch, loss=0.1259, accuracy=88.164, lr=0.01)
        live._progress.refresh()
        live.end_epoch(ROW, correct=9717, count=10000)
    return file.getvalue()


TEST_LINE = "Test set: Average loss: 0.1030, Accuracy: 9717/10000 (97.17%)"


def test_on_a_terminal_there_is_the_notebooks_bar() -> None:
    shown = show(terminal=True)
    assert "Loss=0.1259 Batch_id=468 Accuracy=88.16" in shown
    assert "469/469" in shown
    assert TEST_LINE in shown


def test_elsewhere_only_lines_remain() -> None:
    shown = show(terminal=False)
    assert "Batch_id" not in shown
    assert "\x1b" not in shown
    assert shown.splitlines() == [
        "Training with torch on cpu: seed 1, folder here",
        f"Epoch 0: train 88.16%. {TEST_LINE}",
    ]


def test_a_resumed_run_prints_the_epoch() -> None:
    file = io.StringIO()
    with RunProgress(Console(file=file, width=120)) as live:
        live.begin(RUN, engine="torch on cpu", folder=Path("here"), epochs_done=3)
    assert "resumes after epoch 2" in file.getvalue()


def test_a_bar_that_is_cut_off_is_taken_away() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=120, color_system=None)
    live = RunProgress(console)
    with live:
        live.begin_epoch(0, num_steps=10)
        live.step(step=0, batch=0, loss=1.0, accuracy=10.0, lr=0.01)
    assert live._progress.tasks == []


def test_lines_break_between_words_on_a_narrow_terminal() -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=60, color_system=None)
    RunProgress(console).end_epoch(ROW, correct=9717, count=10000)
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= 60
    assert " ".join(" ".join(lines).split()) == f"Epoch 0: train 88.16%. {TEST_LINE}"
