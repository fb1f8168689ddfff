"""A study on a console: in the order of the ladder, whatever order its trials end in."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from kilonet.analysis import analyze
from kilonet.report.content import Content
from kilonet.report.rebuild import analyze_records, write_reports
from kilonet.report.terminal.study_progress import StudyProgress
from kilonet.spec import Run, Study
from kilonet.study import StudyResult, run_study
from kilonet.study.trial import Failure, Trial
from ladders import TEST_IMAGES, seeded_result
from study_player import Player

SCREEN = 34


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
        stage=[
            {"name": "First", "change": {"net.block": ["conv", "relu", "batchnorm"]}},
            {"name": "Second", "change": {"train.batch_size": 32}},
        ],
    )
    return run_study(study, folder=tmp_path_factory.mktemp("study") / "s", jobs=1)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> StudyResult:
    """The bundled study's shape: four stages, three seeds, 15 epochs; made up, without folders."""
    module = "kilonet.report.terminal.study_progress"
    monkeypatch.setattr(
        f"{module}.analyze_records", lambda result: analyze(result, test_images=TEST_IMAGES)
    )
    monkeypatch.setattr(f"{module}.write_reports", lambda content: None)
    return seeded_result(seeds=3)


def lines_on_screen(text: str, *, width: int) -> int:
    """Lines that a terminal of this width takes."""
    return sum(max(1, -(-len(line) // width)) for line in text.splitlines())


@pytest.mark.parametrize("terminal", [True, False])
def test_a_stage_and_the_ladder_fit_a_screen(made: StudyResult, terminal: bool) -> None:
    player = Player(made, terminal=terminal, width=80, height=SCREEN)
    for stage in (1, 2, 3, 4):
        shown = player.play(stage)
        assert lines_on_screen(shown, width=80) <= SCREEN
        for part in ("Target", "Result", "Findings"):
            assert part in shown
        assert ("Report: " in shown) == (stage == 1)
        assert ("Effect" in shown) == (stage > 1)
        assert "Next" not in shown  # a next stage, or the target reached
        assert shown.count("final test accuracy") == 3  # a line a seed
    before = len(player.shown())
    player.progress.finish(made)
    assert lines_on_screen(player.shown()[before:], width=80) <= SCREEN


def test_long_words_fit_a_screen_too(made: StudyResult) -> None:
    """Findings give way to a longer target, all but the first."""
    long = made.study.replace({"stage.2.target": "A target with many words. " * 6})
    stages = [
        replace(ran, stage=stage) for ran, stage in zip(made.stages, long.stages, strict=True)
    ]
    player = Player(replace(made, study=long, stages=tuple(stages)), width=80, height=SCREEN)
    shown = [player.play(stage) for stage in (1, 2, 3)]
    assert lines_on_screen(shown[2], width=80) <= SCREEN


def test_in_any_order_it_reads_as_one_after_another(result: StudyResult) -> None:
    in_turn = Player(result)
    for stage in (1, 2):
        in_turn.play(stage)
    expected = in_turn.shown()
    first = result.stages[0].records
    wanted = ["Stage 1 of 2", first[0].path.name, first[1].path.name, "Target", "Stage 2 of 2"]
    places = [expected.index(text) for text in wanted]
    assert places == sorted(places)
    player = Player(result)
    player.begin(1, 1)
    player.begin(1, 2)
    player.epoch(1, 2)
    player.end(1, 2)
    assert first[1].path.name not in player.shown()
    player.begin(2, 1)
    player.begin(2, 2)
    player.end(2, 2)
    player.end(1, 1)
    assert first[1].path.name in player.shown()
    assert "Stage 2" not in player.shown()
    player.end_stage(1)
    assert "Stage 2" in player.shown()
    player.end(2, 1)
    player.end_stage(1, 2)
    assert player.shown() == expected
    # Piped lines have no spaces at their ends.
    assert not any(line.endswith(" ") for line in expected.splitlines())


def test_a_failed_seed_has_its_place_and_its_stage_no_analysis(result: StudyResult) -> None:
    player = Player(result)
    player.begin(1, 1)
    player.begin(1, 2)
    player.progress.fail_trial(Failure(trial=player.trial(1, 2), reason="its process was killed"))
    for seed in (1, 2):
        player.begin(2, seed)
        player.end(2, seed)
    assert "failed" not in player.shown()
    player.end(1, 1)
    player.end_stage(2)
    shown = player.shown()
    wanted = ["Seed 1: ", "Seed 2 failed: its process was killed", "Stage 2 of 2", "Target"]
    places = [shown.index(text) for text in wanted]
    assert places == sorted(places)
    found = player.progress.finish(player.part(2))
    assert [stage["name"] for stage in found["stages"]] == ["Second"]
    assert "stage 1 (First)" in player.shown()


def test_how_a_run_was_trained_is_printed_where_it_is_not_obvious(result: StudyResult) -> None:
    player = Player(result)
    player.progress.begin_trial(player.trial(1, 1))  # finished before, so it never starts
    player.end(1, 1)
    player.begin(1, 2, engine="torch", epochs_done=1)
    player.end(1, 2)
    player.end_stage(1)
    player.begin(2, 1)
    player.end(2, 1)
    shown = player.shown()
    assert "Seed 1, trained before: " in shown
    assert "Seed 2, with torch, resumed after epoch 0: " in shown
    assert "Seed 1: " in shown


def test_a_terminal_shows_bars_the_ladder_and_the_time_left(
    result: StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("kilonet.report.terminal.live_display.time.perf_counter", lambda: now)
    player = Player(result, terminal=True)
    player.begin(1, 1)
    player.begin(1, 2)
    now = 160.0
    screen = Console(file=io.StringIO(), width=130, color_system=None)

    def foot() -> str:
        with screen.capture() as capture:
            screen.print(player.progress._display.render())
        return capture.get()

    text = foot()
    assert "1. First, seed 1" in text
    assert "1. First, seed 2" in text
    assert "loss 0.5000, accuracy 80.00%" in text
    # A quarter of the work in a minute: half of each of two runs of four.
    assert "0:03:00" in text
    player.epoch(1, 1)
    player.end(1, 1)
    text = foot()
    assert "seed 1" not in text
    assert "1 of 2" in text
    assert f"{player.record(1, 1).final_test_accuracy:.2f}%" in text
    player.progress.fail_trial(Failure(trial=player.trial(1, 2), reason="none"))
    assert "1 of 2, 1 failed" in foot()


@pytest.mark.parametrize("terminal", [True, False])
def test_bars_are_for_terminals(result: StudyResult, terminal: bool) -> None:
    player = Player(result, terminal=terminal)
    with player.progress:
        player.begin(1, 1)
    assert ("Mean final accuracy" in player.shown()) == terminal


@pytest.mark.parametrize("width", [60, 80, 130])
def test_a_bar_and_its_seed_are_seen_at_any_width(result: StudyResult, width: int) -> None:
    long = result.study.replace({"stage.0.name": "A stage with quite a long name indeed, " * 3})
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    progress = StudyProgress(long, console)
    progress.begin_study(engine="native", trials=[], num_jobs=1)
    trial = Trial(stage=long.stages[0], seed=2, folder=Path("x"))
    bar = progress.begin_trial(trial)
    bar.begin(trial.stage.seeded(2), engine="native", folder=Path("x"), epochs_done=0)
    bar.begin_epoch(0, num_steps=10)
    bar.step(step=4, batch=4, loss=0.5, accuracy=80.0, lr=0.01)
    with console.capture() as capture:
        console.print(progress._display.render())
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= width
    [line] = [line for line in lines if ", seed 2 " in line]
    assert line.count("━") + line.count("╸") + line.count("╺") >= 10
    assert "epoch 0 of 1" in line
    # Short, so that the terminal's own ^C behind it does not wrap.
    assert len(lines[-1].rstrip()) < 58


def test_a_long_ladder_leaves_room_for_the_bars(result: StudyResult) -> None:
    stage = result.study.to_dict()["stage"][0]
    stages = [{**stage, "name": f"Stage of many {i}, with a name " * 4} for i in range(1, 41)]
    study = Study.from_dict({**result.study.to_dict(), "stage": stages})
    console = Console(
        file=io.StringIO(), width=80, height=20, force_terminal=True, color_system=None
    )
    progress = StudyProgress(study, console)
    record = result.stages[0].records[0]
    for each in study.stages[:30]:
        for seed in (1, 2):
            progress._display.end_trial(Trial(stage=each, seed=seed, folder=Path("x")), record)
    trial = Trial(stage=study.stages[30], seed=1, folder=Path("x"))
    bar = progress.begin_trial(trial)
    bar.begin(trial.stage.seeded(1), engine="native", folder=Path("x"), epochs_done=0)
    with console.capture() as capture:
        console.print(progress._display.render())
    lines = capture.get().splitlines()
    assert len(lines) < 20
    assert any(line.startswith("31  Stage of many 31") and "0 of 2" in line for line in lines)
    mean = f"{record.final_test_accuracy:.2f}%"
    assert any(line.startswith("30  Stage") and line.rstrip().endswith(mean) for line in lines)
    assert "31. Stage of many" in capture.get()


def test_a_name_that_looks_like_markup_is_shown_as_it_is(result: StudyResult) -> None:
    named = result.study.replace({"stage.0.name": "[red]First[/red] [/]"})
    trial = Trial(stage=named.stages[0], seed=1, folder=Path("x"))
    console = Console(file=io.StringIO(), width=130, force_terminal=True, color_system=None)
    progress = StudyProgress(named, console)
    bar = progress.begin_trial(trial)
    bar.begin(trial.stage.seeded(1), engine="native", folder=Path("x"), epochs_done=0)
    bar.end_epoch(result.stages[0].records[0].rows[0], correct=1, count=100)
    with console.capture() as capture:
        console.print(progress._display.render())
    assert capture.get().count("[red]First[/red] [/]") == 2


def test_a_report_that_cannot_be_written_stops_nothing(result: StudyResult) -> None:
    """It is tried again at the end, when the reason may be gone."""
    report = result.path / "report.html"
    report.unlink(missing_ok=True)
    report.mkdir()
    player = Player(result)
    player.play(1)
    error = player.progress.report_error
    assert str(error).startswith(f"{report}: cannot be written: Is a directory; ")
    assert f"'kilonet report {result.path}'" in str(error)
    assert f"No report yet: {error}" in player.shown()
    assert "Target" in player.shown()
    player.play(2)
    assert len(player.progress.finish(result)["stages"]) == 2
    assert player.progress.report_error == error
    assert player.shown().count("No report yet") == 1
    report.rmdir()
    player.progress.finish(result)
    assert player.progress.report_error is None
    assert report.is_file()


def test_a_report_of_runs_that_are_damaged_or_too_large_stops_nothing(
    result: StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = result.stages[0].records[0].path / "predictions.npz"
    content = logits.read_bytes()
    logits.write_bytes(content[:50])
    player = Player(result)
    player.play(1)
    assert f"No report yet: {logits}: truncated or altered" in player.shown()
    assert player.progress.finish(result)["stages"] == []
    assert str(player.progress.report_error).startswith(f"{logits}: truncated or altered; restore")
    logits.write_bytes(content)

    def starved(*arguments: object, **named: object) -> None:
        raise MemoryError

    monkeypatch.setattr("kilonet.report.terminal.study_progress.write_reports", starved)
    assert len(player.progress.finish(result)["stages"]) == 2
    assert "report.html: out of memory" in str(player.progress.report_error)


def test_the_reports_are_those_of_the_records(result: StudyResult) -> None:
    """Written stage by stage as the study runs, or at once: the same files, the same bytes."""
    player = Player(result)
    for stage in (1, 2):
        player.play(stage)
    pages = [path for path in result.path.rglob("*") if path.suffix in {".md", ".html", ".svg"}]
    assert len(pages) == 5
    written = {path: path.read_bytes() for path in pages}
    write_reports(Content(result=result, analysis=analyze_records(result)))
    assert {path: path.read_bytes() for path in pages} == written


@pytest.mark.parametrize("terminal", [True, False])
def test_quiet_prints_the_ladder_and_where_the_report_is(
    result: StudyResult, terminal: bool
) -> None:
    colors = "standard" if terminal else None
    player = Player(result, terminal=terminal, quiet=True, colors=colors)
    for stage in (1, 2):
        assert player.play(stage) == ""
    data = player.progress.finish(result)
    assert len(data["stages"]) == 2
    shown = player.shown()
    assert f"Report: {result.path / 'report.html'}" in shown
    for stage in result.stages:
        assert stage.stage.name in shown
    assert "Findings" not in shown
    assert "\u241b" not in shown  # an escape that is made visible
    assert ("\x1b[1m" in shown) == terminal
    assert "images; other images" not in shown  # a conclusion
    assert len(shown.splitlines()) < 14


def test_a_fault_of_the_report_ends_no_study(
    result: StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*arguments: object, **named: object) -> None:
        raise ValueError("unknown symbol:\n$")

    module = "kilonet.report.terminal.study_progress"
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.write_reports", fault)
        player = Player(result)
        assert "Target" in player.play(1)
        error = str(player.progress.report_error)
        assert "ValueError: unknown symbol: $" in error
        assert "the runs are kept" in error
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.analyze_records", fault)
        assert player.progress.finish(result)["stages"] == []
        assert "ValueError: unknown symbol: $" in str(player.progress.report_error)
    assert len(player.progress.finish(result)["stages"]) == 2
    assert player.progress.report_error is None


def test_one_report_is_written_where_the_other_fails(
    result: StudyResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fault(*arguments: object, **named: object) -> None:
        raise ZeroDivisionError

    page = result.path / "report.html"
    page.unlink(missing_ok=True)
    monkeypatch.setattr("kilonet.report.rebuild.write_markdown", fault)
    with pytest.raises(ZeroDivisionError):
        write_reports(Content(result=result, analysis=analyze_records(result)))
    assert page.is_file()


def test_a_display_that_fails_ends_neither_the_study_nor_its_report(
    result: StudyResult,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(StudyProgress, "end_trial", fail)
    with StudyProgress(result.study, Console(file=io.StringIO())) as progress:
        found = run_study(result.study, folder=tmp_path / "s", jobs=1, observer=progress)
        assert len(progress.finish(found)["stages"]) == 2
    assert (tmp_path / "s" / "report.html").exists()
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("kilonet: observer StudyProgress failed in end_trial: BrokenPipeError")
