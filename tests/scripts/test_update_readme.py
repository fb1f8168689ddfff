"""What goes into README.md of a study."""

from __future__ import annotations

from file_modules import load
from kilonet.analysis import analyze
from kilonet.report.content import Content
from ladders import TEST_IMAGES, notebook_result

update_readme = load("scripts/update_readme.py")


def test_each_stage_has_its_target_and_its_effect() -> None:
    result = notebook_result()
    content = Content(result=result, analysis=analyze(result, test_images=TEST_IMAGES))
    section = update_readme.study_section(content)
    lines = [line for line in section.splitlines() if line.startswith("- **")]
    assert len(lines) == 3
    for line, stage in zip(lines, content.analysis.stages, strict=True):
        sentences = {finding.kind: finding.sentence for finding in stage.findings}
        second = sentences["gap"] if stage.number == 1 else sentences["effect"]
        assert line == f"- **{stage.number}. {stage.name}.** {sentences['target']} {second}"
    assert "(docs/mnist-8k.svg)" in section
