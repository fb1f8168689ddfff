"""A bench run on a terminal: its progress, then its tables."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console

from kilonet.bench import BenchResult, Comparison
from kilonet.bench.result import NATIVE, NOTEBOOK
from kilonet.bench.timing import Ratio
from kilonet.engine.native.layer_times import ProfileRow
from kilonet.formatting import count
from kilonet.table import Table

_MEGABYTE = 1e6
_PASSES = ("forward", "weight_gradient", "backward")


@contextmanager
def bench_progress(console: Console) -> Iterator[Callable[[str], None]]:
    """Yields a function that shows what is being measured; on a terminal only."""
    if not (console.is_terminal or console.is_jupyter):
        yield lambda _: None
        return
    with console.status("preparing") as status:
        yield status.update


def bench_text(result: BenchResult) -> str:
    """The whole result as text."""
    machine = result.machine
    versions = ", ".join(
        f"{title} {machine[key]}"
        for key, title in (("kilonet", "kilonet"), ("torch", "PyTorch"), ("jax", "JAX"))
        if machine.get(key)
    )
    where = f"{machine['cpu']} ({machine['instruction_set']})"
    size = f"{result.num_parameters:,} parameters, {result.flop_per_image / 1e6:.2f} MFLOP"
    head = (
        f"{where}, {count(result.step.threads, 'thread')}; {versions}",
        f"Network {result.net}: {size} to train on an image",
    )
    parts = ["\n".join(head), *(_steps(each, result.batch_size) for each in result.steps)]
    if result.evaluation is not None:
        title = f"Evaluation of the test set, {count(result.evaluation.threads, 'thread')}"
        parts.append(_table(title, result.evaluation, unit="ms"))
    if result.epoch is not None:
        title = (
            f"An epoch with rotation, and the evaluation, {count(result.epoch.threads, 'thread')}"
        )
        parts.append(_table(title, result.epoch, unit="s"))
    parts.append("\n".join([*_conclusions(result), *(f"Skipped: {x}" for x in result.skipped)]))
    return "\n\n".join(parts)


def profile_table(profile: Sequence[ProfileRow], *, threads: int) -> Table:
    """The times of a training step: a row a layer, milliseconds summed over the threads."""
    cells: dict[str, dict[str, float]] = {}
    for row in profile:
        # Joining and finishing are part of their pass.
        phase = row.phase.removesuffix("_reduce").removesuffix("_finish")
        name = f"{row.layer} {row.operation}" if row.layer else f"({row.phase})"
        layer = cells.setdefault(name, dict.fromkeys(_PASSES, 0.0))
        layer[phase if phase in _PASSES else "forward"] += 1e3 * row.seconds
    whole = sum(sum(layer.values()) for layer in cells.values())
    rows = tuple(
        (
            name,
            *(f"{layer[each]:.3f}" if layer[each] else "–" for each in _PASSES),
            f"{100 * sum(layer.values()) / whole:.1f} %",
        )
        for name, layer in cells.items()
    )
    columns = ("Layer", "Forward", "Weight gradient", "Backward", "Share")
    title = (
        f"A step's {whole:.2f} ms by layer, the sum of {count(threads, 'thread')}; "
        "fused operations count for the first"
    )
    return Table(columns=columns, rows=rows, left=frozenset({0}), title=title)


def _steps(found: Comparison, batch_size: int) -> str:
    title = (
        f"A training step of {batch_size}, {count(found.threads, 'thread')}; "
        f"ceiling {found.ceiling or 0:.0f} GFLOP/s"
    )
    return _table(title, found, unit="ms")


def _table(title: str, found: Comparison, *, unit: str) -> str:
    """Implementations: median, quartiles, time relative to native, and share of the ceiling."""
    shares = found.share_of_ceiling(NATIVE) is not None
    own, factor = found.timings[NATIVE], 1e3 if unit == "ms" else 1.0
    rows: list[tuple[str, ...]] = []
    for name, timing in found.timings.items():
        contender = "the notebook's way" if name == NOTEBOOK else name
        median, low, high = (f"{factor * t:.2f}" for t in (timing.median, *timing.quartiles))
        ratio = "–" if name == NATIVE else f"{own.ratio_of(timing).median:.2f}"
        row: tuple[str, ...] = (contender, median, f"{low} to {high}", ratio)
        share = found.share_of_ceiling(name)
        rows.append((*row, f"{100 * share:.1f} %") if shares and share is not None else row)
    columns: tuple[str, ...] = (
        "Implementation",
        f"Median ({unit})",
        "Quartiles",
        "Relative to native",
    )
    if shares:
        columns = (*columns, "Share of ceiling")
    return str(Table(columns=columns, rows=tuple(rows), left=frozenset({0}), title=title))


def _conclusions(result: BenchResult) -> list[str]:
    lines = []
    if result.step.ratio is not None:
        rival = f"{result.step.fastest}, the fastest PyTorch float32 here"
        lines.append(f"Step: {_ratio(result.step.ratio, rival)}")
    share = result.step.share_of_ceiling(NATIVE)
    if share is not None:
        lines.append(f"Step: {100 * share:.0f} % of the machine's multiply-adds")
    if result.epoch is not None and result.epoch.ratio is not None:
        lines.append("Epoch: " + _ratio(result.epoch.ratio, "the notebook's way"))
    if result.memory is not None:
        line = f"Peak memory of a training run: {result.memory.native.bytes / _MEGABYTE:.0f} MB"
        if result.memory.notebook is not None:
            peak = result.memory.notebook
            line += f"; the notebook's way: {peak.bytes / _MEGABYTE:.0f} MB"
            if peak.worker_bytes:
                line += f", and up to {peak.worker_bytes / _MEGABYTE:.0f} MB in each worker"
        lines.append(line)
    return lines


def _ratio(ratio: Ratio, rival: str) -> str:
    ends = f"{ratio.low:.1f} to {ratio.high:.1f}"
    return f"{ratio.median:.1f} times as fast as {rival} ({ends})"
