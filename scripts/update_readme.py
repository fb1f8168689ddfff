"""Write the program's output into README.md, so that no figure there is typed by hand.

    python scripts/update_readme.py kilonet-studies/mnist-8k

The folder is of a finished study. Its ladder, conclusions and chart go between the README's
markers, with the machine that it ran on; the summary and the Python example are renewed too.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from kilonet.analysis import StageAnalysis
from kilonet.report import tables
from kilonet.report.charts.files import ladder_file
from kilonet.report.content import Content
from kilonet.report.provenance import environment_lines
from kilonet.report.rebuild import analyze_records
from kilonet.spec import load_net
from kilonet.study import read_study
from kilonet.summary import summarize

ROOT = Path(__file__).parent.parent
CHART = "docs/mnist-8k.svg"


def study_section(content: Content) -> str:
    """The ladder as in the report, and where it was made."""
    result, analysis = content.result, content.analysis
    note = tables.BEST_NOTE.replace("*", "\\*", 1)
    made = "; ".join(f"{name.lower()}: {value}" for name, value in environment_lines(result))
    stages = "\n".join(
        f"- **{stage.number}. {stage.name}.** {' '.join(_gist(stage))}" for stage in analysis.stages
    )
    return f"""\
The bundled study over {content.seeds}, from `report.md`:

{tables.ladder(result, analysis).to_markdown()}

{note}

![Final test accuracy of each stage, and the target]({CHART})

{chr(10).join(f"- {sentence}" for sentence in analysis.conclusions)}

From each stage's analysis, the target and the effect of the change (of the first stage, the gap):

{stages}

Made with {made}.
"""


def _gist(stage: StageAnalysis) -> tuple[str, str]:
    """The sentence of the target and that of the effect, or of the gap without one."""
    sentences = {finding.kind: finding.sentence for finding in stage.findings}
    return sentences["target"], sentences.get("effect") or sentences["gap"]


def summary_section() -> str:
    """The summary of the bundled network, without its middle rows."""
    summary = summarize(load_net("interim"))
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
        result = read_study(folder)
        content = Content(result=result, analysis=analyze_records(result))
        section = study_section(content)
        text = _between(text, "<!-- study -->\n", "<!-- /study -->", section)
        (ROOT / CHART).write_text(ladder_file(content), "utf-8")
    text = _between(text, "```text\n", "```", summary_section() + "\n")
    text = _between(text, "```python\n", "```", example_section() + "\n")
    readme.write_text(text, "utf-8")


def _between(text: str, begin: str, end: str, content: str) -> str:
    pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
    replaced, count = pattern.subn(lambda found: found[1] + content + found[2], text)
    if count != 1:
        raise SystemExit(f"README.md: {count} places between {begin!r} and {end!r}, not one")
    return replaced


if __name__ == "__main__":
    main()
