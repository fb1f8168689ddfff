"""A bench run on a terminal: what goes on while it runs, then its tables."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from kilonet.bench import BenchResult, Comparison
from kilonet.bench.result import NATIVE, NOTEBOOK
from kilonet.bench.timing import Timing
from kilonet.engine.native.profile import ProfileRow
from kilonet.table import Table

_MEGABYTE = 1e6


class BenchLive:
    """Shows what a bench run is doing, on a terminal alone; use it in a ``with`` block."""

    def __init__(self, console: Console) -> None:
        self._status: Status | None = None
        if console.is_terminal or console.is_jupyter:
            self._status = console.status("preparing")

    def __enter__(self) -> Self:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, doing: str) -> None:
        """What is measured now."""
        if self._status is not None:
            self._status.update(doing)


def bench_text(result: BenchResult) -> str:
    """The whole result for reading."""
    machine = result.machine
    versions = ", ".join(
        f"{title} {machine[key]}"
        for key, title in (("kilonet", "kilonet"), ("torch", "PyTorch"), ("jax", "JAX"))
        if machine.get(key)
    )
    where = f"{machine['cpu']} ({machine['instruction_set']})"
    size = f"{result.num_parameters:,} parameters, {result.flop_per_image / 1e6:.2f} MFLOP"
    head = (
        f"{where}, {threads_text(result.step.threads)}; {versions}",
        f"Network {result.net}: {size} an image to train",
    )
    parts = [
        "\n".join(head),
        *(_steps(each, result.batch_size) for each in result.steps),
    ]
    if result.evaluation is not None:
        title = f"Evaluation of the test set, {threads_text(result.evaluation.threads)}"
        parts.append(_table(title, result.evaluation, unit="ms"))
    if result.epoch is not None:
        title = f"An epoch with rotation, and the evaluation, {threads_text(result.epoch.threads)}"
        parts.append(_table(title, result.epoch, unit="s"))
    parts.append("\n".join([*_conclusions(result), *(f"Skipped: {x}" for x in result.skipped)]))
    return "\n\n".join(parts)


def profile_text(result: BenchResult) -> str:
    """Where a training step's time goes, for reading."""
    return str(profile_table(result.profile, threads=result.step.threads))


def profile_table(profile: Sequence[ProfileRow], *, threads: int) -> Table:
    """Where a training step's time goes: a row a layer, thread-milliseconds of one step."""
    cells: dict[str, dict[str, float]] = {}
    for row in profile:
        # What is joined and finished belongs to the pass that it ends.
        stage = row.stage.removesuffix("_join").removesuffix("_finish")
        name = f"{row.layer} {row.operation}" if row.layer else f"({row.stage})"
        column = stage if stage in _STAGES else "forward"
        layer = cells.setdefault(name, dict.fromkeys(_STAGES, 0.0))
        layer[column] += 1e3 * row.seconds
    whole = sum(sum(layer.values()) for layer in cells.values())
    rows = tuple(
        (
            name,
            *(f"{layer[stage]:.3f}" if layer[stage] else "–" for stage in _STAGES),
            f"{100 * sum(layer.values()) / whole:.1f} %",
        )
        for name, layer in cells.items()
    )
    columns = ("Layer", "Forward", "Weight gradient", "Backward", "Share")
    where = f"Where a step's {whole:.2f} ms go, {threads_text(threads)} added up"
    title = f"{where}; what runs as one stands with the first"
    return Table(columns=columns, rows=rows, left=frozenset({0}), title=title)


_STAGES = ("forward", "weight_gradient", "backward")


def threads_text(count: int) -> str:
    """``1 thread``, ``2 threads``."""
    return "1 thread" if count == 1 else f"{count} threads"


def _steps(found: Comparison, batch_size: int) -> str:
    title = (
        f"A training step of {batch_size}, {threads_text(found.threads)}; "
        f"ceiling {found.ceiling or 0:.0f} GFLOP/s"
    )
    return _table(title, found, unit="ms")


def _table(title: str, found: Comparison, *, unit: str) -> str:
    """Contenders with medians, quartiles, how many times as long as native, and shares."""
    shares = found.share_of_ceiling(NATIVE) is not None
    own = found.timings[NATIVE]
    rows: list[tuple[str, ...]] = []
    for name, timing in found.timings.items():
        times = "–" if name == NATIVE else f"{own.ratio_of(timing).median:.2f}"
        row: tuple[str, ...] = (_name(name), *_times(timing, unit), times)
        share = found.share_of_ceiling(name)
        rows.append((*row, f"{100 * share:.1f} %") if shares and share is not None else row)
    columns: tuple[str, ...] = ("Contender", f"Median ({unit})", "Quartiles", "Times native's")
    if shares:
        columns = (*columns, "Of the ceiling")
    return str(Table(columns=columns, rows=tuple(rows), left=frozenset({0}), title=title))


def _name(name: str) -> str:
    return "the notebook's way" if name == NOTEBOOK else name


def _times(timing: Timing, unit: str) -> tuple[str, str]:
    factor = 1e3 if unit == "ms" else 1.0
    low, high = timing.quartiles
    return f"{factor * timing.median:.2f}", f"{factor * low:.2f} to {factor * high:.2f}"


def _conclusions(result: BenchResult) -> list[str]:
    lines = []
    step, ratio = result.step, result.step.ratio
    if ratio is not None:
        lines.append(
            f"Step: {ratio.median:.1f} times as fast as {step.fastest}, the fastest PyTorch "
            f"float32 here ({ratio.low:.1f} to {ratio.high:.1f})"
        )
    share = step.share_of_ceiling(NATIVE)
    if share is not None:
        lines.append(f"Step: {100 * share:.0f} % of the machine's multiply-adds")
    if result.epoch is not None and result.epoch.ratio is not None:
        ratio = result.epoch.ratio
        lines.append(
            f"Epoch: {ratio.median:.1f} times as fast as the notebook's way "
            f"({ratio.low:.1f} to {ratio.high:.1f})"
        )
    if result.memory is not None:
        line = f"Peak memory of a training run: {result.memory.native.bytes / _MEGABYTE:.0f} MB"
        if result.memory.notebook is not None:
            peak = result.memory.notebook
            line += f"; the notebook's way: {peak.bytes / _MEGABYTE:.0f} MB"
            if peak.worker_bytes:
                line += f", and up to {peak.worker_bytes / _MEGABYTE:.0f} MB in each worker"
        lines.append(line)
    return lines
