"""What goes into docs/engine.md and README.md of measurements."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_results import made_bench, timing
from file_modules import load
from kilonet.bench import Comparison
from kilonet.bench.native import KernelRate
from kilonet.bench.result import NATIVE
from kilonet.bench.work import layer_work
from kilonet.engine.native.layer_times import ProfileRow
from kilonet.spec import load_run

ROOT = Path(__file__).resolve().parents[2]
update = load("scripts/update_engine_doc.py")


def found() -> dict[str, Any]:
    """The JSON of a complete benchmark."""
    result = made_bench()
    both, _ = result.steps
    one = {**both.timings, NATIVE: timing(0.0036)}
    result.steps = [both, replace(both, threads=1, timings=one, baselines=())]
    result.evaluation = Comparison(
        threads=2,
        timings={NATIVE: timing(0.05), "PyTorch eager": timing(0.4)},
        baselines=("PyTorch eager",),
    )
    result.kernels = [
        KernelRate(
            work=layer_work(load_run("interim").net)[0],
            kernel="forward",
            intensity=3.0,
            gflops=141.4,
            seconds=1e-3,
        )
    ]
    result.profile = [
        ProfileRow(layer="", operation="", phase="input", seconds=0.001, calls=8),
        ProfileRow(
            layer="convblock1.0", operation="Conv2d", phase="forward", seconds=0.003, calls=8
        ),
    ]
    return json.loads(json.dumps(result.to_json()))


VERSUS = {
    "cpu": "A processor",
    "threads": 2,
    "torch": "3.4",
    "networks": {
        "tiny": {
            "1": {"ratio": 0.8, "native_ms": 1.0, "torch_ms": 0.8},
            "1024": {"ratio": 12.34, "native_ms": 1.0, "torch_ms": 12.34},
        }
    },
}
SCALING = {
    "cpu": "A processor",
    "slopes": {"images": 1.002, "width": 0.87, "batch_size": 0.95},
    "axes": {
        axis: [{"work": 1024, "seconds": 0.002}, {"work": 32768, "seconds": 0.064}]
        for axis in ("images", "width", "batch_size")
    },
}


def test_the_steps_and_what_they_come_to() -> None:
    section = update.bench_section(found())
    assert "Measured on A processor (avx2), 2 threads; kilonet 1.2, PyTorch 3.4." in section
    assert "**A training step of 128, 2 threads; ceiling 500 GFLOP/s** (3 rounds)" in section
    # 0.5 GFLOP in 2 ms are 250 GFLOP/s of 500.
    assert "| kilonet native | 2.00 | 2.00 to 3.00 | – | 50.0 % |" in section
    assert "| PyTorch eager | 30.00 | 26.00 to 36.00 | 15.0 | 3.3 % |" in section
    # By round: 15, 12 and 13.
    assert "PyTorch float32, eager, takes 13.0 (12.0 to 15.0) times as long." in section
    assert "with dropout's masks drawn more cheaply, takes 8.0 times as long." in section
    assert "2 threads are 1.80 times as fast as one." in section
    assert "| PyTorch eager | 400.00 | 400.00 to 400.00 | 8.0 |" in section
    assert "| the notebook's way | 31.00 | 31.00 to 31.00 | 15.5 |" in section
    assert "100 MB, the notebook's way 500 MB and up to 200 MB in each" in section
    assert "Not timed: JAX: not installed." in section


def test_what_was_not_measured_is_left_out() -> None:
    quick = {**found(), "evaluation": None, "epoch": None, "peak_bytes": None, "skipped": []}
    section = update.bench_section(quick)
    for absent in ("Evaluation", "epoch", "memory", "Not timed", "None"):
        assert absent not in section
    lines = update.speed_section(quick).splitlines()
    assert [line.partition(" ")[2].partition(" ")[0] for line in lines] == ["A", "Measured"]


def test_the_readme_claims_what_was_measured() -> None:
    step, epoch, memory, machine = update.speed_section(found()).splitlines()
    assert step.startswith("- A training step of 128: 13.0 (12.0 to 15.0) times as fast as PyTorch")
    assert "here (n = 3 rounds), 50 % of the machine's multiply-adds. kilonet's own" in step
    assert step.endswith("drawn more cheaply, takes 8.0 times as long.")
    assert epoch.startswith("- An epoch with rotation: 2.0 s, 15.5 (15.5 to 15.5) times as fast as")
    assert epoch.endswith("(n = 1 round).")
    assert "run: 100 MB, the notebook's way 500 MB and up to 200 MB in each of its" in memory
    assert machine.endswith("on A processor (avx2), 2 threads; kilonet 1.2, PyTorch 3.4.")


def test_layers_and_their_kernels() -> None:
    section = update.layers_section(found())
    assert section.startswith("A step's 4.00 ms by layer, the sum of 2 threads")
    assert "| (input) | 1.000 | – | – | 25.0 % |" in section
    assert "| convblock1.0 Conv2d | 3.000 | – | – | 75.0 % |" in section
    name = layer_work(load_run("interim").net)[0].layer
    assert f"| {name} conv 8 | 141 | – | – |" in section


def test_growth_is_told_by_its_exponent() -> None:
    section = update.scaling_section(SCALING)
    assert "| 1,024 to 32,768 images | 2.00 to 64.00 ms | 1.00 |" in section
    assert "0.87" in section


@pytest.fixture
def documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what the script rewrites, and of the benchmark whose table it borrows."""
    for name in (update.DOC, update.README, "benchmarks/versus_torch.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((ROOT / name).read_text("utf-8"), "utf-8")
    monkeypatch.setattr(update, "ROOT", tmp_path)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, folder: Path, *results: dict[str, Any]) -> None:
    files = []
    for number, result in enumerate(results):
        files.append(str(folder / f"{number}.json"))
        Path(files[-1]).write_text(json.dumps(result), "utf-8")
    monkeypatch.setattr(sys, "argv", ["update_engine_doc.py", *files])
    update.main()


def test_documents_get_each_section_and_keep_the_rest(
    documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    run(monkeypatch, documents, found(), VERSUS, SCALING)
    doc = (documents / update.DOC).read_text("utf-8")
    assert "| tiny | 588 | 0.8 | – | – | – | – | – | 12.3 |" in doc
    assert "The least is 0.80 (tiny, batch 1). PyTorch is faster in 1 of 2 cases." in doc
    assert "| 1,024 to 32,768 images |" in doc
    assert "15.5) times as fast as the notebook's own way" in (documents / update.README).read_text(
        "utf-8"
    )
    # Once more with another machine's numbers alone: they take the place of these.
    other = found()
    other["machine"]["cpu"] = "Another"
    run(monkeypatch, documents, other)
    doc = (documents / update.DOC).read_text("utf-8")
    assert doc.count("Measured on") == 1
    assert "Measured on Another" in doc
    assert "| tiny | 588 |" in doc
    before = (ROOT / update.DOC).read_text("utf-8")
    for section in ("bench", "layers", "versus", "scaling"):
        doc = update.replaced(doc, section, "", file="")
        before = update.replaced(before, section, "", file="")
    assert doc == before


def test_numbers_of_two_machines_are_not_mixed(
    documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (documents / update.DOC).read_text("utf-8")
    with pytest.raises(SystemExit, match=r"1\.json: of another machine"):
        run(monkeypatch, documents, found(), {**VERSUS, "cpu": "Another"})
    assert (documents / update.DOC).read_text("utf-8") == before


def test_a_missing_marker_is_named() -> None:
    with pytest.raises(SystemExit, match=r"x\.md: 0 sections 'speed'"):
        update.replaced("no markers", "speed", "", file="x.md")


def test_a_result_of_another_version_ends_in_a_line(
    documents: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = found()
    del old["profile"]
    before = (documents / update.README).read_text("utf-8")
    with pytest.raises(SystemExit, match="a result has no 'profile'; measure again"):
        run(monkeypatch, documents, old)
    assert (documents / update.README).read_text("utf-8") == before


def test_what_is_no_json_ends_in_a_line(documents: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (documents / "bench.json").write_text("Measured", "utf-8")
    monkeypatch.setattr(sys, "argv", ["update_engine_doc.py", str(documents / "bench.json")])
    with pytest.raises(SystemExit, match=r"bench\.json: Expecting value"):
        update.main()
