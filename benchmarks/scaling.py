"""Training time of the native engine against images, channels and batch size.

Each is varied alone, from the bundled network and a batch of 128: the number of training images,
the channels of every layer by a common factor, and the images of one step. On logarithmic axes a
line of slope 1 is time in proportion to work.

    python benchmarks/scaling.py --figure scaling.png
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np

from kilonet.bench.timing import interleave
from kilonet.bench.work import step_flop
from kilonet.data import load_dataset
from kilonet.data.batch import Batch
from kilonet.engine import create_engine
from kilonet.report.figures.style import INK, TEST, log_axes, new_figure, save_figure
from kilonet.spec import Net, Run, load_run
from kilonet.storage.environment import cpu_name

BATCH_SIZE = 128
IMAGES = (1024, 2048, 4096, 8192, 16384, 32768)
WIDTHS = (0.5, 1.0, 2.0, 4.0, 8.0)
BATCH_SIZES = (32, 64, 128, 256, 512, 1024, 2048)


def widened(width: float) -> Net:
    """The bundled network with every hidden layer's channels times ``width``."""
    net = load_run("interim").net
    data = net.to_dict()
    last = len(data["layers"]) - 1

    def wide(number: int, line: str) -> str:
        word, *rest = line.split()
        if number == last or word not in ("conv", "pointwise"):
            return line
        return " ".join([word, str(round(width * int(rest[0]))), *rest[1:]])

    layers = [wide(number, line) for number, line in enumerate(data["layers"])]
    return Net.from_dict({**data, "layers": layers})


def training(net: Net, *, batch_size: int, count: int, threads: int | None) -> Callable:
    """A function that trains on ``count`` images in steps of ``batch_size``."""
    dataset = load_dataset("mnist")
    images, labels = dataset.train_images[:count], dataset.train_labels[:count]
    run: Run = load_run("interim").replace({"net": net.to_dict(), "data.augment": []})
    engine = create_engine(
        run, engine="native", mean=run.data.mean, std=run.data.std, threads=threads
    )
    step = 0

    def train() -> list[float]:
        nonlocal step
        losses = []
        for first in range(0, count, batch_size):
            part = slice(first, first + batch_size)
            index = np.arange(first, first + len(labels[part]))
            batch = Batch(images=images[part], labels=labels[part], index=index, epoch=0, step=step)
            losses.append(engine.step(batch, 0.01).loss)
            step += 1
        return losses

    return train


def measure(threads: int | None, repeats: int) -> dict[str, list[dict[str, float]]]:
    """Axis → points: the value that is varied, seconds, and the work in images or FLOP."""
    bundled = widened(1.0)
    flop = step_flop(bundled)
    axes: dict[str, list[tuple[float, float, Callable]]] = {
        "images": [
            (n, n, training(bundled, batch_size=BATCH_SIZE, count=n, threads=threads))
            for n in IMAGES
        ],
        "width": [
            (
                width,
                step_flop(widened(width)) / flop,
                training(widened(width), batch_size=BATCH_SIZE, count=BATCH_SIZE, threads=threads),
            )
            for width in WIDTHS
        ],
        "batch_size": [
            (n, n, training(bundled, batch_size=n, count=n, threads=threads)) for n in BATCH_SIZES
        ],
    }
    found: dict[str, list[dict[str, float]]] = {}
    for axis, points in axes.items():
        for value, _, train in points:
            # Verified before timing, and warmed up: steps on the same images must lower the loss.
            losses = [statistics.fmean(train()) for _ in range(4)]
            if not all(map(math.isfinite, losses)) or min(losses[1:]) >= losses[0]:
                raise SystemExit(f"{axis} {value}: does not learn: {losses}")
        timings = interleave(
            {str(value): train for value, _, train in points}, repeats=repeats, round_seconds=0.1
        )
        found[axis] = [
            {
                "value": value,
                "work": work,
                "seconds": timings[str(value)].median,
                "seconds_low": timings[str(value)].quartiles[0],
                "seconds_high": timings[str(value)].quartiles[1],
            }
            for value, work, _ in points
        ]
    return found


def slope(points: list[dict[str, float]]) -> float:
    """The exponent of time against work, fitted to the logarithms; 1 is proportional."""
    work = np.log([point["work"] for point in points])
    return float(np.polyfit(work, np.log([point["seconds"] for point in points]), 1)[0])


TITLES = {
    "images": ("images, in steps of 128", "ms"),
    "width": ("multiply-adds, times the bundled network's", "ms a step"),
    "batch_size": ("images of one step", "ms a step"),
}


def draw(found: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Time against work for each axis, with a line of slope 1 through the last point."""
    figure = new_figure(10.0, 3.6)
    for i, (axis, points) in enumerate(found.items()):
        axes = figure.add_subplot(1, len(found), i + 1)
        log_axes(axes)
        work = np.array([point["work"] for point in points])
        seconds = 1e3 * np.array([point["seconds"] for point in points])
        axes.plot(work, seconds[-1] * work / work[-1], color=INK, linewidth=1, linestyle="--")
        low = seconds - [1e3 * point["seconds_low"] for point in points]
        high = [1e3 * point["seconds_high"] for point in points] - seconds
        axes.errorbar(work, seconds, yerr=[low, high], color=TEST, marker="o", markersize=4)
        axes.set_xlabel(TITLES[axis][0])
        axes.set_ylabel(TITLES[axis][1])
        text = f"time grows as work to the {slope(points):.2f}\ndashed: in proportion"
        axes.set_title(text, fontsize=9, color=INK, loc="left")
    save_figure(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="rounds (5)")
    parser.add_argument("--threads", type=int, help="of the engine (all)")
    parser.add_argument("--figure", type=Path, help="a PNG to write")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    options = parser.parse_args()
    found = measure(options.threads, options.repeats)
    if options.figure:
        draw(found, options.figure)
    if options.json:
        slopes = {axis: slope(points) for axis, points in found.items()}
        print(json.dumps({"cpu": cpu_name(), "slopes": slopes, "axes": found}, indent=2))
        return
    print(cpu_name())
    for axis, points in found.items():
        print(f"\n{axis}: time grows as work to the {slope(points):.2f}")
        for point in points:
            print(f"  {point['value']:>8g}  {1e3 * point['seconds']:10.2f} ms")


if __name__ == "__main__":
    main()
