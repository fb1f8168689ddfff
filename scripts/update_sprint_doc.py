"""Write the race's figures into docs/sprint.md, so that none is typed by hand.

python benchmarks/sprint.py --json sprint.json
python scripts/update_sprint_doc.py sprint.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from update_engine_doc import read_json, replaced, script

from kilonet.formatting import count

ROOT = Path(__file__).parent.parent
DOC = "docs/sprint.md"


def section(found: dict[str, Any]) -> str:
    """The machine, each stage in a sentence, and the table of both sides."""
    stages = found["stages"]
    # All stages of a race have the same seeds.
    head = (
        f"Measured on {found['cpu']}: {found['engine']}; PyTorch {found['torch']}, "
        f"{count(found['threads'], 'thread')}. {count(len(stages[0]['seeds']), 'seed')} a stage."
    )
    lines = "\n".join(f"- {sentence(stage)}" for stage in stages)
    table = script("sprint_table").table(stages).to_markdown()
    return f"{head}\n\n{lines}\n\n{table}\n"


def sentence(stage: dict[str, Any]) -> str:
    """A stage's result in a sentence: accuracy, seconds, the ratio."""
    own, ratio = stage["kilonet"], stage["ratio"]
    accuracy, seconds = own["accuracy"], own["seconds"]
    interval = ""
    if accuracy["ci95"] is not None:
        low, high = accuracy["ci95"]
        interval = f" (95 % interval {low:.2f} to {high:.2f})"
    return (
        f"**{stage['name']}**: a mean of {accuracy['mean']:.2f} %{interval} after "
        f"{seconds['mean']:.2f} seconds, {count(stage['epochs'], 'epoch')} of "
        f"{stage['parameters']:,} parameters. PyTorch takes {ratio['median']:.1f} times as long "
        f"({ratio['min']:.1f} to {ratio['max']:.1f})."
    )


def main() -> None:
    """Rewrite docs/sprint.md in place."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("race", type=Path, help="of benchmarks/sprint.py --json")
    found = read_json(parser.parse_args().race)
    path = ROOT / DOC
    try:
        content = section(found)
    except KeyError as error:
        raise SystemExit(f"the race has no {error}; measure again with this version") from None
    path.write_text(replaced(path.read_text("utf-8"), "sprint", content, file=DOC), "utf-8")


if __name__ == "__main__":
    main()
