"""Where runs were made: lines for every format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from kilonet.formatting import count
from kilonet.storage.provenance import Machine, Provenance, Source
from kilonet.storage.record import RunRecord
from kilonet.study import StudyResult


def environment_lines(result: StudyResult) -> list[tuple[str, str]]:
    """The environment of a study's runs; as :func:`environment_of`."""
    return environment_of([record for ran in result.stages for record in ran.records])


def environment_of(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """The environment of the first run, and how those of the others differ.

    Returns:
        A label and a value a line; unknown values are left out.
    """
    first = records[0].provenance
    lines = [
        ("Engine", _engines(records)),
        ("Module", "; ".join(filter(None, dict.fromkeys(map(_module, records))))),
        ("Versions", ", ".join(f"{name} {version}" for name, version in first.versions.items())),
        ("Machine", _machine(first.machine)),
        ("Source", _source(first.source)),
        ("Data", "; ".join(filter(None, dict.fromkeys(map(_data, records))))),
        ("Normalization", "; ".join(filter(None, dict.fromkeys(map(_normalization, records))))),
        ("Lineage", "; ".join(dict.fromkeys(part for r in records for part in _lineage(r)))),
        ("Training time", _duration(sum(row.seconds for r in records for row in r.rows))),
    ]
    differing = sorted({d for record in records for d in first.differences(record.provenance)})
    if differing:
        note = (
            f"the runs' environments differ in {', '.join(differing)}; environment.json in each "
            "run's folder has the details"
        )
        lines.append(("Note", note))
    resumed = sum(_resumed_elsewhere(record.provenance) for record in records)
    if resumed:
        note = (
            f"{count(resumed, 'run')} resumed in another environment; environment.json in the "
            "run's folder has the epoch"
        )
        lines.append(("Resumed", note))
    return [(label, value) for label, value in lines if value]


def _resumed_elsewhere(provenance: Provenance) -> bool:
    return any(provenance.differences(resumption) for resumption in provenance.resumed)


def _engines(records: Sequence[RunRecord]) -> str:
    """The engine; of several, each with its number of runs."""
    runs = Counter(_engine(record.provenance) for record in records)
    if len(runs) == 1:
        return next(iter(runs))
    return "; ".join(f"{engine or 'unknown'} ({count(n, 'run')})" for engine, n in runs.items())


def _engine(provenance: Provenance) -> str:
    """The engine that a run started with, and others that resumed it."""
    found = [provenance.engine.description]
    for resumption in provenance.resumed:
        engine = resumption.engine.description
        if engine and engine != found[-1]:
            found.append(engine)
    return " then ".join(found)


def _module(record: RunRecord) -> str:
    """The identity of the user's own module, whose layers are not known."""
    module = record.run.module
    if module is None:
        return ""
    source = f", source {module.source}" if module.source else ""
    size = count(module.num_parameters, "parameter")
    return f"{module.name}, your own, {size}, structure {module.structure}{source}"


def _machine(machine: Machine) -> str:
    cores = "" if machine.cores is None else count(machine.cores, "core")
    return ", ".join(filter(None, (machine.cpu, cores, machine.system)))


def _source(source: Source) -> str:
    commit = f"commit {source.commit[:12]}" if source.commit else ""
    changed = " with changes" if source.modified else ""
    digest = f"SHA-256 of the package {source.sha256[:12]}" if source.sha256 else ""
    return ", ".join(filter(None, (commit + changed, digest)))


def _data(record: RunRecord) -> str:
    data = record.provenance.data
    digest = f", SHA-256 {data.sha256[:12]}" if data.sha256 else ""
    return f"{data.name}{digest}" if data.name else ""


def _normalization(record: RunRecord) -> str:
    used = record.provenance.normalization
    return f"{used}, of pixels scaled to [0, 1]" if used.mean else ""


def _lineage(record: RunRecord) -> list[str]:
    """The runs that a run builds on, a text each."""
    return [
        f"{ancestor.role} {ancestor.path}"
        + (f" ({count(ancestor.epochs, 'epoch')})" if ancestor.epochs is not None else "")
        + (f", SHA-256 {ancestor.sha256[:12]}" if ancestor.sha256 else "")
        for ancestor in record.provenance.lineage
    ]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
