"""The roofline: each layer's kernels against what the machine can do at most.

Source: Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for
multicore architectures", Communications of the ACM 52 (4), 2009.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kilonet.errors import EngineError
from kilonet.report.bench import threads_text
from kilonet.report.figures import INK, TARGET, TEST, TRAIN, new_figure, save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from kilonet.bench import BenchResult
    from kilonet.bench.native import KernelRate

# Colour, marker and side on which a label stands say the same three times.
STYLES = {
    "forward": (TEST, "o"),
    "input gradient": (TARGET, "s"),
    "weight gradient": (TRAIN, "^"),
}


def roofline(result: BenchResult, path: Path) -> None:
    """Draw FLOP a byte against GFLOP/s, with the measured ceiling and memory bandwidth.

    Args:
        result: of a bench run.
        path: the PNG to write.

    Raises:
        EngineError: if the run measured no kernels.
        StoreError: if the file cannot be written.
    """
    kernels, ceiling = result.kernels, result.step.ceiling
    if not kernels or not ceiling or not result.bandwidth:
        raise EngineError("no kernels were measured, so there is no roofline to draw")
    figure = new_figure(9.0, 5.4)
    axes = figure.add_subplot()
    axes.set_xscale("log")
    axes.set_yscale("log")
    memory = 1e-9 * result.bandwidth
    knee = ceiling / memory
    low = 0.7 * min(knee, *(kernel.intensity for kernel in kernels))
    high = 2.0 * max(knee, *(kernel.intensity for kernel in kernels))
    bottom = 0.5 * min(kernel.gflops for kernel in kernels)
    axes.set_xlim(low, high)
    axes.set_ylim(bottom, 2.2 * max(ceiling, *(kernel.gflops for kernel in kernels)))
    _roof(axes, ceiling=ceiling, memory=memory, low=low, high=high)
    for kind, (color, marker) in STYLES.items():
        points = [kernel for kernel in kernels if kernel.kernel == kind]
        axes.plot(
            [point.intensity for point in points],
            [point.gflops for point in points],
            marker,
            color=color,
            markersize=6,
            alpha=0.85,
            label=kind,
        )
    _label_layers(axes, kernels)
    axes.set_xlabel("FLOP a byte of the tensors that the kernel reads and writes")
    axes.set_ylabel("GFLOP/s")
    axes.legend(loc="lower right", fontsize=8, frameon=False)
    figure.suptitle(
        f"{result.net}: kernels of a training step of {result.batch_size}, "
        f"{threads_text(result.step.threads)}, {result.machine['instruction_set']}",
        fontsize=11,
        color=INK,
        x=0.01,
        ha="left",
    )
    _plain_numbers(axes)
    save_figure(figure, path)


def _roof(axes: Axes, *, ceiling: float, memory: float, low: float, high: float) -> None:
    reach = np.geomspace(low, high, 200)
    axes.plot(reach, np.minimum(ceiling, memory * reach), color=INK, linewidth=1.4)
    axes.fill_between(reach, np.minimum(ceiling, memory * reach), 1e9, color=INK, alpha=0.06)
    axes.annotate(
        f"measured ceiling: {ceiling:,.0f} GFLOP/s of multiply-adds",
        (high, ceiling),
        xytext=(-4, 4),
        textcoords="offset points",
        ha="right",
        fontsize=8,
        color=INK,
    )
    # Beside the slope, half way up it.
    at = np.sqrt(low * min(high, ceiling / memory))
    axes.annotate(
        f"measured memory bandwidth:\n{memory:,.0f} GB/s (tensors in the cache may pass it)",
        (at, memory * at),
        xytext=(-6, 4),
        textcoords="offset points",
        ha="right" if at > 2 * low else "left",
        fontsize=8,
        color=INK,
    )


def _label_layers(axes: Axes, kernels: list[KernelRate]) -> None:
    """Each layer's line of the network over its highest point, turned so that none overlap."""
    highest: dict[str, KernelRate] = {}
    for kernel in kernels:
        best = highest.get(kernel.work.layer)
        if best is None or kernel.gflops > best.gflops:
            highest[kernel.work.layer] = kernel
    for number, kernel in enumerate(highest.values(), start=1):
        axes.annotate(
            f"{number}: {kernel.work.text}",
            (kernel.intensity, kernel.gflops),
            xytext=(0, 7),
            textcoords="offset points",
            rotation=60,
            fontsize=7,
            color=INK,
        )


def _plain_numbers(axes: Axes) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
