"""Data and specs that several test modules share."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from kilonet.data import Dataset, load_dataset
from kilonet.engine.native.machine import unavailable_reason
from kilonet.spec import Run, load_run

# Before PyTorch is imported, here and in the processes that tests start: on networks this small a
# second thread gains little, and on a busy machine the two wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell's background, and nohup, ignore these in all that they begin: tests that send them to
# processes of their own would wait in vain.
signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

SMALL = (640, 200)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``pytest --renew-snapshots tests/report`` writes the wording that tests/report compares."""
    parser.addoption("--renew-snapshots", action="store_true", help="Write tests/report/snapshots.")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to test a package without its native engine where it could have been built."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if unavailable_reason() and compiler:
        raise pytest.UsageError(
            f"the native engine {unavailable_reason()}, though {compiler} is here; "
            "install kilonet again"
        )


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("native") and unavailable_reason():
        pytest.skip(f"the native engine {unavailable_reason()}: no C++ compiler here")


@pytest.fixture(scope="session", autouse=True)
def no_flushes() -> Iterator[None]:
    """No test cuts the power, so none needs to wait for the disk.

    A search of six trials flushes 337 times, in a fifth of its time. What a killed process wrote is
    kept without it.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def mnist() -> Dataset:
    return load_dataset("mnist")


@pytest.fixture(scope="session")
def small_mnist(mnist: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An NPZ file with the first 640 training and 200 test images of MNIST."""
    path = tmp_path_factory.mktemp("data") / "small.npz"
    np.savez(
        path,
        train_images=mnist.train_images[: SMALL[0]],
        train_labels=mnist.train_labels[: SMALL[0]],
        test_images=mnist.test_images[: SMALL[1]],
        test_labels=mnist.test_labels[: SMALL[1]],
    )
    return path


@pytest.fixture(scope="session")
def small_run(small_mnist: Path) -> Run:
    """The bundled network with dropout and rotation, three epochs of ten steps."""
    changes = {"data.name": str(small_mnist), "train.epochs": 3, "train.batch_size": 64}
    return load_run("interim").replace(changes)
