"""Write docs/records.md from results/*/record.json, so that no figure there is typed by hand.

python scripts/update_records.py
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kilonet.spec import load_study
from kilonet.summary import summarize
from kilonet.table import Table

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
PAGE = ROOT / "docs" / "records.md"

INTRODUCTION = """\
# Records

The best that kilonet's own networks do on MNIST, as means: a mean over seeds is what a reader can
repeat, a best run or a best epoch is not. For each record, the configuration was chosen on a
validation split of the training set, then trained on all 60,000 images with seeds that had no part
in the choice. The accuracy is that of the test set after the final epoch; no choice used it, and
where a configuration like it had been measured on the test set before, "Chosen by" says so. The
interval is Student's 95 % interval of the mean over seeds: it says how far other seeds would move
the mean on the same 10,000 test images, see [statistics.md](statistics.md).

Each record is a folder of `results/`: `study.toml`, the rows of all seeds, and `record.json`, from
which `python scripts/update_records.py` writes this page. The command repeats it, to the same bits
on the same instruction set; `python scripts/record.py check FOLDER` compares the repetition with
the record.
"""


def read_records(results: Path) -> list[dict[str, Any]]:
    """All records, those with the most parameters first."""
    files = sorted(results.glob("*/record.json"))
    found = [json.loads(file.read_text("utf-8")) for file in files]
    return sorted(found, key=lambda record: (-record["parameters"], record["name"]))


def page(records: Sequence[dict[str, Any]], *, results: Path) -> str:
    """docs/records.md."""
    table = Table(
        columns=("Record", "Parameters", "Epochs", "Mean", "95 % interval", "Min", "Max", "Seeds"),
        rows=tuple(
            (
                f"{record['claim']} ({record['name']})",
                f"{record['parameters']:,}",
                str(record["epochs"]),
                f"{record['mean']:.3f} %",
                "{:.3f} to {:.3f}".format(*record["ci95"]),
                f"{record['min']:.2f}",
                f"{record['max']:.2f}",
                str(record["seeds"]),
            )
            for record in records
        ),
        left=frozenset({0}),
    )
    sections = [section(record, results=results) for record in records]
    return "\n".join([INTRODUCTION, table.to_markdown(), "", *sections]).rstrip() + "\n"


def section(record: dict[str, Any], *, results: Path) -> str:
    """One record: what it is, how it was chosen and made, and the command that repeats it."""
    study = load_study(str(results / record["name"] / "study.toml"))
    summary = summarize(study.stages[-1].run.net)
    return f"""\
## {record["name"]}

{record["claim"]}. Mean {record["mean"]:.3f} % (95 % interval {record["ci95"][0]:.3f} to \
{record["ci95"][1]:.3f}, {record["min"]:.2f} to {record["max"]:.2f}) over {record["seeds"]} seeds. \
{record["reached"]} of {record["seeds"]} seeds had at least {record["target"]:g} % in each of the \
last three epochs. {record["parameters"]:,} parameters, {summary.macs:,} multiply-adds per image, \
{record["epochs"]} epochs, {record["train_seconds"]:.1f} s of training steps per run.

- Network: {summary.channel_line}
- Chosen by: {record["chosen_by"]}
- Machine: {record["machine"]}
- Again: `{record["command"]}`
"""


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(read_records(RESULTS), results=RESULTS), "utf-8")


if __name__ == "__main__":
    main()
