"""A study on a console: in the order of the ladder, whatever order its tasks end in."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from kilonet.record import EpochRow
from kilonet.report.climb import Climb
from kilonet.report.display import TaskBar
from kilonet.report.figures import learning_curves
from kilonet.report.rebuild import analyse_records, write_reports
from kilonet.spec import Run, Study
from kilonet.store import RunFolder
from kilonet.study import RungResult, StudyResult, run_study
from kilonet.tasks import Failure, Task


@pytest.fixture(scope="module")
def result(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> StudyResult:
    base = small_run.replace({"net.block": ["conv", "relu"], "train.epochs": 1})
    study = Study(
        name="small",
        target=50.0,
        seeds=2,
        net=base.net,
        data=base.data,
        train=base.train,
        step=[
            {"name": "First", "change": {"net.block": ["conv", "relu", "batchnorm"]}},
            {"name": "Second", "change": {"train.batch_size": 32}},
        ],
    )
    return run_study(study, folder=tmp_path_factory.mktemp("climb") / "s", jobs=1)


class Play:
    """Tells a climb of a study that has run, event by event, in any order."""

    def __init__(self, result: StudyResult, *, terminal: bool = False) -> None:
        self.result = result
        self.file = io.StringIO()
        console = Console(file=self.file, force_terminal=terminal, width=130, color_system=None)
        self.climb = Climb(result.study, console)
        self.bars: dict[tuple[int, int], TaskBar] = {}
        self.climb.begin_study(
            engine="native", tasks=[self.task(*key) for key in self.keys], num_jobs=2
        )

    keys = ((1, 1), (1, 2), (2, 1), (2, 2))

    def task(self, rung: int, seed: int) -> Task:
        ran = self.result.rungs[rung - 1]
        return Task(rung=ran.rung, seed=seed, folder=ran.records[seed - 1].path)

    def begin(self, rung: int, seed: int) -> None:
        task = self.task(rung, seed)
        bar = self.climb.begin_task(task)
        assert isinstance(bar, TaskBar)
        bar.begin(
            task.rung.seeded(seed), engine="native", folder=Path(f"{rung}-{seed}"), epochs_done=0
        )
        bar.begin_epoch(0, num_steps=10)
        bar.step(batch=4, loss=0.5, accuracy=80.0)
        self.bars[rung, seed] = bar

    def epoch(self, rung: int, seed: int) -> None:
        [row] = self.result.rungs[rung - 1].records[seed - 1].rows
        self.bars[rung, seed].end_epoch(row, correct=round(2 * row.test_accuracy), count=200)

    def end(self, rung: int, seed: int) -> None:
        task = self.task(rung, seed)
        self.climb.end_task(task, RunFolder(task.folder).record())

    def verdict(self, *rungs: int) -> None:
        chosen = tuple(ran for ran in self.result.rungs if ran.rung.number in rungs)
        so_far = StudyResult(study=self.result.study, path=self.result.path, rungs=chosen)
        self.climb.end_rung(so_far)

    def shown(self) -> str:
        return self.file.getvalue()


def in_turn(result: StudyResult) -> str:
    play = Play(result)
    for rung in (1, 2):
        for seed in (1, 2):
            play.begin(rung, seed)
            play.epoch(rung, seed)
            play.end(rung, seed)
        play.verdict(*range(1, rung + 1))
    return play.shown()


def test_in_any_order_it_reads_as_one_after_another(result: StudyResult) -> None:
    expected = in_turn(result)
    assert expected.splitlines()[0] == "native: 4 runs to train, 2 at a time"
    wanted = ["Rung 1 of 2: First", "folder 1-1", "folder 1-2", "1. First", "Rung 2 of 2", "2-1"]
    places = [expected.index(text) for text in wanted]
    assert places == sorted(places)
    play = Play(result)
    play.begin(1, 1)
    play.begin(1, 2)
    play.epoch(1, 2)
    assert "1-2" not in play.shown()
    play.end(1, 2)
    play.begin(2, 1)
    play.begin(2, 2)
    play.epoch(2, 2)
    play.end(2, 2)
    play.epoch(1, 1)
    play.end(1, 1)
    assert "folder 1-2" in play.shown()
    assert "folder 2-1" not in play.shown()
    play.verdict(1)
    assert "folder 2-1" in play.shown()
    assert "folder 2-2" not in play.shown()
    play.epoch(2, 1)
    play.end(2, 1)
    play.verdict(1, 2)
    assert play.shown() == expected


def test_a_failed_seed_has_its_place_and_its_rung_no_verdict(result: StudyResult) -> None:
    play = Play(result)
    play.begin(1, 1)
    play.begin(1, 2)
    play.climb.fail_task(Failure(task=play.task(1, 2), reason="its process was killed"))
    for seed in (1, 2):
        play.begin(2, seed)
        play.end(2, seed)
    assert "failed" not in play.shown()
    play.end(1, 1)
    play.verdict(2)
    shown = play.shown()
    wanted = ["Seed 1: ", "Seed 2 failed: its process was killed", "Rung 2 of 2", "2. Second"]
    places = [shown.index(text) for text in wanted]
    assert places == sorted(places)
    found = play.climb.conclude(
        StudyResult(study=result.study, path=result.path, rungs=result.rungs[1:])
    )
    assert [step["name"] for step in found["steps"]] == ["Second"]
    assert "Not every seed is finished, and so left out: rung 1 (First)." in play.shown()


def test_runs_that_were_trained_before_say_so(result: StudyResult) -> None:
    play = Play(result)
    play.climb.begin_task(play.task(1, 1))
    play.end(1, 1)
    assert "Seed 1, trained before: " in play.shown()


def test_a_terminal_shows_bars_the_ladder_and_the_time_left(
    result: StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("kilonet.report.display.time.perf_counter", lambda: now)
    play = Play(result, terminal=True)
    play.begin(1, 1)
    play.begin(1, 2)
    now = 160.0
    screen = Console(file=io.StringIO(), width=130, color_system=None)

    def foot() -> str:
        with screen.capture() as capture:
            screen.print(play.climb._display.render())
        return capture.get()

    text = foot()
    assert "1. First, seed 1" in text
    assert "1. First, seed 2" in text
    assert "epoch 0 of 1, loss 0.5000, accuracy 80.00%" in text
    # A quarter of the work in a minute: half of each of two runs of four.
    assert "about 0:03:00 left" in text
    play.epoch(1, 1)
    play.end(1, 1)
    text = foot()
    assert "seed 1" not in text
    assert "1 of 2" in text
    assert f"{result.rungs[0].records[0].final_test_accuracy:.2f}%" in text
    play.climb.fail_task(Failure(task=play.task(1, 2), reason="none"))
    assert "1 of 2, 1 failed" in foot()


def test_bars_are_shown_on_a_terminal_alone(result: StudyResult) -> None:
    play = Play(result, terminal=True)
    with play.climb:
        play.begin(1, 1)
    assert "Mean final accuracy" in play.shown()
    play = Play(result)
    with play.climb:
        play.begin(1, 1)
    assert "Mean final accuracy" not in play.shown()


@pytest.mark.parametrize("width", [60, 80, 130])
def test_a_bar_and_its_seed_are_seen_at_any_width(result: StudyResult, width: int) -> None:
    long = result.study.replace({"step.0.name": "A step with quite a long name indeed, " * 3})
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    climb = Climb(long, console)
    climb.begin_study(engine="native", tasks=[], num_jobs=1)
    task = Task(rung=long.rungs[0], seed=2, folder=Path("x"))
    bar = climb.begin_task(task)
    bar.begin(task.rung.seeded(2), engine="native", folder=Path("x"), epochs_done=0)
    bar.begin_epoch(0, num_steps=10)
    bar.step(batch=4, loss=0.5, accuracy=80.0)
    with console.capture() as capture:
        console.print(climb._display.render())
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    [line] = [line for line in lines if ", seed 2 " in line]
    assert line.count("━") + line.count("╸") + line.count("╺") >= 10
    assert "epoch 0 of 1" in line
    # Short, so that the terminal's own ^C behind it begins no new line.
    assert lines[-1].rstrip() == "Ctrl-C stops; the same command goes on"


def test_a_long_ladder_leaves_room_for_the_bars(result: StudyResult) -> None:
    step = result.study.to_dict()["step"][0]
    steps = [{**step, "name": f"Rung of many {i}, with a name " * 4} for i in range(1, 41)]
    study = Study.from_dict({**result.study.to_dict(), "step": steps})
    console = Console(
        file=io.StringIO(), width=80, height=20, force_terminal=True, color_system=None
    )
    climb = Climb(study, console)
    record = result.rungs[0].records[0]
    for rung in study.rungs[:30]:
        for seed in (1, 2):
            climb._display.end_task(Task(rung=rung, seed=seed, folder=Path("x")), record)
    task = Task(rung=study.rungs[30], seed=1, folder=Path("x"))
    bar = climb.begin_task(task)
    bar.begin(task.rung.seeded(1), engine="native", folder=Path("x"), epochs_done=0)
    with console.capture() as capture:
        console.print(climb._display.render())
    lines = capture.get().splitlines()
    assert len(lines) < 20
    assert any(line.startswith("31  Rung of many 31") and "0 of 2" in line for line in lines)
    mean = f"{record.final_test_accuracy:.2f}%"
    assert any(line.startswith("30  Rung") and line.rstrip().endswith(mean) for line in lines)
    assert "31. Rung of many" in capture.get()


def test_a_rung_prints_one_log_table_the_mean_of_its_seeds(result: StudyResult) -> None:
    shown = in_turn(result)
    assert shown.count("| Epoch | Training Accuracy") == 2
    [[one], [two]] = (record.rows for record in result.rungs[0].records)
    mean = (one.test_accuracy + two.test_accuracy) / 2
    [row] = [line for line in shown.partition("1. First")[0].splitlines() if "|     0 |" in line]
    assert row.split("|")[3].strip() == f"{mean:.2f}%"
    # What else could be tried is asked at the end of the ladder; piped lines end where words end.
    assert "Read from the test set's rows" not in shown.partition("Rung 2 of 2")[0]
    assert not any(line.endswith(" ") for line in shown.splitlines() if "(type)" not in line)


def test_another_engine_than_the_studys_is_named(result: StudyResult) -> None:
    play = Play(result)
    for seed, engine in ((1, "native"), (2, "torch")):
        task = play.task(1, seed)
        bar = play.climb.begin_task(task)
        bar.begin(task.rung.seeded(seed), engine=engine, folder=Path("here"), epochs_done=0)
        play.end(1, seed)
    assert "Seed 1 trains: folder here\n" in play.shown()
    assert "Seed 2 trains with torch: folder here\n" in play.shown()


def test_a_name_that_looks_like_markup_is_shown_as_it_is(result: StudyResult) -> None:
    named = result.study.replace({"step.0.name": "[red]First[/red] [/]"})
    task = Task(rung=named.rungs[0], seed=1, folder=Path("x"))
    console = Console(file=io.StringIO(), width=130, force_terminal=True, color_system=None)
    climb = Climb(named, console)
    bar = climb.begin_task(task)
    bar.begin(task.rung.seeded(1), engine="native", folder=Path("x"), epochs_done=0)
    bar.end_epoch(
        EpochRow(
            epoch=0,
            train_accuracy=1,
            train_loss=1,
            test_accuracy=1,
            test_loss=1,
            lr=1,
            seconds=1,
        ),
        correct=1,
        count=100,
    )
    with console.capture() as capture:
        console.print(climb._display.render())
    assert capture.get().count("[red]First[/red] [/]") == 2


def test_a_report_that_cannot_be_written_stops_nothing(result: StudyResult, tmp_path: Path) -> None:
    """It is tried again at the end, when what was in its way may be gone."""
    report = result.path / "report.html"
    report.unlink(missing_ok=True)
    report.mkdir()
    play = Play(result)
    for seed in (1, 2):
        play.begin(1, seed)
        play.end(1, seed)
    play.verdict(1)
    line = (
        f"{report}: cannot be written: Is a directory; finished runs are kept, and "
        f"'kilonet report {result.path}' writes it"
    )
    assert play.climb.unreported == line
    assert f"No report yet: {line}" in play.shown()
    assert "Target" in play.shown()
    for seed in (1, 2):
        play.begin(2, seed)
        play.end(2, seed)
    play.verdict(1, 2)
    assert len(play.climb.conclude(result)["steps"]) == 2
    assert play.climb.unreported == line
    report.rmdir()
    play.climb.conclude(result)
    assert play.climb.unreported is None
    assert report.is_file()


def test_a_report_of_runs_that_are_damaged_or_too_large_stops_nothing(
    result: StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = result.rungs[0].records[0].path / "predictions.npz"
    content = logits.read_bytes()
    logits.write_bytes(content[:50])
    play = Play(result)
    for seed in (1, 2):
        play.begin(1, seed)
        play.end(1, seed)
    play.verdict(1)
    assert f"No report yet: {logits}: truncated or altered" in play.shown()
    assert play.climb.conclude(result)["steps"] == []
    assert str(play.climb.unreported).startswith(f"{logits}: truncated or altered; restore")
    logits.write_bytes(content)

    def starved(*arguments: object, **named: object) -> None:
        raise MemoryError

    monkeypatch.setattr("kilonet.report.climb.write_reports", starved)
    assert len(play.climb.conclude(result)["steps"]) == 2
    assert "report.html: out of memory; finished runs are kept" in str(play.climb.unreported)


def test_each_picture_is_drawn_once_and_the_reports_are_those_of_the_records(
    result: StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ladder of n rungs takes n pictures of curves, not n (n + 1) / 2."""
    drawn = []

    def draw(ran: RungResult, *, target: float, path: Path) -> None:
        drawn.append(ran.rung.number)
        learning_curves(ran, target=target, path=path)

    monkeypatch.setattr("kilonet.report.figures.learning_curves", draw)
    play = Play(result)
    for number in (1, 2):
        for seed in (1, 2):
            play.begin(number, seed)
            play.end(number, seed)
        play.verdict(*range(1, number + 1))
    assert drawn == [1, 2]
    pages = [path for path in result.path.rglob("*") if path.suffix in {".md", ".html", ".png"}]
    assert len(pages) == 5
    climbed = {path: path.read_bytes() for path in pages}
    write_reports(result, analyse_records(result))
    assert drawn == [1, 2, 1, 2]
    assert {path: path.read_bytes() for path in pages} == climbed
