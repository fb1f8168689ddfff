"""The command line as a user types it: what it prints, its exit codes, and bad input."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from kilonet import __version__
from kilonet.engine import choose_engine, describe_engine
from kilonet.entry import run_command
from kilonet.spec import Run, Study, load_study, to_toml


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_summary_json_has_the_designs_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["summary", "interim", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["parameters"] == 7864
    assert found["macs"] == 1045312
    assert found["receptive_field"] == 32
    needed = {"name", "output_shape", "parameters", "macs", "receptive_field", "jump"}
    assert all(needed <= set(layer) for layer in found["layers"])
    assert sum(layer["parameters"] for layer in found["layers"]) == 7864
    assert sum(layer["macs"] for layer in found["layers"]) == 1045312


def test_summary_prints_the_notebooks_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["summary", "interim"]) == 0
    out = capsys.readouterr().out
    assert "Conv2d-1            [-1, 8, 26, 26]              72" in out
    assert "Total params: 7,864" in out
    assert "Kernel x Stride" in out
    assert "1 → 8 → 16 → MaxPool" in out


def test_train_json_then_again_then_summary_of_the_folder(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text(to_toml(small_run))
    command = ["train", "run.toml", "--out", "made", "--json"]
    assert run_command(command) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert found["run"] == "made"
    assert found["engine"] == choose_engine(small_run.net).engine
    assert found["parameters"] == 7864
    assert len(found["epochs"]) == 3
    needed = {
        "epoch",
        "train_accuracy",
        "train_loss",
        "test_accuracy",
        "test_loss",
        "lr",
        "seconds",
    }
    assert all(needed <= set(epoch) for epoch in found["epochs"])
    assert "Test set: Average loss:" in captured.err
    assert run_command(command) == 0
    assert json.loads(capsys.readouterr().out) == found
    assert run_command(["train", "made"]) == 0
    out = capsys.readouterr().out
    assert (
        "| Epoch | Training Accuracy | Test Accuracy |  Diff | Training Loss | Test Loss |" in out
    )
    assert run_command(["summary", "made", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["parameters"] == 7864


def test_find_lr_json_and_nothing_but_a_picture(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.toml").write_text(to_toml(small_run))
    assert run_command(["train", "run.toml", "--find-lr", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["picture"] is None
    assert {path.name for path in tmp_path.iterdir()} == {"run.toml"}
    assert found["steepest"] < found["minimum"]
    mean = math.sqrt(found["steepest"] * found["minimum"] / 10)
    assert found["suggestion"] == pytest.approx(mean, rel=0.05)  # two digits; batch norm, no limit
    assert found["validation_images"] == 64
    rates = [point["lr"] for point in found["points"]]
    assert rates == sorted(rates)
    assert "validation_loss" in found["points"][0]
    assert "validation_loss" not in found["points"][1]
    # The line is one that a study takes.
    change = tomllib.loads(found["change"])["change"]
    assert small_run.replace(change).train.optimizer.lr == found["suggestion"]
    assert run_command(["train", "run.toml", "--find-lr", "--picture", "curve.png"]) == 0
    assert f"--set train.optimizer.lr={found['suggestion']:g}" in capsys.readouterr().out
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--find-lr", "--out", "made"], "--find-lr"),
        (["--find-lr", "--resume"], "--find-lr"),
        (["--picture", "curve.png"], "--picture"),
    ],
)
def test_options_that_do_not_go_together(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["train", "interim", *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_study_prints_the_ladder_and_writes_the_report(
    small_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, once = f"data.name={str(small_mnist)!r}", ["--set", "seeds=1"]
    small = ["--set", data, "--set", "train.epochs=3", *once]
    assert run_command(["study", *small, "--out", "ladder", "--threads", "2"]) == 0
    out = capsys.readouterr().out
    names = ["Batch normalization", "Dropout", "Rotation", "Step scheduler"]
    first = describe_engine(load_study("mnist-8k").net, threads=1)
    assert out.splitlines()[0] == f"{first}: 4 runs to train, 2 at a time"
    for name in names:
        assert name in out
    assert out.count("Findings") == 4
    assert (tmp_path / "ladder" / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "ladder" / "report.md").read_text().startswith("# mnist-8k")
    assert run_command(["study", *small, "--out", "ladder", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["study"] == "mnist-8k"
    assert found["target"] == 99.4
    assert [stage["name"] for stage in found["stages"]] == names
    for stage in found["stages"]:
        assert {"name", "parameters", "mean", "ci95", "reached", "seeds"} <= set(stage)
        needed = {"seed", "run", "final_test_accuracy", "best_test_accuracy", "reached"}
        assert all(needed <= set(seed) for seed in stage["seeds"])
        assert all(Path(seed["run"]).is_dir() for seed in stage["seeds"])


def test_quiet_prints_the_result_alone(
    small_run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = small_run.replace({"train.epochs": 1})
    (tmp_path / "run.toml").write_text(to_toml(run))
    assert run_command(["train", "run.toml", "--out", "made", "-q"]) == 0
    out, err = capfd.readouterr()
    assert [line.partition(":")[0] for line in out.splitlines()] == [
        "Final test accuracy",
        "Run folder",
    ]
    assert err == ""
    assert run_command(["train", "run.toml", "--out", "made", "-q", "--json"]) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["run"] == "made"
    assert err == ""
    held_out = ["--set", "data.validation=0.25", "-q"]
    assert run_command(["train", "run.toml", "--out", "held", *held_out]) == 0
    assert run_command(["train", "run.toml", "--out", "two", *held_out, "--seeds", "2"]) == 0
    out, err = capfd.readouterr()
    beginnings = [line.partition(" accuracy")[0].partition("/")[0] for line in out.splitlines()]
    assert beginnings == [
        "Final validation", "Final test", "Run folder: held", "Seed 1: final validation",
        "Seed 2: final validation", "Mean final validation", "Mean final test",
    ]  # fmt: skip
    assert err == ""
    stage = {"name": "$A$ :smile: [red]", "change": {"train.label_smoothing": 0.1}}
    spec = {**run.to_dict(), "name": "s", "target": 50.0, "seeds": 1, "stage": [stage]}
    (tmp_path / "study.toml").write_text(to_toml(Study.from_dict(spec)))
    assert run_command(["study", "study.toml", "--out", "s", "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("s: target 50.00%")
    assert stage["name"] in out
    assert out.endswith(f"Report: {Path('s', 'report.html')}\n")
    assert len(out.splitlines()) < 8
    assert err == ""
    # An error is told all the same.
    assert run_command(["train", "run.toml", "--set", "train.epochs=0", "-q"]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_an_error_shows_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["compare", "\x1b[31mred", "b"]) == 1
    assert "\u241b[31mred: holds no study" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the cache is elsewhere")
def test_commands_write_into_the_folder_and_the_cache_alone(
    small_mnist: Path, tmp_path: Path
) -> None:
    """Nor does a library say anything on standard error."""
    home, work, temporary = (tmp_path / name for name in ("home", "work", "tmp"))
    for folder in (home, work, temporary):
        folder.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "MPL", "KILONET_"))}
    settings = [f"data.name={small_mnist}", "data.mean=[0.1307]", "data.std=[0.3081]"]
    images = [part for setting in (*settings, "train.epochs=1") for part in ("--set", setting)]
    for arguments in (
        ["train", "interim", *images, "--out", "run"],
        ["train", "interim", *images, "--find-lr", "--picture", "curve.png"],
        ["study", "mnist-8k", *images, "--set", "seeds=1", "--out", "study", "--quiet"],
        ["report", "study"],
        ["compare", "study", "run"],
        ["data", str(small_mnist), "--picture", "samples.png"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "kilonet", *arguments],
            cwd=work,
            env={**kept, "HOME": str(home), "TMPDIR": str(temporary)},
            capture_output=True,
            text=True,
        )
        assert (done.returncode, done.stderr) == (0, ""), arguments
    found = {path.relative_to(home).parts[:2] for path in home.rglob("*") if path.is_file()}
    assert found == {(".cache", "kilonet")}
    assert not any(temporary.iterdir())
    assert {path.name for path in work.iterdir()} == {"run", "study", "curve.png", "samples.png"}


def test_data_describes_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["data", "mnist", "--picture", "digits.png"]) == 0
    out = capsys.readouterr().out
    for text in ("60,000", "10,000", "0.1307", "0.3081", "6bbc9ace898e44ae57da46a324031adb"):
        assert text in out
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["study"],
        ["train"],
        ["report"],
        ["compare"],
        ["summary"],
        ["show"],
        ["data"],
        ["bench"],
    ],
)
def test_help_has_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command([*command, "--help"]) == 0
    out = capsys.readouterr().out
    assert "Usage: kilonet" in out
    if command:
        assert f"Example: kilonet {command[0]} " in out


def test_bench_json_has_the_designs_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("torch", "jax"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, f"kilonet.bench.{name}", raising=False)
    command = ["bench", "--quick", "--threads", "1", "--repeats", "1", "--figure", "roof.png"]
    assert run_command([*command, "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert {"ceiling_gflops", "step", "epoch", "peak_bytes"} <= set(found)
    assert {"native_ms", "torch_ms", "ratio", "share_of_ceiling"} <= set(found["step"])
    assert (found["parameters"], found["flop_per_image"]) == (7864, 6_174_528)
    assert (tmp_path / "roof.png").read_bytes().startswith(b"\x89PNG")
    assert captured.err == ""
    assert run_command([*command, "--profile"]) == 0
    out = capsys.readouterr().out
    assert "A training step of 128, 1 thread; ceiling" in out
    assert "| convblock2.0 Conv2d " in out
    assert "Skipped: PyTorch: not installed" in out
    assert "Roofline: roof.png" in out


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--net", "intrim"], 2, "did you mean 'interim'?"),
        (["--net", "missing.toml"], 2, "missing.toml: no such file"),
        (["--threads", "0"], 2, "threads"),
        (["--repeats", "0"], 2, "repeats"),
    ],
)
def test_bench_with_bad_options_is_one_line(
    options: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["bench", "--quick", *options]) == code
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_command(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"kilonet {__version__}"


def test_ctrl_c_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("kilonet.training.train", interrupted)
    assert run_command(["train", "interim", "--out", "run"]) == 130
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "command",
    [
        "summary interim",
        "train run.toml --out made",
        "train run.toml --seeds 2 --out made",
        "study study.toml --out made --jobs 1",
    ],
)
def test_a_pipe_that_closes_early(command: str, small_run: Run, tmp_path: Path) -> None:
    """As `kilonet summary interim | head -1`: nothing is said, and what trains goes on."""
    run = small_run.replace({"train.epochs": 2})
    (tmp_path / "run.toml").write_text(to_toml(run))
    study = Study.from_dict({**run.to_dict(), "name": "small", "target": 50.0})
    (tmp_path / "study.toml").write_text(to_toml(study))
    process = subprocess.Popen(
        [sys.executable, "-m", "kilonet", *command.split()],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    with process.stderr as stream:
        assert stream.read() == ""
    assert process.wait() == 0
    if "--out" in command:
        assert list((tmp_path / "made").rglob("predictions.npz"))
    if command.startswith("study"):
        assert (tmp_path / "made" / "report.html").is_file()


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_streams_that_are_closed(closed: str, small_run: Run, tmp_path: Path) -> None:
    """As some schedulers begin a process: it trains all the same, its workers too."""
    stage = {"name": "One", "change": {"train.epochs": 1}}
    study = {**small_run.to_dict(), "name": "small", "target": 50.0, "seeds": 2, "stage": [stage]}
    (tmp_path / "study.toml").write_text(to_toml(Study.from_dict(study)))
    command = f"{sys.executable} -m kilonet study study.toml --out made --threads 2 {closed}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert (tmp_path / "made" / "report.html").exists()


def test_a_screen_that_cannot_show_every_sign() -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    done = subprocess.run(
        [sys.executable, "-m", "kilonet", "summary", "interim"],
        env=environment,
        capture_output=True,
        check=True,
    )
    assert b"Channels: 1 ? 8 ? 16" in done.stdout
    assert done.stderr == b""


def test_what_is_finished_is_shown_without_an_engine(
    small_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "run.toml").write_text(to_toml(small_run.replace({"train.epochs": 1})))
    command = ["train", "run.toml", "--out", "made"]
    assert run_command(command) == 0
    shown = capsys.readouterr().out
    for name in [name for name in sys.modules if name.startswith("kilonet.engine.torch")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delattr("kilonet.engine._native", raising=False)
    monkeypatch.setitem(sys.modules, "kilonet.engine._native", None)
    assert run_command(command) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == shown.splitlines()[-2:]
    assert run_command(["train", "interim", "--out", "other"]) == 1
    assert "the native one was not built, and PyTorch is not installed" in capsys.readouterr().err


def test_a_folder_named_like_a_bundled_run_stays_as_it_is(
    small_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "interim").mkdir()
    (tmp_path / "interim" / "notes.txt").write_text("mine")
    settings = ["--set", f"data.name={str(small_mnist)!r}", "--set", "train.epochs=1"]
    assert run_command(["train", "interim", *settings]) == 0
    assert [path.name for path in (tmp_path / "interim").iterdir()] == ["notes.txt"]
    assert run_command(["train", "interim", "--out", "interim"]) == 1
    assert "contains 'notes.txt'" in capsys.readouterr().err


@pytest.mark.native
def test_training_without_pytorch(small_mnist: Path) -> None:
    """In a process of its own, where an import of PyTorch would fail."""
    code = "import sys; sys.modules['torch'] = None\nfrom kilonet.entry import main; main()"
    settings = ["--set", f"data.name={str(small_mnist)!r}", "--set", "train.epochs=1"]
    done = subprocess.run(
        [sys.executable, "-c", code, "train", *settings, "--out", "run", "--json"],
        capture_output=True,
        check=True,
    )
    assert json.loads(done.stdout)["engine"] == "native"


def test_the_bundled_study_is_the_default() -> None:
    import inspect

    from kilonet.cli.study import study

    default = inspect.signature(study).parameters["name"].default
    assert load_study(default).name == "mnist-8k"
    assert load_study(default).seeds == 3


def test_show_lists_what_is_bundled_and_prints_what_loads_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(["show"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [["interim", "run"], ["mnist-8k", "study"]]
    assert run_command(["show", "mnist-8k", "--set", "seeds=7"]) == 0
    (tmp_path / "mine.toml").write_text(capsys.readouterr().out)
    assert load_study("mine.toml") == load_study("mnist-8k").replace({"seeds": 7})
    assert run_command(["show", "mine.toml", "--json"]) == 0
    assert Study.from_dict(json.loads(capsys.readouterr().out)) == load_study("mine.toml")
    assert run_command(["show", "--set", "seeds=7"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_path_that_summary_shows_is_one_that_set_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command(["summary", "interim", "--set", "net.layers.4=conv 10"]) == 0
    out = capsys.readouterr().out
    assert "| net.layers.4 | conv 10 " in out
    assert run_command(["summary", "interim", "--set", "net.layers.4=conv 10 kernel=99"]) == 2
    assert "net.layers.4 'conv 10 kernel=99': kernel 99 × 99 is larger" in capsys.readouterr().err
    assert run_command(["summary", "interim", "--budget", "7000"]) == 1
    assert "most are in net.layers.7 'conv 16 pad=1' (2,336)" in capsys.readouterr().err
    assert run_command(["summary", "interim", "--json"]) == 0
    layers = json.loads(capsys.readouterr().out)["layers"]
    assert [layer["path"] for layer in layers if layer["text"] == "gap"] == ["net.layers.8"]


SMALL_NET = 'input = [1, 28, 28]\nlayers = ["conv 4", "maxpool 2", "gap", "pointwise 10 bare"]\n'


def test_a_file_with_seeds_and_without_stages_is_taken_by_train_and_study(
    small_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(f"seeds = 2\ntarget = 50.0\n[net]\n{SMALL_NET}")
    options = ["--data", str(small_mnist), "--epochs", "1"]
    assert run_command(["train", "mine.toml", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[-3:]] == [
        "Seed 1", "Seed 2", "Mean final test accuracy",
    ]  # fmt: skip
    assert run_command(["train", "mine.toml", *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == [
        "Seed 1, trained before", "Seed 2, trained before",
    ]  # fmt: skip
    assert run_command(["train", "mine.toml", *options, "--json"]) == 0
    runs = json.loads(capsys.readouterr().out)["runs"]
    assert [run["seed"] for run in runs] == [1, 2]
    assert [len(run["epochs"]) for run in runs] == [1, 1]
    assert run_command(["study", "mine.toml", *options, "--jobs", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["study"] == "mine"
    # The study's folder states its seeds too; its runs are not written over.
    assert run_command(["train", "kilonet-studies/mine", "--json"]) == 0
    again = json.loads(capsys.readouterr().out)["runs"]
    assert [run["run"] for run in again] == [run["run"] for run in runs]
    [stage] = found["stages"]
    assert (stage["name"], stage["change"]) == ("Baseline", {})
    finals = [seed["final_test_accuracy"] for seed in stage["seeds"]]
    assert finals == [run["final_test_accuracy"] for run in runs]
    assert "The base run, unchanged." in Path("kilonet-studies/mine/report.md").read_text()


def test_seeds_say_what_is_read_and_what_begins_anew(
    small_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(f"[net]\n{SMALL_NET}")
    options = ["--data", str(small_mnist), "--epochs", "1", "--out", "made"]
    assert run_command(["train", "mine.toml", *options, "--seeds", "2", "--json"]) == 0
    capsys.readouterr()
    again = ["train", "mine.toml", *options, "--resume"]
    assert run_command([*again, "--seeds", "3", "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    assert [line.partition(":")[0] for line in captured.out.splitlines()] == [
        "Seed 1, trained before", "Seed 2, trained before", "Seed 3", "Mean final test accuracy",
    ]  # fmt: skip
    assert run_command([*again, "--seeds", "4"]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "Nothing to resume in made/seed-4: training begins anew."


def test_train_with_seeds_and_with_a_seed(
    small_mnist: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.toml").write_text(f"[net]\n{SMALL_NET}")
    options = ["--data", str(small_mnist), "--epochs", "1", "--json"]
    assert run_command(["train", "mine.toml", *options, "--seeds", "2", "--out", "made"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [run["run"] for run in found["runs"]] == ["made/seed-1", "made/seed-2"]
    too_high = ["--data", str(small_mnist), "--set", "train.optimizer.lr=1e30", "-q"]
    assert run_command(["train", "mine.toml", *too_high, "--seeds", "2"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert [line[:16] for line in err.splitlines()] == ["kilonet: seed 1:", "kilonet: seed 2:"]
    assert run_command(["train", "mine.toml", *options, "--seed", "2"]) == 0
    one = json.loads(capsys.readouterr().out)
    assert (one["seed"], one["final_test_accuracy"]) == (
        2, found["runs"][1]["final_test_accuracy"],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["train", "--epochs", "3", "--set", "train.epochs=5"], "--epochs 3 and --set train.epo"),
        (["study", "--epochs", "3", "--set", "train.epochs=5"], "--epochs 3 and --set train.epo"),
        (["study", "--seeds", "3", "--set", "seeds=5"], "--seeds 3 and --set seeds=5 disagree"),
        (["train", "--data", "a", "--set", "data.name=b"], "--data a and --set data.name=b"),
        (["train", "--seed", "3", "--set", "train.seed=5"], "--seed 3 and --set train.seed"),
        (["train", "--seed", "3", "--seeds", "2"], "--seeds trains seeds 1 to 2"),
        (["train", "--seeds", "2", "--find-lr"], "--find-lr sweeps one run: leave out --seeds"),
        (["train", "--epochs", "0"], "--epochs"),
        (["study", "--seeds", "x"], "--seeds"),
        (["study", "--set", "train.seed=3"], "a study trains seeds 1 to `seeds`"),
        (["study", "interim"], "interim: target is missing; a study needs one"),
    ],
)  # fmt: skip
def test_short_options_that_do_not_hold(
    command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(command) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1
    assert not list(Path().iterdir())
