"""The thread pool: Ctrl-C during a call, forks, several engines at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from kilonet.data.batch import Batch
from kilonet.engine.native import NativeEngine
from kilonet.errors import EngineError
from kilonet.spec import Net, Run

pytestmark = pytest.mark.native

SMALL = Net(
    input=(1, 8, 8),
    block=["conv", "relu", "batchnorm", "dropout 0.2"],
    layers=["conv 6", "conv 6 pad=1", "gap", "pointwise 4 bare"],
)
# A chunk of 16 images takes 0.1 s or more.
SLOW = Net(
    input=(1, 32, 32),
    block=["conv", "relu", "batchnorm"],
    layers=["conv 32 pad=1", *["conv 32 kernel=5 pad=2"] * 2, "gap", "pointwise 4 bare"],
)


def engine_of(net: Net, **settings: Any) -> NativeEngine:
    return NativeEngine(Run(net=net), mean=(0.5,), std=(0.25,), **settings)


def batch(step: int, *, count: int = 100, net: Net = SMALL) -> Batch:
    rng = np.random.default_rng(step)
    return Batch(
        images=rng.integers(0, 256, (count, *net.input[1:]), dtype=np.uint8),
        labels=rng.integers(0, 4, count),
        index=np.arange(count),
        epoch=0,
        step=step,
    )


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert list(a) == list(b)
    for name, array in a.items():
        assert array.tobytes() == b[name].tobytes(), name


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """SIGINT to this process, as Ctrl-C sends it."""
    # A process that a shell began in the background ignores it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_ctrl_c_in_a_step(threads: int) -> None:
    engine, data = engine_of(SLOW, threads=threads), batch(0, count=2048, net=SLOW)
    before = engine.state()
    with pytest.raises(KeyboardInterrupt), interrupted_after(0.3):
        engine.step(data, 0.1)
    # A finished step would have changed the running statistics.
    assert_same(engine.state(), before)
    # From here on the engine equals one that was not interrupted.
    small, other = batch(1, count=3, net=SLOW), engine_of(SLOW, threads=1)
    assert engine.step(small, 0.1) == other.step(small, 0.1)
    assert_same(engine.state(), other.state())


def test_ctrl_c_in_an_evaluation() -> None:
    """The evaluation takes seconds; measured in CPU time, as the machine may be busy."""
    engine, data = engine_of(SLOW, threads=2), batch(0, count=40_000, net=SLOW)
    began = time.process_time()
    with pytest.raises(KeyboardInterrupt), interrupted_after(0.3):
        engine.evaluate(data.images, data.labels)
    assert time.process_time() - began < 3
    images, labels = data.images[:2], data.labels[:2]
    assert engine.evaluate(images, labels) == engine_of(SLOW).evaluate(images, labels)


def test_a_signals_handler_may_raise_what_it_likes() -> None:
    class AlarmError(Exception):
        pass

    def handler(number: int, frame: object) -> None:
        raise AlarmError

    before = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with pytest.raises(AlarmError):
            engine_of(SLOW, threads=2).step(batch(0, count=2048, net=SLOW), 0.1)
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_handler_that_returns_lets_the_step_go_on() -> None:
    seen: list[int] = []
    data = batch(0, count=128, net=SLOW)
    expected = engine_of(SLOW, threads=2).step(data, 0.1)
    before = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        assert engine_of(SLOW, threads=2).step(data, 0.1) == expected
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert seen


def test_other_threads_run_meanwhile() -> None:
    """The kernels release the GIL: a Python thread goes on counting."""
    engine, data = engine_of(SLOW, threads=1), batch(0, count=128, net=SLOW)
    done = threading.Event()
    counts = [0]

    def count() -> None:
        while not done.is_set():
            counts[0] += 1
            time.sleep(0.001)

    counter = threading.Thread(target=count)
    counter.start()
    before = counts[0]
    engine.evaluate(data.images, data.labels)
    during = counts[0] - before
    done.set()
    counter.join()
    assert during > 5


def in_a_child(work: Callable[[], bool]) -> None:
    """``work`` in a fork, as multiprocessing makes them."""
    child = os.fork()
    if not child:
        code = 3
        try:
            code = 0 if work() else 4
        finally:
            os._exit(code)
    # A pool that waits for threads that do not exist hangs.
    for _ in range(600):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert os.waitstatus_to_exitcode(status) == 0
            return
        time.sleep(0.05)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("the child hangs")


def test_a_fork_has_threads_of_its_own() -> None:
    engine, data = engine_of(SMALL, threads=2), batch(0)
    expected = engine.gradients(data)

    def same(other: NativeEngine) -> bool:
        return all((a == expected[n]).all() for n, a in other.gradients(data).items())

    def grandchild() -> bool:
        in_a_child(lambda: same(engine))
        return same(engine)

    in_a_child(lambda: same(engine))
    in_a_child(lambda: same(engine_of(SMALL, threads=3)))
    in_a_child(grandchild)
    assert_same(engine.gradients(data), expected)


def test_an_engine_that_was_forked_unused() -> None:
    engine, data = engine_of(SMALL, threads=2), batch(0)
    in_a_child(lambda: bool(engine.step(data, 0.1).loss > 0))
    assert engine.step(data, 0.1) == engine_of(SMALL).step(data, 0.1)


def test_engines_at_once() -> None:
    """More threads than processors: barriers wait for threads that are not running."""
    data = [batch(step, count=70) for step in range(40)]

    def train(threads: int) -> dict[str, Any]:
        engine = engine_of(SMALL, threads=threads)
        for one in data:
            engine.step(one, 0.05)
        return engine.state()

    alone = train(1)
    with ThreadPoolExecutor(4) as pool:
        for state in pool.map(train, (1, 2, 2, 5)):
            assert_same(state, alone)


def test_one_engine_from_two_threads() -> None:
    engine, data = engine_of(SLOW, threads=2), batch(0, count=192, net=SLOW)
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(engine.gradients, data)
        time.sleep(0.1)
        with pytest.raises(EngineError) as caught:
            engine.step(data, 0.1)
        assert str(caught.value) == (
            "epoch 0, step 0: the engine is busy in another thread; use one engine per thread"
        )
        assert_same(engine_of(SLOW).gradients(data), first.result())


TOO_MANY = """
import resource, sys
from kilonet.engine.native import NativeEngine
from kilonet.errors import EngineError
from kilonet.spec import Net, Run
import numpy as np
run = Run(net=Net(input=(1, 8, 8), layers=["conv 4", "gap", "pointwise 4 bare"]))
engine = NativeEngine(run, mean=(0.5,), std=(0.25,), threads=300)
# The stacks of so many threads do not fit.
limit = 1 << 30
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
images, labels = np.zeros((3, 8, 8), np.uint8), np.zeros(3, np.int64)
try:
    engine.evaluate(images, labels)
except EngineError as error:
    print(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits of other systems differ")
def test_more_threads_than_the_system_gives() -> None:
    done = subprocess.run([sys.executable, "-c", TOO_MANY], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("evaluation: 300 threads could not be started")
    assert done.stdout.count("\n") == 1
