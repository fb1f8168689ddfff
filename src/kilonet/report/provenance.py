"""What a study's runs were made with, as lines that every report shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from kilonet.analysis.words import count
from kilonet.record import RunRecord
from kilonet.study import StudyResult

SETTING = ("packages", "python", "system", "cpu", "cores", "source")
"""What two runs of one study share where they were made in one place, beside their engine. The
data are the study's to choose, and what else stands in the file belongs to the one run."""

ENGINE = ("name", "version", "device", "instruction_set", "threads")
"""What an engine's bits depend on: the native one names no threads here, as they change none."""


def environment_lines(result: StudyResult) -> list[tuple[str, str]]:
    """What the runs were made with: the first one's place, and in what the others' differ.

    Returns:
        A label and a value a line; what the records do not tell is left out.
    """
    records = [record for ran in result.rungs for record in ran.records]
    first = records[0].environment
    lines = [
        ("Engine", _engines(records)),
        ("Versions", _versions(first)),
        ("Machine", _machine(first)),
        ("Source", _source(first)),
        ("Data", _data(records)),
        ("Training time", _duration(sum(row.seconds for r in records for row in r.rows))),
    ]
    differing = sorted({key for record in records for key in _differing(first, record.environment)})
    if differing:
        note = (
            f"runs were made in different environments (differing in {', '.join(differing)}); each "
            "folder's environment.json tells its"
        )
        lines.append(("Note", note))
    resumed = sum(_moved(record.environment) for record in records)
    if resumed:
        note = (
            f"{count(resumed, 'run')} resumed in a changed environment; environment.json in the "
            "run's folder tells which, and after which epoch"
        )
        lines.append(("Resumed", note))
    return [(label, value) for label, value in lines if value]


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """What of two places where runs were made is not the same."""
    found = [key for key in SETTING if one.get(key) != other.get(key)]
    engines = [environment.get("engine") for environment in (one, other)]
    settings = [
        {key: engine.get(key) for key in ENGINE} if isinstance(engine, Mapping) else engine
        for engine in engines
    ]
    return ["engine", *found] if settings[0] != settings[1] else found


def _moved(environment: Mapping[str, Any]) -> bool:
    """Whether a run went on in another place than it began in, if only for a while."""
    later = [resumed for resumed in environment.get("resumed", []) if isinstance(resumed, Mapping)]
    return any(_differing(environment, {**environment, **resumed}) for resumed in later)


def _engines(records: Sequence[RunRecord]) -> str:
    """What computed; where that was not one engine, each with its number of runs."""
    runs = Counter(" then ".join(_engines_of(record.environment)) for record in records)
    if len(runs) == 1:
        return next(iter(runs))
    return "; ".join(f"{engine or 'unknown'} ({count(n, 'run')})" for engine, n in runs.items())


def _engines_of(environment: Mapping[str, Any]) -> list[str]:
    """The engine that a run began with, and the others that took it on."""
    found = [_engine(environment)]
    for resumed in environment.get("resumed", []):
        engine = _engine(resumed) if isinstance(resumed, Mapping) else ""
        if engine and engine != found[-1]:
            found.append(engine)
    return found


def _engine(environment: Mapping[str, Any]) -> str:
    engine = environment.get("engine", "")
    return str(engine.get("description", "")) if isinstance(engine, Mapping) else str(engine)


def _versions(environment: Mapping[str, Any]) -> str:
    versions = {"python": environment.get("python"), **environment.get("packages", {})}
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version)


def _machine(environment: Mapping[str, Any]) -> str:
    cores = environment.get("cores")
    parts = (
        environment.get("cpu"),
        count(cores, "core") if isinstance(cores, int) else None,
        environment.get("system"),
    )
    return ", ".join(str(part) for part in parts if part)


def _source(environment: Mapping[str, Any]) -> str:
    source = environment.get("source", {})
    commit = f"commit {source['commit'][:12]}" if source.get("commit") else ""
    changed = " with changes" if source.get("modified") else ""
    digest = f"SHA-256 of the package {source['sha256'][:12]}" if source.get("sha256") else ""
    return ", ".join(part for part in (f"{commit}{changed}", digest) if part)


def _data(records: Sequence[RunRecord]) -> str:
    """The data sets, each once: a rung may train on others than the rung before."""
    found = dict.fromkeys(_dataset(record.environment.get("data", {})) for record in records)
    return "; ".join(name for name in found if name)


def _dataset(data: Mapping[str, Any]) -> str:
    digest = f", SHA-256 {data['sha256'][:12]}" if data.get("sha256") else ""
    return f"{data['name']}{digest}" if data.get("name") else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
