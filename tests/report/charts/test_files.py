"""SVG files: whole by themselves, with every stage, the same bytes from the same records."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from kilonet.analysis import analyze
from kilonet.report.charts.files import curves_file, ladder_file
from kilonet.report.content import Content
from kilonet.spec import Study
from kilonet.study import StudyResult
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows, notebook_result, seeded_result

SVG = "{http://www.w3.org/2000/svg}"


def content_of(result: StudyResult) -> Content:
    return Content(result=result, analysis=analyze(result, test_images=TEST_IMAGES))


@pytest.mark.parametrize("result", [notebook_result(), seeded_result(seeds=2)], ids=["one", "two"])
def test_a_file_is_whole(result: StudyResult) -> None:
    content = content_of(result)
    files = [ladder_file(content), *(curves_file(s, target=99.4) for s in content.stages)]
    for text in files:
        root = ET.fromstring(text)
        assert root.tag == f"{SVG}svg"
        assert root.attrib["viewBox"] == f"0 0 {root.attrib['width']} {root.attrib['height']}"
        assert root.findtext(f"{SVG}title")
        assert "prefers-color-scheme: dark" in (root.findtext(f"{SVG}style") or "")
        assert "href" not in text
        assert "url(http" not in text
        ids = [each.attrib["id"] for each in root.iter() if "id" in each.attrib]
        assert len(ids) == len(set(ids))
    strips = [e for e in ET.fromstring(files[0]).iter() if e.attrib.get("class") == "strip"]
    assert len(strips) == len(content.stages)
    curves = [e for e in ET.fromstring(files[1]).iter(f"{SVG}svg") if e.attrib.get("role") == "img"]
    assert len(curves) == 1 + 4
    assert files[0] == ladder_file(content_of(result))


def test_long_and_hostile_names() -> None:
    data = FOUR_STAGES.to_dict()
    data["stage"][0]["name"] = "</text><script>alert(1)</script> and a long name " * 3
    content = content_of(made_result(Study.from_dict(data), [[made_rows([99.0] * 5)] * 2]))
    text = ladder_file(content)
    assert "<script" not in text
    names = [e.text for e in ET.fromstring(text).iter() if e.attrib.get("class") == "row-name"]
    assert len(names) == 2
    assert str(names[-1]).endswith("…")
