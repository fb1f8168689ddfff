"""The roofline: the speed of each layer's kernels and the limits of the machine.

Source: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
multicore architectures", Communications of the ACM 52 (4), 2009.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kilonet.errors import EngineError
from kilonet.formatting import count
from kilonet.report.figures.style import (
    INK,
    TARGET,
    TEST,
    TRAIN,
    log_axes,
    new_figure,
    note,
    save_figure,
    set_title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kilonet.bench import BenchResult
    from kilonet.bench.native import KernelRate

# Color and marker both identify a kind of kernel.
STYLES = {
    "forward": (TEST, "o"),
    "input gradient": (TARGET, "s"),
    "weight gradient": (TRAIN, "^"),
}


def roofline(result: BenchResult, path: Path) -> None:
    """Draw GFLOP/s against FLOP per byte, with the measured ceiling and bandwidths.

    Raises:
        EngineError: if the run measured no kernels.
        StorageError: if the file cannot be written.
    """
    kernels, ceiling = result.kernels, result.step.ceiling
    if not kernels or not ceiling or not result.bandwidth or not result.cache_bandwidth:
        raise EngineError("no kernels were measured, so no roofline can be drawn")
    figure = new_figure(9.0, 5.4)
    axes = figure.add_subplot()
    log_axes(axes)
    memory, cache = 1e-9 * result.bandwidth, 1e-9 * result.cache_bandwidth
    low = 0.6 * min(ceiling / cache, *(kernel.intensity for kernel in kernels))
    high = 2.0 * max(ceiling / memory, *(kernel.intensity for kernel in kernels))
    top = max(ceiling, *(kernel.gflops for kernel in kernels))
    axes.set_xlim(low, high)
    # The layers' names need room above the roof.
    axes.set_ylim(0.5 * min(kernel.gflops for kernel in kernels), 6 * top)
    _roof(axes, ceiling=ceiling, memory=memory, cache=cache, reach=(low, high))
    for kind, (color, marker) in STYLES.items():
        points = [kernel for kernel in kernels if kernel.kernel == kind]
        x, y = [p.intensity for p in points], [p.gflops for p in points]
        axes.plot(x, y, marker, color=color, markersize=6, alpha=0.85, label=kind)
    _name_layers(axes, kernels, height=1.7 * top)
    axes.set_xlabel("FLOP per byte of the tensors that the kernel reads and writes")
    axes.set_ylabel("GFLOP/s")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    set_title(
        figure,
        f"{result.net}: kernels of a training step of {result.batch_size}, "
        f"{count(result.step.threads, 'thread')}, {result.machine['instruction_set']}",
    )
    save_figure(figure, path)


def _roof(
    axes: Axes, *, ceiling: float, memory: float, cache: float, reach: tuple[float, float]
) -> None:
    """The ceiling, and the slopes of memory and cache below it."""
    low, high = reach
    along = np.geomspace(low, high, 300)
    axes.plot(along, np.full_like(along, ceiling), color=INK, linewidth=1.4)
    note(axes, f"ceiling: {ceiling:,.0f} GFLOP/s", (low, ceiling), (4, 4))
    for rate, name, style in ((memory, "memory", "--"), (cache, "cache", ":")):
        under = along[rate * along <= ceiling]
        if len(under):
            axes.plot(under, rate * under, color=INK, linewidth=1.2, linestyle=style)
            at = (under[0], rate * under[0])
            note(axes, f"{name}: {rate:,.0f} GB/s", at, (4, -4), va="top")


def _name_layers(axes: Axes, kernels: list[KernelRate], *, height: float) -> None:
    """Write each layer's name above the roof, with a line to its kernels.

    A layer's kernels do the same work on tensors of the same size, so they have one position.
    """
    layers = list({kernel.work.layer: kernel for kernel in kernels}.values())
    numbers = {kernel.work.layer: number for number, kernel in enumerate(layers, start=1)}
    layers.sort(key=lambda kernel: kernel.intensity)
    low, high = np.log(axes.get_xlim())
    places = spread_out(
        [float(np.log(kernel.intensity)) for kernel in layers],
        gap=(high - low) * min(0.032, 0.9 / len(layers)),
        low=low + 0.01 * (high - low),
        high=high - 0.08 * (high - low),
    )
    for kernel, place in zip(layers, places, strict=True):
        lowest = min(each.gflops for each in kernels if each.work.layer == kernel.work.layer)
        x = float(np.exp(place))
        corners = [x, kernel.intensity, kernel.intensity], [height, 0.72 * height, lowest]
        axes.plot(*corners, color="#BBBBBB", linewidth=0.7, zorder=1)
        slanted = {"rotation": 55, "rotation_mode": "anchor", "fontsize": 7}
        text = f"{numbers[kernel.work.layer]}: {kernel.work.text}"
        note(axes, text, (x, height), (-2, 1), **slanted)


def spread_out(places: list[float], *, gap: float, low: float, high: float) -> list[float]:
    """Ascending places, moved to be at least ``gap`` apart, between ``low`` and ``high``."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, low, moved[-1] + gap if moved else low))
    for i in range(len(moved) - 1, -1, -1):
        limit = high if i == len(moved) - 1 else moved[i + 1] - gap
        moved[i] = min(moved[i], limit)
    return moved
