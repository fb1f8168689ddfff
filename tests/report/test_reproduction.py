"""The commands of a report, run: they give the same bits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import kilonet
from kilonet.data.sources import IN_MEMORY
from kilonet.engine.native.machine import extension
from kilonet.report.content import Content
from kilonet.report.rebuild import analyze_records, rebuild
from kilonet.report.reproduction import commands, with_engine
from kilonet.spec import Run
from kilonet.storage.provenance import EngineInfo, Provenance
from kilonet.training.loop import train
from ladders import seeded_result

NATIVE = EngineInfo(name="native", version="1", device="cpu", instruction_set="avx2")
TORCH = EngineInfo(name="torch", version="2", device="cpu", threads=2)


@pytest.mark.parametrize(
    ("engine", "command"),
    [
        (NATIVE, "KILONET_ISA=avx2 kilonet train x --engine native"),
        (replace(NATIVE, instruction_set=""), "kilonet train x --engine native"),
        (TORCH, "kilonet train x --engine torch --device cpu --threads 2"),
        (
            EngineInfo(name="torch", device="cuda:1"),
            "kilonet train x --engine torch --device cuda:1",
        ),
        (EngineInfo(), "kilonet train x"),
        (EngineInfo(name="mine"), "kilonet train x"),
    ],
)
def test_a_command_states_what_the_bits_depend_on(engine: EngineInfo, command: str) -> None:
    assert with_engine("kilonet train x", engine) == command


def with_engines(*engines: EngineInfo) -> Content:
    """A study whose seeds were trained with these engines, the first for all others."""
    result = seeded_result(seeds=2)
    stages = []
    for stage in result.stages:
        records = [
            replace(record, provenance=replace(record.provenance, engine=engine))
            for record, engine in zip(stage.records, engines, strict=True)
        ]
        stages.append(replace(stage, records=tuple(records)))
    result = replace(result, stages=tuple(stages))
    return Content(result=result, analysis=analyze_records(result))


def test_a_studys_threads_are_those_of_one_job() -> None:
    found = commands(with_engines(TORCH, TORCH), folder=Path("ladder"))
    assert found.whole[0][1].endswith("--engine torch --device cpu --threads 2 --jobs 1")


def test_several_engines_each_in_its_own_command() -> None:
    found = commands(with_engines(NATIVE, TORCH), folder=Path("ladder"))
    assert found.whole[0][1] == "kilonet study study.toml --out again"
    assert "one engine" in found.whole[0][0]
    rows = [row[-1] for row in found.runs.rows]
    assert [row.startswith("KILONET_ISA=avx2 ") for row in rows] == [True, False] * 4
    assert ["--engine torch --device cpu --threads 2" in row for row in rows] == [False, True] * 4


def test_a_run_resumed_with_another_engine_has_no_command_that_reproduces_it() -> None:
    content = with_engines(NATIVE, NATIVE)
    [first, *others] = content.result.stages
    [record, *seeds] = first.records
    part = Provenance(engine=replace(NATIVE, instruction_set="baseline"), after_epoch=3)
    resumed = replace(record, provenance=replace(record.provenance, resumed=(part,)))
    stage = replace(first, records=(resumed, *seeds))
    result = replace(content.result, stages=(stage, *others))
    found = commands(replace(content, result=result), folder=Path("ladder"))
    assert "one engine" in found.whole[0][0]
    said = ["  # it was resumed with another engine" in row[-1] for row in found.runs.rows]
    assert said == [True] + [False] * 7
    # The same engine again changes nothing.
    again = replace(
        resumed, provenance=replace(resumed.provenance, resumed=(replace(part, engine=NATIVE),))
    )
    result = replace(content.result, stages=(replace(first, records=(again, *seeds)), *others))
    found = commands(replace(content, result=result), folder=Path("ladder"))
    assert not any("#" in row[-1] for row in found.runs.rows)


def with_data(content: Content, name: str) -> Content:
    """The same on other data, of which only the name is stated."""
    stages = []
    for stage in content.result.stages:
        records = [
            replace(record, run=record.run.replace({"data.name": name})) for record in stage.records
        ]
        resolved = replace(stage.stage, run=stage.stage.run.replace({"data.name": name}))
        stages.append(replace(stage, stage=resolved, records=tuple(records)))
    study = content.result.study.replace({"data.name": name})
    return replace(content, result=replace(content.result, study=study, stages=tuple(stages)))


@pytest.mark.parametrize(
    ("engine", "start", "options"),
    [
        (NATIVE, "# in Python with KILONET_ISA=avx2: ", ", engine='native'"),
        (TORCH, "# in Python: ", ", engine='torch', device='cpu', threads=2"),
        (EngineInfo(name="mine"), "# in Python: ", ""),
    ],
)
def test_what_python_alone_can_give_states_the_engine_too(
    engine: EngineInfo, start: str, options: str
) -> None:
    content = with_data(with_engines(engine, engine), f"{IN_MEMORY}noise-0123456789ab")
    found = commands(content, folder=Path("ladder"))
    study = found.whole[0][1]
    call = "kilonet.run_study(kilonet.load_study('study.toml'), data=…, folder='again'"
    assert study == f"{start}{call}{options}, jobs=1)"
    records = [record for stage in content.result.stages for record in stage.records]
    for row, record in zip(found.runs.rows, records, strict=True):
        file = record.path.relative_to("ladder") / "run.toml"
        call = f"kilonet.train(kilonet.load_run({str(file)!r}), data=…{options})"
        assert row[-1] == f"{start}{call}"


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


@pytest.mark.native
@pytest.mark.parametrize("isa", ["baseline", "torch"])
def test_the_printed_command_gives_the_same_bits(
    isa: str, small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = small_run.replace({"train.epochs": 1})
    if isa == "torch":
        pytest.importorskip("torch")
        train(run, folder=tmp_path / "run", engine="torch", threads=1)
    else:
        monkeypatch.setenv("KILONET_ISA", isa)
        train(run, folder=tmp_path / "run", engine="native")
        monkeypatch.delenv("KILONET_ISA")
        if extension().instruction_sets()[0] != isa:
            train(run, folder=tmp_path / "best", engine="native")
            assert weights(tmp_path / "best") != weights(tmp_path / "run")
    rebuild(tmp_path / "run")
    text = (tmp_path / "run" / "report.md").read_text("utf-8")
    [command] = re.findall(r"```sh\n(.*)\n```", text)
    # "kilonet" as it is installed here.
    shell = 'kilonet() { "$PYTHON" -m kilonet "$@"; }\n'
    source = str(Path(kilonet.__file__).parents[1])
    subprocess.run(
        ["bash", "-c", shell + command],
        cwd=tmp_path / "run",
        env={**os.environ, "PYTHON": sys.executable, "PYTHONPATH": source},
        check=True,
        capture_output=True,
    )
    assert weights(tmp_path / "run" / "again-run") == weights(tmp_path / "run")
