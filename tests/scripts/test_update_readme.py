"""What goes into README.md of a study."""

from __future__ import annotations

from dataclasses import replace

from file_modules import load
from kilonet.analysis import analyse
from kilonet.study import StudyResult
from ladders import TEST_IMAGES, notebook_result

update_readme = load("scripts/update_readme.py")


def with_test_images(result: StudyResult) -> StudyResult:
    data = {"data": {"name": "mnist", "test_images": TEST_IMAGES}}
    return replace(
        result,
        rungs=tuple(
            replace(
                ran,
                records=tuple(
                    replace(record, environment={**record.environment, **data})
                    for record in ran.records
                ),
            )
            for ran in result.rungs
        ),
    )


def test_each_rung_is_told_by_its_target_and_its_effect() -> None:
    result = with_test_images(notebook_result())
    section = update_readme.study_section(result)
    lines = [line for line in section.splitlines() if line.startswith("- **")]
    rungs = analyse(result, test_images=TEST_IMAGES).rungs
    assert len(lines) == len(rungs) == 3
    for line, rung in zip(lines, rungs, strict=True):
        said = {finding.kind: finding.sentence for finding in rung.findings}
        second = said["gap"] if rung.number == 1 else said["effect"]
        assert line == f"- **{rung.number}. {rung.name}.** {said['target']} {second}"
    assert "last two sentences" not in section
    assert "the target and what the step did (of the first rung, the gap):" in section
