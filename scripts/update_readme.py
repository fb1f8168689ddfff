"""Put into README.md what the program prints, so that no figure there is typed by hand.

    python scripts/update_readme.py kilonet-studies/mnist-8k

The folder is of a finished study. Its ladder, conclusions and picture go between the README's
markers, with the machine they were made on; the summary and the Python example are refreshed too.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

from kilonet.analysis import RungAnalysis, analyse
from kilonet.report import tables
from kilonet.report.provenance import environment_lines
from kilonet.spec import load_net
from kilonet.study import StudyResult, read_study
from kilonet.summary import summarise

ROOT = Path(__file__).parent.parent
PICTURE = "docs/mnist-8k.png"


def study_section(result: StudyResult) -> str:
    """The ladder as the report has it, and what it was made with."""
    images = result.rungs[0].records[0].environment["data"]["test_images"]
    analysis = analyse(result, test_images=images)
    seeds = analysis.rungs[0].seeds
    note = tables.LADDER_NOTE.replace("*", "\\*", 1)
    made = "; ".join(f"{name.lower()}: {value}" for name, value in environment_lines(result))
    rungs = "\n".join(
        f"- **{rung.number}. {rung.name}.** {' '.join(_gist(rung))}" for rung in analysis.rungs
    )
    return f"""\
The bundled study over {seeds} {"seed" if seeds == 1 else "seeds"}, as `report.md` tells it:

{tables.ladder(result, analysis).to_markdown()}

{note}

![Test accuracy of every rung against the target]({PICTURE})

{chr(10).join(f"- {sentence}" for sentence in analysis.conclusions)}

Of each rung's analysis, the target and what the step did (of the first rung, the gap):

{rungs}

Made with {made}.
"""


def _gist(rung: RungAnalysis) -> tuple[str, str]:
    """Of a rung's findings, the target's sentence and the effect's, or the gap's without one."""
    said = {finding.kind: finding.sentence for finding in rung.findings}
    return said["target"], said.get("effect") or said["gap"]


def summary_section() -> str:
    """The summary of the bundled network, without the rows in the middle."""
    summary = summarise(load_net("interim"))
    layers = summary.layer_table.splitlines()
    last = next(i for i, line in enumerate(layers) if line.startswith("Total params"))
    shown = [*layers[:7], "                             …", *layers[last - 2 : last + 1]]
    columns = summary.receptive_field_table
    return "\n".join(
        [*shown, "", columns.to_text(width=104), "", f"Channels: {summary.channel_line}"]
    )


def example_section() -> str:
    """The Python example without its docstring."""
    example = (ROOT / "examples" / "first_steps.py").read_text("utf-8")
    return example.split('"""')[2].strip()


def main() -> None:
    """Rewrite README.md in place."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, nargs="?", help="folder of a finished study")
    folder = parser.parse_args().study
    readme = ROOT / "README.md"
    text = readme.read_text("utf-8")
    if folder is not None:
        section = study_section(read_study(folder))
        text = _between(text, "<!-- study -->\n", "<!-- /study -->", section)
        shutil.copyfile(folder / "figures" / "ladder.png", ROOT / PICTURE)
    text = _between(text, "```text\n", "```", summary_section() + "\n")
    text = _between(text, "```python\n", "```", example_section() + "\n")
    readme.write_text(text, "utf-8")


def _between(text: str, begin: str, end: str, content: str) -> str:
    pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
    replaced, count = pattern.subn(lambda found: found[1] + content + found[2], text)
    if count != 1:
        raise SystemExit(f"README.md: {count} places between {begin!r} and {end!r}; there is one")
    return replaced


if __name__ == "__main__":
    main()
