"""The cluster executor: what Dask adds to a trial, and two Dask workers against two local jobs.

Two measurements, in alternating rounds, each as a study in this process, whose cluster runs while
they last (its start is not measured):

- overhead: a study of many trials of one short epoch each, one at a time on one Dask worker, and
  one after another in this process. The difference in time, over the trials, in milliseconds.
- throughput: a study on two Dask workers and in two local processes: the ratio of their times.
  Both include the start of the local processes, which Dask's have behind them; `--epochs` makes it
  small.

The files of all studies must be equal, byte for byte.

    python benchmarks/cluster.py --rounds 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from parallel import digest

from kilonet.data import load_dataset
from kilonet.spec import Study, load_study
from kilonet.storage.environment import cpu_name
from kilonet.study import run_study


def study_of(data: Path, *, images: int, trials: int, epochs: int) -> Study:
    """The first stage of the bundled study, on the first images of MNIST."""
    mnist = load_dataset("mnist")
    arrays = {
        f"{split}_{kind}": getattr(mnist, f"{split}_{kind}")[:images]
        for split in ("train", "test")
        for kind in ("images", "labels")
    }
    np.savez(data, **arrays)
    study = load_study("mnist-8k").replace(
        {"data.name": str(data), "train.epochs": epochs, "budget.epochs": epochs, "seeds": trials}
    )
    return study.replace({"stage": study.to_dict()["stage"][:1]})


def seconds_of(study: Study, folder: Path, **options: Any) -> float:
    began = time.perf_counter()
    run_study(study, folder=folder, **options)
    return time.perf_counter() - began


def measure(
    study: Study, variants: dict[str, dict[str, Any]], *, rounds: int, scratch: Path
) -> dict[str, list[float]]:
    """Seconds of each variant, by round; all must write the same files."""
    found: dict[str, list[float]] = {variant: [] for variant in variants}
    digests = set()
    for number in range(rounds):
        for variant, options in variants.items():
            folder = scratch / f"{variant}-{number}"
            found[variant].append(seconds_of(study, folder, **options))
            digests.add(digest(folder))
            print(f"{variant}: {found[variant][-1]:.2f} s", file=sys.stderr)
    if len(digests) != 1:
        raise SystemExit("the variants gave different files")
    return found


@contextmanager
def client_of(workers: int, scratch: Path) -> Iterator[Any]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            memory_limit=0,
            dashboard_address="127.0.0.1:0",
            local_directory=str(scratch),
        ) as cluster,
        Client(cluster) as client,
    ):
        # Each worker imports before it is timed.
        client.run(__import__, "kilonet.study.executors.dask_worker")
        yield client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="rounds (5)")
    parser.add_argument("--trials", type=int, default=40, help="short trials (40)")
    parser.add_argument("--images", type=int, default=10000, help="of a longer trial (10000)")
    parser.add_argument("--epochs", type=int, default=4, help="of a longer trial (4)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as text:
        scratch = Path(text)
        short = study_of(scratch / "short.npz", images=128, trials=options.trials, epochs=1)
        with client_of(1, scratch) as client:
            one = {"here": {"jobs": 1, "threads": 1}, "dask-1": {"on": client}}
            overhead = measure(short, one, rounds=options.rounds, scratch=scratch / "short")
        longer = study_of(
            scratch / "long.npz", images=options.images, trials=8, epochs=options.epochs
        )
        with client_of(2, scratch) as client:
            two = {"local-2": {"jobs": 2, "threads": 2}, "dask-2": {"on": client}}
            together = measure(longer, two, rounds=options.rounds, scratch=scratch / "long")
    pairs = list(zip(overhead["here"], overhead["dask-1"], strict=True))
    milliseconds = sorted(1000 * (dask - here) / options.trials for here, dask in pairs)
    ratios = sorted(
        dask / local for local, dask in zip(together["local-2"], together["dask-2"], strict=True)
    )
    found = {
        "cpu": cpu_name(),
        "rounds": options.rounds,
        "overhead_ms": statistics.median(milliseconds),
        "overhead_ms_range": [milliseconds[0], milliseconds[-1]],
        "dask_over_local": statistics.median(ratios),
        "dask_over_local_range": [ratios[0], ratios[-1]],
    }
    if options.json:
        print(json.dumps(found, indent=2))
        return
    low, high = found["overhead_ms_range"]
    print(f"{cpu_name()}, {options.rounds} rounds, median (lowest to highest)")
    print(
        f"  Dask adds {found['overhead_ms']:.0f} ms ({low:.0f} to {high:.0f}) to a trial of "
        f"{1000 * statistics.median(overhead['here']) / options.trials:.0f} ms"
    )
    low, high = found["dask_over_local_range"]
    print(
        f"  two Dask workers take {found['dask_over_local']:.2f} ({low:.2f} to {high:.2f}) times "
        f"as long as two local jobs ({statistics.median(together['local-2']):.1f} s)"
    )


if __name__ == "__main__":
    main()
