"""Bad input from the command line: one clear line, exit code 1 or 2, nothing on disk lost."""

from __future__ import annotations

import gzip
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kilonet.entry import run_command


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


# Each case prepares a folder and gives the arguments, the exit code and a part of the message.


def _nothing(folder: Path) -> None:
    pass


def _spec(text: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / "bad.toml").write_text(text)

    return write


NET = '[net]\ninput = [1, 28, 28]\nlayers = ["conv 8", "gap", "pointwise 10 bare"]\n'


def _net(layers: str) -> Callable[[Path], None]:
    return _spec(f"[net]\ninput = [1, 28, 28]\nlayers = [{layers}]\n")


def _bytes(name: str, content: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    return write


def _idx(dimensions: tuple[int, ...], content: bytes) -> bytes:
    header = bytes([0, 0, 8, len(dimensions)])
    return header + b"".join(size.to_bytes(4, "big") for size in dimensions) + content


def _idx_folder(**replaced: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        files = {
            "train-images-idx3-ubyte": _idx((3, 28, 28), bytes(3 * 784)),
            "train-labels-idx1-ubyte": _idx((3,), bytes([0, 1, 2])),
            "t10k-images-idx3-ubyte": _idx((2, 28, 28), bytes(2 * 784)),
            "t10k-labels-idx1-ubyte": _idx((2,), bytes([0, 1])),
        }
        (folder / "idx").mkdir()
        names = {name.replace("-", "_"): name for name in files}
        for key, content in replaced.items():
            files[names[key]] = content
        for name, content in files.items():
            (folder / "idx" / name).write_bytes(content)

    return write


def _npz(**arrays: np.ndarray) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        np.savez(folder / "bad.npz", **arrays)

    return write


IMAGES, LABELS = np.zeros((4, 28, 28), np.uint8), np.arange(4)
RUN = ["train", "bad.toml", "--out", "run"]
SET = ["train", "interim", "--out", "run", "--set"]

BAD: dict[str, tuple[Callable[[Path], None], list[str], int, str]] = {
    "unknown command": (_nothing, ["stduy"], 2, "stduy"),
    "unknown option": (_nothing, ["train", "--epoch", "3"], 2, "--epoch"),
    "missing argument": (_nothing, ["summary"], 2, "NET"),
    "option not a number": (_nothing, ["train", "--threads", "two"], 2, "--threads"),
    "threads below one": (_nothing, ["train", "--threads", "0"], 2, "--threads"),
    "unknown bundled name": (_nothing, ["train", "intrim"], 2, "did you mean 'interim'?"),
    "no such file": (_nothing, ["study", "my/study.toml"], 2, "my/study.toml: no such file"),
    "a folder without a spec": (_nothing, ["train", "."], 2, "run.toml"),
    "a study given to train": (_nothing, ["train", "mnist-8k"], 2, "use 'kilonet study mnist-8k'"),
    "a run given to study": (_nothing, ["study", "interim"], 2, "use 'kilonet train interim'"),
    "invalid TOML": (_spec("net = [1,\n"), RUN, 2, "bad.toml: not valid TOML"),
    "binary instead of TOML": (_bytes("bad.toml", b"\xff\xfe\x00"), RUN, 2, "not UTF-8"),
    "empty spec": (_spec(""), RUN, 2, "bad.toml: net: is missing"),
    "unknown key": (_spec(NET + "[train]\nepoch = 3\n"), RUN, 2, "did you mean 'epochs'?"),
    "unknown layer": (_net('"covn 8"'), RUN, 2, "did you mean 'conv'?"),
    "unknown layer key": (_net('"conv 8 kernal=5"'), RUN, 2, "did you mean 'kernel'?"),
    "kernel too large": (
        _net('"conv 8", "conv 8 kernel=27"'),
        ["summary", "bad.toml"],
        2,
        "net.layers.1 'conv 8 kernel=27': kernel 27 × 27 is larger than its input 8 × 26 × 26",
    ),
    "groups do not divide": (
        _net('"conv 8", "conv 9 groups=2"'),
        ["summary", "bad.toml"],
        2,
        "net.layers.1 'conv 9 groups=2'",
    ),
    "residual changes the shape": (
        _net('"conv 8", { residual = ["conv 8"] }'),
        ["summary", "bad.toml"],
        2,
        "net.layers.1 'residual [conv 8]'",
    ),
    "no class scores": (_net('"conv 8"'), ["summary", "bad.toml"], 2, "8 × 26 × 26"),
    "classes unlike the data": (
        _net('"gap", "pointwise 7 bare"'),
        RUN,
        2,
        "net.layers.1 'pointwise 7 bare'",
    ),
    "image size unlike the data": (
        _spec(NET.replace("28, 28", "32, 32")),
        RUN,
        1,
        "1 × 32 × 32",
    ),
    "over budget": (_nothing, ["summary", "interim", "--budget", "5000"], 1, "2,864"),
    "study over budget": (
        _nothing,
        ["study", "--set", "budget.parameters=5000", "--out", "s"],
        1,
        "stage 1 'Batch normalization'",
    ),
    "--set without =": (_nothing, [*SET, "train.epochs"], 2, "dotted.path=value"),
    "--set unknown path": (_nothing, [*SET, "train.epoch=3"], 2, "did you mean 'epochs'?"),
    "--set wrong type": (_nothing, [*SET, "train.epochs=many"], 2, "'many'"),
    "--set out of range": (_nothing, [*SET, "train.optimizer.lr=-1"], 2, "train.optimizer.lr"),
    "unknown optimizer": (_nothing, [*SET, "train.optimizer=adma"], 2, "did you mean 'adam'?"),
    "plateau without validation": (_nothing, [*SET, "train.schedule=plateau"], 2, "validation"),
    "unknown engine": (_nothing, ["train", "--engine", "torhc"], 2, "did you mean 'torch'?"),
    "unknown device": (_nothing, ["train", "--device", "gpu"], 2, "gpu"),
    "absent device": (_nothing, ["train", "--device", "mps", "--out", "run"], 1, "mps"),
    "unknown data set": (_nothing, ["data", "mnits"], 1, "did you mean 'mnist'?"),
    "no such data": (_nothing, ["data", "no/such/folder"], 1, "no/such/folder"),
    "empty data folder": (_nothing, ["data", "."], 1, "train-images"),
    "IDX truncated": (
        _idx_folder(train_images_idx3_ubyte=_idx((3, 28, 28), bytes(99))),
        ["data", "idx"],
        1,
        "train-images-idx3-ubyte",
    ),
    "IDX wrong magic": (
        _idx_folder(t10k_labels_idx1_ubyte=b"\x01\x02\x03\x04" * 4),
        ["data", "idx"],
        1,
        "t10k-labels-idx1-ubyte",
    ),
    "IDX counts differ": (
        _idx_folder(train_labels_idx1_ubyte=_idx((2,), bytes(2))),
        ["data", "idx"],
        1,
        "3 train images but 2 train labels",
    ),
    "IDX empty file": (
        _idx_folder(t10k_images_idx3_ubyte=b""),
        ["data", "idx"],
        1,
        "t10k-images-idx3-ubyte",
    ),
    "IDX no images": (
        _idx_folder(t10k_images_idx3_ubyte=_idx((0, 28, 28), b"")),
        ["data", "idx"],
        1,
        "t10k-images-idx3-ubyte",
    ),
    "gzip far beyond its header": (
        _idx_folder(train_images_idx3_ubyte=gzip.compress(_idx((3, 28, 28), bytes(10_000_000)))),
        ["data", "idx"],
        1,
        "train-images-idx3-ubyte",
    ),
    "NPZ that is none": (
        _bytes("bad.npz", b"PK\x03\x04 and no more"),
        ["data", "bad.npz"],
        1,
        "bad.npz",
    ),
    "NPZ without labels": (_npz(train_images=IMAGES), ["data", "bad.npz"], 1, "train_labels"),
    "NPZ with objects": (
        _npz(
            train_images=IMAGES,
            train_labels=np.array([{}, {}, {}, {}]),
            test_images=IMAGES,
            test_labels=LABELS,
        ),
        ["data", "bad.npz"],
        1,
        "train_labels",
    ),
    "NPZ with float images": (
        _npz(
            train_images=IMAGES / 255.0,
            train_labels=LABELS,
            test_images=IMAGES,
            test_labels=LABELS,
        ),
        ["data", "bad.npz"],
        1,
        "uint8",
    ),
    "NPZ labels out of range": (
        _npz(
            train_images=IMAGES,
            train_labels=LABELS - 1,
            test_images=IMAGES,
            test_labels=LABELS,
        ),
        ["data", "bad.npz"],
        1,
        "-1",
    ),
    "output folder is a file": (
        _bytes("run", b"mine"),
        ["train", "interim", "--out", "run"],
        1,
        "run: is not a folder; name another",
    ),
    "output folder holds other files": (
        _bytes("run/thesis.tex", b"mine"),
        ["train", "interim", "--out", "run"],
        1,
        "thesis.tex",
    ),
    "output folder with an endless name": (
        _nothing,
        ["train", "interim", "--out", "x" * 300],
        1,
        "File name too long",
    ),
    "study folder with an endless name": (
        _nothing,
        ["study", "--out", "x" * 300],
        1,
        "File name too long",
    ),
    "more epochs than the budget": (
        _nothing,
        ["study", "--set", "train.epochs=20", "--out", "s"],
        1,
        "20 epochs are 5 over the budget of 15",
    ),
    "summary over the study's budget": (
        _spec(
            'name = "s"\ntarget = 99\nbudget = { parameters = 50 }\n'
            + NET
            + '[[stage]]\nname = "a"\nchange = { "train.epochs" = 2 }\n'
        ),
        ["summary", "bad.toml"],
        1,
        "over the budget of 50",
    ),
    "picture without a name": (_nothing, ["data", "mnist", "--picture", ""], 2, "is empty"),
    "picture that is a folder": (
        _nothing,
        ["train", "--find-lr", "--picture", "."],
        1,
        ".: is a folder; name the file to write",
    ),
    "picture in a folder that is missing": (
        _nothing,
        ["train", "--find-lr", "--picture", "missing/curve.png"],
        1,
        "missing/curve.png: cannot be written: No such file or directory",
    ),
    "figure in a folder that is missing": (
        _nothing,
        ["bench", "--figure", "missing/roofline.png"],
        1,
        "missing/roofline.png: cannot be written",
    ),
    "empty --out": (_nothing, ["train", "--out", ""], 2, "'' is not a path: it is empty"),
    "empty --out of a study": (_nothing, ["study", "--out", ""], 2, "is not a path"),
    "empty folder to report": (_nothing, ["report", ""], 2, "is not a path"),
    "home folder of nobody": (
        _nothing,
        ["train", "--out", "~nobody-here/run"],
        2,
        "the home folder ~nobody-here is unknown",
    ),
    "data of nobody": (_nothing, [*SET, "data.name=~nobody-here/x.npz"], 2, "data.name"),
    "a data path with a NUL": (
        _spec(NET + '[data]\nname = "a\\u0000b"\n'),
        RUN,
        2,
        "bad.toml: data.name: 'a\\x00b' is not a path",
    ),
    "run.toml of the user's own": (
        _bytes("run/run.toml", b"# mine\n"),
        ["train", "interim", "--out", "run"],
        1,
        "run/run.toml: is not kilonet's",
    ),
    "environment.json of the user's own": (
        _bytes("run/environment.json", b'{"mine": 1}'),
        ["train", "interim", "--out", "run"],
        1,
        "environment.json",
    ),
    "steps.npz of the user's own": (
        _bytes("run/steps.npz", b"mine"),
        ["train", "interim", "--out", "run"],
        1,
        "steps.npz",
    ),
    "picture into a missing place": (
        _bytes("file", b""),
        ["data", "mnist", "--picture", "file/below.png"],
        1,
        "file/below.png",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_clear_line(
    case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare, arguments, code, message = BAD[case]
    prepare(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert run_command(arguments) == code
    err = capsys.readouterr().err
    last = err.strip().splitlines()[-1]
    assert last.startswith("kilonet: ")
    assert message in last
    assert "Traceback" not in err
    assert err.count("kilonet: ") == 1
    after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert {p: after.get(p) for p in before} == before, "nothing on disk is lost"


def test_bad_input_from_a_real_shell(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kilonet", "train", "intrim"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a full disk to try")
def test_standard_output_on_a_full_disk() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "kilonet", "summary", "interim", "--json"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr == ("kilonet: standard output: cannot be written: No space left on device\n")


def test_out_of_memory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def exhausted(*arguments: object, **options: object) -> None:
        raise MemoryError

    monkeypatch.setattr("kilonet.training.train", exhausted)
    assert run_command(["train", "interim", "--out", "run"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("kilonet: out of memory; any finished epoch is kept")


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (KeyboardInterrupt(), "stopped"),
        (MemoryError(), "out of memory: free some, or lower train.batch_size"),
        (PermissionError(13, "Permission denied", "some/file"), "some/file: Permission denied"),
    ],
)
def test_what_is_said_is_true_of_a_sweep(
    raised: BaseException,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """It keeps no epochs, and nothing can be resumed."""

    def fail(*arguments: object, **options: object) -> None:
        raise raised

    monkeypatch.setattr("kilonet.training.range_test.find_lr", fail)
    run_command(["train", "interim", "--find-lr"])
    assert capsys.readouterr().err == f"kilonet: {said}\n"


def test_a_run_folder_with_a_truncated_spec(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error is of the folder, not of a spec that the user wrote."""
    from kilonet.spec import load_run
    from kilonet.storage.provenance import Provenance
    from kilonet.storage.run_folder import RunFolder

    RunFolder("run").begin(load_run("interim"), Provenance())
    path = tmp_path / "run" / "run.toml"
    path.write_bytes(path.read_bytes()[:-30])
    assert run_command(["train", "run"]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("kilonet: run/run.toml: truncated or altered; restore it from a copy")
