"""Write measured times into docs/engine.md and README.md, so that none is typed by hand.

    kilonet bench --json --figure docs/roofline.png > bench.json
    python benchmarks/versus_torch.py --out versus.json
    python benchmarks/scaling.py --json --figure docs/scaling.png > scaling.json
    python scripts/update_engine_doc.py bench.json versus.json scaling.json

Each file fills its marked sections; sections without a file are unchanged. What was not measured,
as with ``kilonet bench --quick``, is left out of the sections.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

from kilonet.bench.result import KILONET_TORCH, NATIVE, NOTEBOOK
from kilonet.bench.tables import profile_table
from kilonet.engine.native.layer_times import ProfileRow
from kilonet.formatting import count
from kilonet.table import Table

ROOT = Path(__file__).parent.parent
DOC, README = "docs/engine.md", "README.md"
KERNELS = ("forward", "weight gradient", "input gradient")

Found = dict[str, Any]


def made_on(bench: Found) -> str:
    """Machine, threads and versions, as the end of a sentence."""
    machine = bench["machine"]
    titles = {"kilonet": "kilonet", "torch": "PyTorch", "jax": "JAX"}
    versions = [f"{title} {machine[key]}" for key, title in titles.items() if machine.get(key)]
    where = f"{machine['cpu']} ({machine['instruction_set']}), {count(bench['threads'], 'thread')}"
    return f"{where}; {', '.join(versions)}"


def bench_section(bench: Found) -> str:
    """Steps on all threads and on one, evaluation, epoch and memory."""
    head = (
        f"Measured on {made_on(bench)}. Network `{bench['net']}`: {bench['parameters']:,} "
        f"parameters, {bench['flop_per_image'] / 1e6:.2f} MFLOP per training image. Medians are of "
        "all calls; implementations alternate; a ratio with a range is the median of the rounds."
    )
    parts = [head]
    steps = bench["steps_by_threads"]
    for threads, step in steps.items():
        title = f"A training step of {bench['batch_size']}, {count(int(threads), 'thread')}"
        ceiling = f"ceiling {step['ceiling_gflops']:.0f} GFLOP/s"
        parts.append(_comparison(f"{title}; {ceiling}", step, unit="ms"))
        if step["ratio"] is not None:
            parts.append(
                f"The fastest PyTorch float32, {step['torch_variant'].removeprefix('PyTorch ')}, "
                f"takes {_ratio(step)} times as long.{_cheap_dropout(step)}"
            )
    if len(steps) > 1:
        most, one = (step["native_ms"] for step in (bench["step"], steps["1"]))
        parts.append(
            f"{count(bench['threads'], 'thread')} are {one / most:.2f} times as fast as one."
        )
    if bench["evaluation"] is not None:
        parts.append(_comparison("Evaluation of 10,000 images", bench["evaluation"], unit="ms"))
    if bench["epoch"] is not None:
        title = "An epoch of 60,000 images with rotation, and the evaluation"
        parts.append(_comparison(title, bench["epoch"], unit="s"))
    if bench["peak_bytes"] is not None:
        parts.append(f"Peak memory of a training run: {_memory(bench)}.")
    if bench["skipped"]:
        parts.append("Not timed: " + "; ".join(bench["skipped"]) + ".")
    return "\n\n".join(parts) + "\n"


def _comparison(title: str, found: Found, *, unit: str) -> str:
    """A table of implementations: medians, quartiles, ratio to native, share of the ceiling."""
    factor = {"ms": 1.0, "s": 1e-3}[unit]
    every = found["implementations"]
    own = every[NATIVE]
    shares = own["share_of_ceiling"] is not None
    rows = []
    for name, each in every.items():
        low, high = (factor * quartile for quartile in each["quartiles_ms"])
        row = [
            "the notebook's way" if name == NOTEBOOK else name,
            f"{factor * each['median_ms']:.2f}",
            f"{low:.2f} to {high:.2f}",
            "–" if name == NATIVE else f"{each['median_ms'] / own['median_ms']:.1f}",
        ]
        rows.append((*row, f"{100 * each['share_of_ceiling']:.1f} %") if shares else tuple(row))
    columns = ("Implementation", f"Median ({unit})", "Quartiles", "Times native's")
    if shares:
        columns = (*columns, "Of the ceiling")
    table = Table(columns=columns, rows=tuple(rows), left=frozenset({0}))
    return f"**{title}** ({_rounds(found)})\n\n{table.to_markdown()}"


def _rounds(found: Found) -> str:
    return count(found["implementations"][NATIVE]["rounds"], "round")


def _ratio(found: Found) -> str:
    return f"{found['ratio']:.1f} ({found['ratio_low']:.1f} to {found['ratio_high']:.1f})"


def _cheap_dropout(step: Found) -> str:
    """A sentence on the torch engine, which shows nn.Dropout's share of PyTorch's time."""
    every = step["implementations"]
    if KILONET_TORCH not in every:
        return ""
    times = every[KILONET_TORCH]["median_ms"] / every[NATIVE]["median_ms"]
    return (
        " kilonet's own torch engine, PyTorch with dropout's masks drawn more cheaply, takes "
        f"{times:.1f} times as long."
    )


def _memory(bench: Found) -> str:
    line = f"{bench['peak_bytes'] / 1e6:.0f} MB"
    notebook, worker = bench["notebook_peak_bytes"], bench["notebook_worker_peak_bytes"]
    if notebook is not None:
        line += f", the notebook's way {notebook / 1e6:.0f} MB"
        if worker:
            line += f" and up to {worker / 1e6:.0f} MB in each of its workers"
    return line


def layers_section(bench: Found) -> str:
    """The profile of a step, and the speed of each convolution's kernels."""
    profile = [
        ProfileRow(
            layer=row["layer"],
            operation=row["operation"],
            phase=row["phase"],
            seconds=1e-3 * row["thread_ms"],
            calls=row["calls"],
        )
        for row in bench["profile"]
    ]
    times = profile_table(profile, threads=bench["threads"])
    rates: dict[tuple[str, str], dict[str, float]] = {}
    for kernel in bench["kernels"]:
        rates.setdefault((kernel["layer"], kernel["text"]), {})[kernel["kernel"]] = kernel["gflops"]
    rows = tuple(
        (f"{layer} {text}", *(f"{of[name]:.0f}" if name in of else "–" for name in KERNELS))
        for (layer, text), of in rates.items()
    )
    columns = ("Layer", *(name.capitalize() for name in KERNELS))
    speeds = Table(columns=columns, rows=rows, left=frozenset({0}))
    return f"""\
{times.title}:

{times.to_markdown()}

The same kernels in nominal GFLOP/s, {count(bench["threads"], "thread")} together; the ceiling is \
{bench["ceiling_gflops"]:.0f}:

{speeds.to_markdown()}
"""


def versus_section(versus: Found, table: Table) -> str:
    """The networks' table, the worst case, and how often PyTorch is faster."""
    every = [
        (row["ratio"], name, size)
        for name, rows in versus["networks"].items()
        for size, row in rows.items()
    ]
    ratio, name, size = min(every)
    slower = sum(each[0] < 1 for each in every)
    return f"""\
The time of a training step in PyTorch {versus["torch"]} eager over that in kilonet, on \
{versus["cpu"]}, {count(versus["threads"], "thread")}:

{table.to_markdown()}

The least is {ratio:.2f} ({name}, batch {int(size):,}). PyTorch is faster in {slower} of \
{len(every)} cases.
"""


AXES = {
    "images": ("Images of an epoch's part", "images"),
    "width": ("Channels of every layer, as FLOP", "times the bundled network's FLOP"),
    "batch_size": ("Images of one step", "images"),
}


def scaling_section(scaling: Found) -> str:
    """For each axis the range, and the exponent of time against work."""
    rows = []
    for axis, (title, unit) in AXES.items():
        points = scaling["axes"][axis]
        first, last = points[0], points[-1]
        rows.append(
            (
                title,
                f"{first['work']:,.5g} to {last['work']:,.5g} {unit}",
                f"{1e3 * first['seconds']:.2f} to {1e3 * last['seconds']:.2f} ms",
                f"{scaling['slopes'][axis]:.2f}",
            )
        )
    columns = ("What grows", "Work", "Time", "Exponent")
    table = Table(columns=columns, rows=tuple(rows), left=frozenset({0, 1, 2}))
    return f"On {scaling['cpu']}:\n\n{table.to_markdown()}\n"


def speed_section(bench: Found) -> str:
    """The README's lines: step, epoch, memory, machine."""
    step, epoch = bench["step"], bench["epoch"]
    lines = []
    if step["ratio"] is not None:
        lines.append(
            f"- A training step of {bench['batch_size']}: {_ratio(step)} times as fast as "
            f"{step['torch_variant']}, the fastest PyTorch float32 here (n = {_rounds(step)}), "
            f"{100 * step['share_of_ceiling']:.0f} % of the machine's multiply-adds."
            f"{_cheap_dropout(step)}"
        )
    if epoch is not None and epoch["ratio"] is not None:
        lines.append(
            f"- An epoch with rotation: {epoch['native_seconds']:.1f} s, "
            f"{_ratio(epoch)} times as fast as the notebook's own way (n = {_rounds(epoch)})."
        )
    if bench["peak_bytes"] is not None:
        lines.append(f"- Peak memory of a training run: {_memory(bench)}.")
    lines.append(f"- Measured by `kilonet bench` on {made_on(bench)}.")
    return "\n".join(lines) + "\n"


def replaced(text: str, section: str, content: str, *, file: str) -> str:
    """``text`` with the content between a section's markers replaced."""
    begin, end = f"<!-- {section} -->\n", f"<!-- /{section} -->"
    pattern = re.compile(f"({re.escape(begin)}).*?({re.escape(end)})", re.DOTALL)
    changed, number = pattern.subn(lambda found: found[1] + content + found[2], text)
    if number != 1:
        raise SystemExit(f"{file}: {number} sections {section!r}; there must be one")
    return changed


def main() -> None:
    """Rewrite docs/engine.md and README.md in place."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bench", type=Path, help="of kilonet bench --json")
    parser.add_argument("versus", type=Path, nargs="?", help="of benchmarks/versus_torch.py --json")
    parser.add_argument("scaling", type=Path, nargs="?", help="of benchmarks/scaling.py --json")
    options = parser.parse_args()
    try:
        rewrite(options.bench, versus=options.versus, scaling=options.scaling)
    except KeyError as error:
        raise SystemExit(f"a result has no {error}; measure again with this version") from None


def rewrite(bench_file: Path, *, versus: Path | None, scaling: Path | None) -> None:
    """Fill all sections that the files have numbers for; both documents are written at the end."""
    bench = read_json(bench_file)
    doc = (ROOT / DOC).read_text("utf-8")
    readme = (ROOT / README).read_text("utf-8")
    doc = replaced(doc, "bench", bench_section(bench), file=DOC)
    doc = replaced(doc, "layers", layers_section(bench), file=DOC)
    readme = replaced(readme, "speed", speed_section(bench), file=README)
    for path in (versus, scaling):
        if path and read_json(path)["cpu"] != bench["machine"]["cpu"]:
            raise SystemExit(f"{path}: of another machine than {bench_file}")
    if versus:
        found = read_json(versus)
        table = script("versus_torch").table(found["networks"])
        doc = replaced(doc, "versus", versus_section(found, table), file=DOC)
    if scaling:
        doc = replaced(doc, "scaling", scaling_section(read_json(scaling)), file=DOC)
    (ROOT / DOC).write_text(doc, "utf-8")
    (ROOT / README).write_text(readme, "utf-8")


def read_json(path: Path) -> Found:
    """What a benchmark wrote."""
    try:
        found: Found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SystemExit(f"{path}: {error}") from None
    return found


def script(name: str) -> ModuleType:
    """A benchmark script as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
