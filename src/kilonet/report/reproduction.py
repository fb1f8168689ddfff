"""The commands that reproduce a report's numbers."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import NamedTuple

from kilonet import paths
from kilonet.data.in_memory import is_given
from kilonet.formatting import percent
from kilonet.report.content import Content
from kilonet.report.tables import relative
from kilonet.spec import data_path
from kilonet.storage.provenance import EngineInfo
from kilonet.storage.record import RunRecord
from kilonet.study import StudyResult
from kilonet.table import Table

SAME_NUMBERS = (
    "Every random choice is a function of the seed, so the same engine, with the options of its "
    "command, on the same kind of machine gives the same numbers."
)


class Commands(NamedTuple):
    """(Purpose, command) to be run in the report's folder; and a row a run."""

    whole: list[tuple[str, str]]
    runs: Table


def commands(content: Content, *, folder: Path) -> Commands:
    """The commands of a study or a run; paths are relative to ``folder``, the report's."""
    result = content.result

    def quoted(path: Path) -> str:
        return shlex.quote(relative(path, folder))

    def again(name: str) -> str:
        return f"--out {shlex.quote(f'again-{name}')}"

    data = result.stages[0].stage.run.data.name
    images = data_path(data)
    shown = shlex.quote(paths.relative(Path(images), folder=folder) if images else data)
    first = quoted(result.stages[0].records[0].path)
    whole = [
        ("Both reports, from the records alone", f"kilonet report {quoted(result.path)}"),
    ]
    if result.stages[0].stage.run.module is None:
        whole.append(("A network's layers and receptive fields", f"kilonet summary {first}"))
    if not is_given(data):
        whole.append(("The data set: counts, classes, checksums", f"kilonet data {shown}"))
    if content.has_target:
        study = quoted(result.path / "study.toml")
        whole.insert(0, _study_command(result, study))
    rows = tuple(
        (
            str(stage.stage.number),
            str(record.run.train.seed),
            percent(record.final_test_accuracy),
            _run_in_python(record, spec=relative(record.path / "run.toml", folder))
            or with_engine(
                f"kilonet train {quoted(record.path / 'run.toml')} {again(record.path.name)}",
                record.provenance.engine,
            )
            + _resumed_with_another(record),
        )
        for stage in result.stages
        for record in stage.records
    )
    columns = ("Stage", "Seed", "Final test accuracy", "Command")
    return Commands(
        whole=whole,
        runs=Table(columns=columns, rows=rows, left=frozenset({3})),
    )


def _resumed_with_another(record: RunRecord) -> str:
    """A shell's comment where no single command gives the same numbers; else ""."""
    several = len(record.provenance.engines) > 1
    return "  # it was resumed with another engine, so its numbers differ" if several else ""


def _run_in_python(record: RunRecord, *, spec: str) -> str:
    """How a run is trained again that needs what Python alone can give; "" for others."""
    run, engine = record.run, record.provenance.engine
    given = [
        *(["data=…"] if is_given(run.data.name) else []),
        *(["module=…"] if run.module is not None else []),
    ]
    if not given:
        return ""
    arguments = ", ".join([*given, *_engine_arguments(engine)])
    return f"# {_python_of(engine)}: kilonet.train(kilonet.load_run({spec!r}), {arguments})"


def _python_of(engine: EngineInfo | None) -> str:
    isa = "" if engine is None or engine.name != "native" else engine.instruction_set
    return f"in Python with KILONET_ISA={shlex.quote(isa)}" if isa else "in Python"


def _engine_arguments(engine: EngineInfo | None) -> list[str]:
    """As :func:`with_engine`, in Python."""
    if engine is None or engine.name not in ("native", "torch"):
        return []
    options: dict[str, str | int | None] = {"engine": engine.name}
    if engine.name == "torch":
        options |= {"device": engine.device, "threads": engine.threads}
    return [f"{name}={value!r}" for name, value in options.items() if value]


def with_engine(command: str, engine: EngineInfo, *, jobs: str = "") -> str:
    """A command with what the bits of an engine depend on.

    The instruction set is stated also where it was the machine's best: another machine's best is
    another. A user's own engine, and one that was not recorded, have no options. ``jobs`` is added
    to a number of threads, which a study divides among its jobs.
    """
    if engine.name == "native":
        chosen = f"KILONET_ISA={shlex.quote(engine.instruction_set)} "
        return f"{chosen if engine.instruction_set else ''}{command} --engine native"
    if engine.name != "torch":
        return command
    device = f" --device {shlex.quote(engine.device)}" if engine.device else ""
    threads = "" if engine.threads is None else f" --threads {engine.threads}{jobs}"
    return f"{command} --engine torch{device}{threads}"


def _study_command(result: StudyResult, study: str) -> tuple[str, str]:
    """The command for all runs; without an engine where they had several."""
    command = f"kilonet study {study} --out again"
    engine = result.stages[0].records[0].provenance.engine if has_one_engine(result) else None
    whole = "All runs, tables and charts"
    if engine is None:
        whole = "All runs, with one engine; with its own each: the commands below"
    if any(is_given(stage.run.data.name) for stage in result.study.stages):
        # One after another, as in the command.
        arguments = ", ".join(["data=…", "folder='again'", *_engine_arguments(engine), "jobs=1"])
        call = f"kilonet.run_study(kilonet.load_study('study.toml'), {arguments})"
        return whole, f"# {_python_of(engine)}: {call}"
    return whole, command if engine is None else with_engine(command, engine, jobs=" --jobs 1")


def has_one_engine(result: StudyResult) -> bool:
    """Whether one engine, instruction set and number of threads trained all epochs."""
    records = [record for stage in result.stages for record in stage.records]
    return len({engine for record in records for engine in record.provenance.engines}) == 1
