"""The race: seconds of training to a mean test accuracy, kilonet beside PyTorch, over 20 seeds.

Claim: the bundled study ``sprint`` reaches 99 % and 99.4 % on MNIST as means of its seeds, and
PyTorch with the same recipe takes many times as long on the same processor. docs/sprint.md has the
accuracies, the seconds, the ratio and the machine. The ratio travels better than the seconds.

Both sides train the same network from the same initial weights on the same batches in the same
order, with the same optimizer, schedule and loss. kilonet is :func:`kilonet.train` with the native
engine, as in ``kilonet study sprint --jobs 1``; its seconds are ``train_seconds`` of its rows.
PyTorch is a plain loop over ``torch.nn`` modules. The seconds are those of the training steps, from
the first batch to the last, without evaluation. kilonet's contain the shuffle, the augmentation and
the normalization; PyTorch's do not: its batches are in memory as float32 tensors, augmented and
normalized before the clock starts. It never reads its loss, its optimizer is the fused one, and of
its variants the fastest is chosen by timing before, the time of ``torch.compile`` not counted. The
sides alternate, one seed after the other, and the ratio is PyTorch's seconds over kilonet's of the
same seed: the median over the seeds, and its range.

Before a stage is timed, the losses of both sides' first steps must agree.

    python benchmarks/sprint.py --json sprint.json
    python scripts/update_sprint_doc.py sprint.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from sprint_table import table
from torch import Tensor
from torch_loop import VARIANTS, TorchTraining, Trained, all_batches, num_steps

from kilonet.analysis.descriptive import describe
from kilonet.bench.timing import interleave
from kilonet.data import Dataset, RunData, load_dataset
from kilonet.engine import create_engine
from kilonet.errors import KilonetError
from kilonet.spec import Run, load_study
from kilonet.storage.atomic import write_atomically
from kilonet.storage.environment import cpu_name, package_version
from kilonet.training import train
from kilonet.training.schedule import Schedule

VERIFIED_STEPS, TOLERANCE = 3, 1e-3
"""Steps whose losses must agree, and how far, relative. At the high rates of a short run, float32's
differences grow tenfold in each step: of the bundled study from 1e-6 at the first to 1e-3 at the
fifth."""

CHOICE_STEPS, CHOICE_ROUNDS = 20, 3
"""Steps of each variant in a round, and rounds, by which the fastest is chosen."""


def native_losses(run: Run, data: RunData, *, threads: int, steps: int) -> list[float]:
    """The loss of kilonet's first steps, before each, in nats."""
    engine = create_engine(run, engine="native", mean=data.mean, std=data.std, threads=threads)
    schedule = Schedule(
        run.train,
        steps_per_epoch=[data.steps_per_epoch(run, epoch) for epoch in range(run.train.epochs)],
    )
    losses = []
    for batch in islice(all_batches(data, run), steps):
        first = data.first_step(run, batch.epoch)
        lr, momentum = schedule.at(epoch=batch.epoch, step=batch.step - first)
        losses.append(engine.step(batch, lr, momentum=momentum).loss)
    return losses


def check_agreement(native: Sequence[float], other: Sequence[float], *, where: str) -> None:
    """Refuse to time sides that do not compute the same.

    Raises:
        SystemExit: their losses differ by more than :data:`TOLERANCE`, or are not finite.
    """
    pairs = zip(native, other, strict=True)
    if not all(abs(a - b) <= TOLERANCE * abs(a) for a, b in pairs):
        raise SystemExit(f"{where}: losses of the first steps differ: {native} and {other}")


def fastest(
    run: Run, data: RunData, variants: Sequence[str]
) -> tuple[TorchTraining, dict[str, Any]]:
    """The variant of PyTorch with the fastest step, and the milliseconds of each.

    By the fastest round: what else runs on the machine makes others slower, never faster.
    """
    sides = {variant: TorchTraining(run, data, variant=variant) for variant in variants}
    calls: dict[str, Callable[[], object]] = {}
    for variant, side in sides.items():
        # A first step of each batch size compiles for it.
        sizes = {len(batch.labels): batch for batch in data.batches(run, 0)}
        if run.train.batch_schedule is not None:
            sizes = {len(batch.labels): batch for batch in all_batches(data, run)}
        side.start(run)
        for images, labels in side.inputs(run, sizes.values()):
            side.step(images, labels)
        inputs = side.inputs(run, islice(all_batches(data, run), CHOICE_STEPS))
        calls[variant] = _steps(side, run, inputs)
    timings = interleave(calls, repeats=CHOICE_ROUNDS)
    milliseconds = {
        name: 1e3 * min(each.calls) / min(CHOICE_STEPS, num_steps(data, run))
        for name, each in timings.items()
    }
    best = min(milliseconds, key=lambda name: milliseconds[name])
    return sides[best], {"variant": best, "step_ms": milliseconds}


def _steps(
    side: TorchTraining, run: Run, inputs: Sequence[tuple[Tensor, Tensor]]
) -> Callable[[], None]:
    """A function that takes the first steps of the run."""

    def steps() -> None:
        side.start(run)
        for images, labels in inputs:
            side.step(images, labels)

    return steps


def train_native(run: Run, *, dataset: Dataset, folder: Path, threads: int) -> Trained:
    """Train with kilonet, as a user does; seconds are those of the rows."""
    record = train(run, folder=folder, engine="native", threads=threads, data=dataset)
    seconds = sum(row.train_seconds or 0.0 for row in record.rows)
    return Trained(accuracy=record.final_test_accuracy, seconds=seconds)


def race(
    name: str,
    runs: Sequence[Run],
    *,
    dataset: Dataset,
    threads: int,
    variants: Sequence[str] = VARIANTS,
    tell: Callable[[str], None] = print,
) -> dict[str, Any]:
    """Time a stage: its runs, of one seed each, by both sides in turn.

    Returns:
        Plain data: of each side the accuracies and the seconds, in the order of the seeds, with
        their statistics; the ratio; PyTorch's variant, and the milliseconds of each by which it was
        chosen.
    """
    data = RunData.of(runs[0], dataset)
    torch_side, choice = fastest(runs[0], data, variants)
    check_agreement(
        native_losses(runs[0], data, threads=threads, steps=VERIFIED_STEPS),
        torch_side.losses(runs[0], steps=VERIFIED_STEPS),
        where=name,
    )
    found: dict[str, list[Trained]] = {"kilonet": [], "torch": []}
    with tempfile.TemporaryDirectory() as scratch:
        for run in runs:
            folder = Path(scratch) / str(run.train.seed)
            found["kilonet"].append(
                train_native(run, dataset=dataset, folder=folder, threads=threads)
            )
            found["torch"].append(torch_side.train(run))
            both = {side: trained[-1] for side, trained in found.items()}
            line = ", ".join(
                f"{side} {each.accuracy:.2f} % in {each.seconds:.3f} s"
                for side, each in both.items()
            )
            tell(f"{name}, seed {run.train.seed}: {line}")
    pairs = zip(found["kilonet"], found["torch"], strict=True)
    ratios = [theirs.seconds / own.seconds for own, theirs in pairs]
    run = runs[0]
    return {
        "name": name,
        "layers": [str(layer) for layer in run.net.layers],
        "parameters": run.net.num_parameters,
        "epochs": run.train.epochs,
        "batch_size": run.train.batch_size,
        "steps": num_steps(data, run),
        "seeds": [run.train.seed for run in runs],
        **choice,
        **{side: statistics_of(trained) for side, trained in found.items()},
        "ratio": {
            "values": ratios,
            "median": statistics.median(ratios),
            "min": min(ratios),
            "max": max(ratios),
        },
    }


def statistics_of(trained: Sequence[Trained]) -> dict[str, Any]:
    """Of the accuracies and of the seconds: values, mean, 95 % interval, minimum and maximum."""
    measured = {
        "accuracy": ([each.accuracy for each in trained], (0.0, 100.0)),
        "seconds": ([each.seconds for each in trained], (0.0, float("inf"))),
    }
    found = {}
    for name, (values, limits) in measured.items():
        each = describe(values, limits=limits)
        found[name] = {
            "values": values,
            "mean": each.mean,
            "ci95": None if each.ci95 is None else list(each.ci95),
            "min": each.minimum,
            "max": each.maximum,
        }
    return found


def machine(*, threads: int) -> dict[str, Any]:
    """Where it was measured, and with what."""
    from kilonet.engine.native import NativeEngine

    return {
        "cpu": cpu_name(),
        "threads": threads,
        "engine": NativeEngine.describe(threads=threads),
        "kilonet": package_version("kilonet"),
        "torch": torch.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("study", nargs="?", default="sprint", help="a study (sprint)")
    parser.add_argument("--seeds", type=int, help="seeds of each stage (the study's)")
    parser.add_argument("--stage", type=int, action="append", help="this stage alone, from 1")
    parser.add_argument("--threads", type=int, default=2, help="of both (2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements here")
    options = parser.parse_args()
    try:
        settings = [] if options.seeds is None else [f"seeds={options.seeds}"]
        study = load_study(options.study, settings=settings)
        chosen = [s for s in study.stages if not options.stage or s.number in options.stage]
        if not chosen:
            raise SystemExit(f"--stage: {options.study} has stages 1 to {len(study.stages)}")
        torch.set_num_threads(options.threads)
        made = machine(threads=options.threads)
        print(f"{made['cpu']}, {options.threads} threads, PyTorch {made['torch']}")
        stages: list[dict[str, Any]] = []
        for stage in chosen:
            runs = [stage.seeded(seed) for seed in study.seed_numbers()]
            dataset = load_dataset(stage.run.data.name)
            stages.append(race(stage.name, runs, dataset=dataset, threads=options.threads))
            if options.json:
                found = {**made, "study": study.name, "stages": stages}
                write_atomically(options.json, f"{json.dumps(found, indent=2)}\n")
    except KilonetError as error:
        raise SystemExit(str(error)) from None
    print(f"\n{table(stages).to_markdown()}")


if __name__ == "__main__":
    main()
