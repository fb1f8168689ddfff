"""Keep a finished study as a record in results/NAME/, and compare a repetition with it.

    kilonet study my-record.toml --out made
    python scripts/record.py keep made --claim "…" --chosen-by "…"
    python scripts/record.py check made

A record is the study's last stage over all its seeds: ``study.toml``, which repeats it,
``rows.jsonl`` with a line a seed and epoch, and ``record.json``. ``check`` compares a study that
was run from ``results/NAME/study.toml`` with the record of its name: the mean should lie in the
record's interval. scripts/update_records.py writes docs/records.md from all records.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from kilonet.analysis.descriptive import describe
from kilonet.spec import Study, to_toml
from kilonet.storage.atomic import write_atomically
from kilonet.storage.record import RunRecord
from kilonet.study import read_study
from kilonet.study.result import StudyResult

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"


def record_of(result: StudyResult, *, claim: str, chosen_by: str) -> dict[str, Any]:
    """The record of a study's last stage: ``record.json``.

    Accuracies are in percent, of the test set after the last epoch; seconds are those of a run's
    training steps, without evaluation, the mean over the seeds.

    Raises:
        ValueError: the study has one seed, or seeds without any difference.
    """
    stage = result.stages[-1]
    records = stage.records
    final = describe([record.final_test_accuracy for record in records], limits=(0.0, 100.0))
    if final.ci95 is None:
        raise ValueError(f"{result.path}: has no interval; a record needs several seeds")
    epochs = len(records[0].rows)
    study = result.study
    return {
        "name": study.name,
        "claim": claim,
        "mean": round(final.mean, 4),
        "ci95": [round(end, 4) for end in final.ci95],
        "min": final.minimum,
        "max": final.maximum,
        "seeds": final.n,
        "target": study.target,
        "reached": sum(record.reached(study.target) for record in records),
        "parameters": stage.parameters,
        "epochs": epochs,
        "train_seconds": round(fmean(map(_train_seconds, records)), 3),
        "chosen_by": chosen_by,
        "machine": _machine(records[0]),
        "source": records[0].provenance.source.sha256,
        "command": f"kilonet study results/{study.name}/study.toml",
    }


def rows_of(result: StudyResult) -> list[dict[str, Any]]:
    """A row a seed and epoch: its seed, and the fields of an epoch's row that have a value."""
    return [
        {"seed": record.run.train.seed}
        | {key: value for key, value in vars(row).items() if value is not None}
        for record in result.stages[-1].records
        for row in record.rows
    ]


def keep(result: StudyResult, *, results: Path, claim: str, chosen_by: str) -> Path:
    """Write the record's folder; returns it."""
    folder = results / result.study.name
    record = record_of(result, claim=claim, chosen_by=chosen_by)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "study.toml", study_toml(result.study, folder=folder))
    lines = [json.dumps(row) for row in rows_of(result)]
    write_atomically(folder / "rows.jsonl", "\n".join([*lines, ""]))
    text = json.dumps(record, indent=2, ensure_ascii=False)
    write_atomically(folder / "record.json", f"{text}\n")
    return folder


def study_toml(study: Study, *, folder: Path) -> str:
    """The study as a file; paths in it start at ``folder``."""
    return to_toml(study, folder=folder)


def check(result: StudyResult, *, results: Path) -> tuple[bool, str]:
    """Whether a repetition's mean lies in the record's interval, and a sentence on it.

    Raises:
        ValueError: there is no such record, or the study differs from it.
    """
    folder = results / result.study.name
    if not (folder / "record.json").is_file():
        raise ValueError(f"{folder}: holds no record")
    kept = json.loads((folder / "record.json").read_text("utf-8"))
    if study_toml(result.study, folder=folder) != (folder / "study.toml").read_text("utf-8"):
        raise ValueError(f"{result.path}: is another study than {folder / 'study.toml'}")
    found = record_of(result, claim=kept["claim"], chosen_by=kept["chosen_by"])
    low, high = kept["ci95"]
    inside = low <= found["mean"] <= high
    same = [row["test_accuracy"] for row in rows_of(result)] == [
        json.loads(line)["test_accuracy"]
        for line in (folder / "rows.jsonl").read_text("utf-8").splitlines()
    ]
    bits = "every epoch of every seed as recorded" if same else "other bits than the record's"
    return inside, (
        f"{kept['name']}: mean {found['mean']:.3f} %, {'' if inside else 'not '}within the "
        f"record's {low:.3f} to {high:.3f} %; {bits}"
    )


def _train_seconds(record: RunRecord) -> float:
    return sum(
        row.seconds if row.train_seconds is None else row.train_seconds for row in record.rows
    )


def _machine(record: RunRecord) -> str:
    """The processor, and what the engine's bits depend on."""
    machine, engine = record.provenance.machine, record.provenance.engine
    cores = f"{machine.cores} cores" if machine.cores else ""
    return ", ".join(filter(None, (machine.cpu, cores, engine.description)))


def main() -> int:
    """Keep or check; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    keeping = commands.add_parser("keep", help="write results/NAME/ from a finished study")
    keeping.add_argument("study", type=Path, help="the study's folder")
    keeping.add_argument("--claim", required=True, help="what the record is of, in words")
    keeping.add_argument("--chosen-by", required=True, help="how the configuration was chosen")
    checking = commands.add_parser("check", help="compare a repetition with its record")
    checking.add_argument("study", type=Path, help="the repetition's folder")
    options = parser.parse_args()
    result = read_study(options.study)
    try:
        if options.command == "keep":
            claim, chosen_by = options.claim, options.chosen_by
            print(keep(result, results=RESULTS, claim=claim, chosen_by=chosen_by))
            return 0
        inside, sentence = check(result, results=RESULTS)
    except ValueError as error:
        sys.exit(str(error))
    print(sentence)
    return 0 if inside else 1


if __name__ == "__main__":
    sys.exit(main())
