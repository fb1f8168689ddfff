"""A Dask cluster: how it is reached or started, and which of its workers fit and answer."""

from __future__ import annotations

import logging
import platform
import re
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kilonet.errors import ClusterError, EngineError, UsageError
from kilonet.storage.environment import package_version
from kilonet.study.executors.dask_worker import Version, describe, worker_version
from kilonet.study.executors.local import sigint_blocked
from kilonet.study.scheduler import PlannedTrial

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 10
"""Limit for connecting to a scheduler."""

WORKER_SECONDS = 30
"""Limit for the first worker to join."""

_ANSWER_SECONDS = 5
"""Limit for a worker to state its versions before the study; one that hangs does not."""

SILENT_SECONDS = 15.0
"""A worker without a sign of life for this long hangs. Workers send one every half second, in
clusters of hundreds every five."""

_PREFIX = "dask://"

_MUST_MATCH = ("distributed", "dask")
"""Packages whose versions must be equal: their processes talk to one another."""

_MAY_DIFFER = ("numpy", "torch")
"""Packages whose difference is reported: the last bits of a result may depend on them."""


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """A cluster with at least one worker, all of which have this kilonet.

    Attributes:
        client: connected to its scheduler.
        name: for messages.
        slots: tasks that it runs at once now; workers may join and leave.
        workers: the addresses of those that answered.
    """

    client: Client
    name: str
    slots: int
    workers: tuple[str, ...]

    def describe(self, planned: Sequence[PlannedTrial[Any]], *, device: str) -> str:
        """The engines that train the trials on the workers, each once.

        Raises:
            EngineError: a worker cannot train one of the networks.
        """
        trained = {
            (each.trial.run.net.content_hash, each.engine, each.threads): each for each in planned
        }
        asked = [(each.trial.run.net, each.engine, each.threads) for each in trained.values()]
        found: dict[str, None] = {}
        for worker, answer in _run(
            self.client, self.workers, describe, asked, device=device
        ).items():
            if isinstance(answer, str):
                raise EngineError(f"{self.name}: worker {worker}: {answer}")
            found.update(dict.fromkeys(answer))
        return " and ".join(found)


def check_place(on: Any) -> None:
    """Raise UsageError unless ``on`` is ``local``, ``dask``, ``dask://HOST:PORT`` or a client."""
    if isinstance(on, str):
        if on not in ("local", "dask"):
            _address(on)
    elif not hasattr(on, "scheduler_info"):
        raise UsageError(
            f"on={on!r}: should be 'local', 'dask', 'dask://HOST:PORT' or a client of "
            "dask.distributed"
        )
    elif getattr(on, "asynchronous", False):
        raise UsageError("on: an asynchronous client; run_study needs a synchronous one")


@contextmanager
def connect(on: Any, *, num_workers: int, tell: Callable[[str], None]) -> Iterator[Cluster]:
    """A cluster, while the block runs; what was started for it ends with the block.

    Args:
        on: ``dask`` for processes on this machine, ``dask://HOST:PORT`` for the scheduler there, or
            a ``distributed.Client``, which stays open.
        num_workers: processes to start for ``dask``.
        tell: called with a line about what it waits for, and about workers that differ.

    Raises:
        ClusterError: dask.distributed is not installed; the cluster cannot be reached or has no
            worker; or a worker has another kilonet, Python or Dask.
    """
    try:
        import distributed
    except ModuleNotFoundError:
        raise ClusterError(
            f"{on}: dask.distributed is not installed; pip install 'kilonet[cluster]'"
        ) from None
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        if isinstance(on, distributed.Client):
            client, name = on, f"dask {on.scheduler_info()['address']}"
        elif on == "dask":
            name = on
            client = stack.enter_context(_started(num_workers))
        else:
            name = on
            client = stack.enter_context(_reached(on))
        slots = _wait_for_worker(client, name, tell)
        workers = _compare(client, name, tell)
        yield Cluster(client=client, name=name, slots=slots, workers=workers)


def _address(on: str) -> str:
    """``tcp://HOST:PORT`` of ``dask://HOST:PORT``."""
    match = re.fullmatch(r"dask://([\w.-]+|\[[0-9A-Fa-f:.]+\]):(\d{1,5})/?", on)
    if match is None or not 0 < int(match[2]) < 65536:
        raise UsageError(
            f"--on {on!r}: should be local, dask (processes on this machine) or dask://HOST:PORT "
            "(the scheduler of a cluster)"
        )
    return f"tcp://{match[1]}:{match[2]}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's loggers and warnings quiet: a study tells itself what they mean for it."""
    loggers = [logging.getLogger(name) for name in ("distributed", "asyncio", "tornado")]
    before = [logger.level for logger in loggers]
    # Those below have levels of their own.
    names = [name for name in logging.root.manager.loggerDict if name.startswith("distributed.")]
    loggers += [logging.getLogger(name) for name in names]
    before += [logging.getLogger(name).level for name in names]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"distributed\b")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def _reached(on: str) -> Iterator[Client]:
    from distributed import Client

    address = _address(on)
    try:
        client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ClusterError(
            f"{on}: no Dask scheduler answers there within {CONNECT_SECONDS} s ({reason}); start "
            f"one with 'dask scheduler', or check the address"
        ) from None
    try:
        yield client
    finally:
        _close(client)


@contextmanager
def _started(num_workers: int) -> Iterator[Client]:
    from distributed import Client, LocalCluster

    with ExitStack() as stack:
        try:
            # Ctrl-C is this process's; the workers end with it.
            with sigint_blocked():
                cluster = LocalCluster(
                    n_workers=num_workers,
                    threads_per_worker=1,
                    processes=True,
                    memory_limit=0,  # the system's is enough
                    dashboard_address="127.0.0.1:0",
                    silence_logs=logging.CRITICAL + 1,
                )
                stack.callback(_close, cluster)
                client = Client(cluster, timeout=CONNECT_SECONDS, set_as_default=False)
                stack.callback(_close, client)
        except (OSError, RuntimeError, TimeoutError) as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ClusterError(
                f"dask: cannot start {num_workers} worker processes ({reason}); a script has to "
                "call run_study under \"if __name__ == '__main__':\""
            ) from None
        yield client


def _close(closed: Any) -> None:
    with suppress(Exception):  # of a scheduler that is dead already
        closed.close(timeout=5)


def _wait_for_worker(client: Client, name: str, tell: Callable[[str], None]) -> int:
    """Wait for the first worker; returns the number of tasks that run at once."""
    if not client.scheduler_info()["workers"]:
        tell(f"{name}: has no worker; waiting up to {WORKER_SECONDS} s for one")
        try:
            client.wait_for_workers(1, timeout=WORKER_SECONDS)
        except TimeoutError:
            address = name.removeprefix(_PREFIX)
            raise ClusterError(
                f"{name}: no worker joined within {WORKER_SECONDS} s; start one with "
                f"'dask worker {address} --nthreads 1', in an environment with kilonet"
            ) from None
    return sum(int(worker["nthreads"]) for worker in client.scheduler_info()["workers"].values())


def _compare(client: Client, name: str, tell: Callable[[str], None]) -> tuple[str, ...]:
    """Compare the scheduler and the workers with this process.

    Returns:
        The workers that answer. The others are compared when they train.

    Raises:
        ClusterError: one does not fit.
    """
    packages = (*_MUST_MATCH, *_MAY_DIFFER, "kilonet")
    here = {package: package_version(package) or "none" for package in packages}
    scheduler, workers = _versions(client, packages)
    answered = {worker: found for worker, found in workers.items() if found is not None}
    if not answered:
        raise ClusterError(f"{name}: no worker answers; start them again")
    if silent := [worker for worker, found in workers.items() if found is None]:
        tell(f"{name}: no answer from worker {', '.join(silent)}; the others begin")
    named = {f"worker {worker}": found for worker, found in answered.items()}
    for process, versions in {"the scheduler": scheduler, **named}.items():
        where = f"{name}: {process}"
        python = ".".join(versions["python"].split(".")[:2])
        if python != ".".join(platform.python_version_tuple()[:2]):
            raise _other(where, f"Python {python}", f"Python {platform.python_version()}")
        for package in _MUST_MATCH:
            if versions[package] != here[package]:
                other, this = (f"{package} {found[package]}" for found in (versions, here))
                raise _other(where, other, this)
    for process, versions in named.items():
        if versions["kilonet"] != here["kilonet"]:
            found = f"kilonet {versions['kilonet']}"
            raise _other(f"{name}: {process}", found, str(Version.of_this()))
    differing: dict[str, str] = {}
    for process, versions in named.items():
        for package in _MAY_DIFFER:
            other, this = versions[package], here[package]
            if other != this and "none" not in (other, this):
                differing.setdefault(f"{package} {other}, this process {this}", process)
    for worker, version in _run(client, tuple(answered), worker_version).items():
        if isinstance(version, Exception):
            found = f"another kilonet ({type(version).__name__}: {version})"
            raise _other(f"{name}: worker {worker}", found, str(Version.of_this()))
        if version != Version.of_this():
            raise other_version(name, worker, version)
    for difference, process in differing.items():
        tell(f"{name}: {process} has {difference}: results may differ in their last bits")
    return tuple(answered)


def other_version(name: str, worker: str, version: Version) -> ClusterError:
    """The error for a worker with another kilonet."""
    return _other(f"{name}: worker {worker}", str(version), str(Version.of_this()))


def _other(where: str, found: str, here: str) -> ClusterError:
    return ClusterError(
        f"{where} has {found}, but this process has {here}; install the same in both"
    )


class Workers:
    """The workers of a cluster, and which of them hang.

    Attributes:
        alive: addresses of the workers that do not hang.
        silent: addresses of the workers that hang.
    """

    def __init__(self) -> None:
        self.alive: set[str] = set()
        self.silent: set[str] = set()
        # Address → its last sign of life by the scheduler's clock, and when it was seen by ours.
        self._seen: dict[str, tuple[float, float]] = {}

    def update(self, workers: Mapping[str, Mapping[str, Any]]) -> str:
        """Update from the scheduler's list; returns a line about a change for the worse, or ""."""
        now = time.monotonic()
        before, left = self.silent, bool(workers)
        for address, worker in workers.items():
            sign = float(worker.get("last_seen", 0.0))
            if address not in self._seen or self._seen[address][0] != sign:
                self._seen[address] = sign, now
        self._seen = {address: self._seen[address] for address in workers}
        self.silent = {a for a, (_, seen) in self._seen.items() if now - seen > SILENT_SECONDS}
        had, self.alive = bool(self.alive), set(workers) - self.silent
        if not self.alive and had:
            why = "no worker answers" if left else "no worker is left"
            return f"{why}; waiting for one"
        new = sorted(self.silent - before)
        if new:
            return (
                f"no sign of life from worker {', '.join(new)} for {SILENT_SECONDS:.0f} s; its "
                "runs continue elsewhere"
            )
        return ""


_Versions = dict[str, str]
"""Package → version, "none" without; and that of ``python``."""


def _versions(
    client: Client, packages: Sequence[str]
) -> tuple[_Versions, dict[str, _Versions | None]]:
    """The versions of the scheduler and, by address, of the workers; None from one that hangs."""
    import asyncio  # 0.04 s, which studies on this machine save

    message = {"op": "versions", "packages": [*packages]}

    def of(reply: Any) -> _Versions:
        return {package: version or "none" for package, version in reply["packages"].items()}

    async def ask(worker: str) -> _Versions | None:
        broadcast = client.scheduler.broadcast
        with suppress(TimeoutError):
            question = broadcast(msg=message, workers=[worker], on_error="ignore")
            replies = await asyncio.wait_for(question, _ANSWER_SECONDS)
            return of(replies[worker]) if worker in replies else None
        return None

    async def ask_all() -> tuple[_Versions, dict[str, _Versions | None]]:
        workers = [*(await client.scheduler.identity(n_workers=-1))["workers"]]
        answers = await asyncio.gather(*(ask(worker) for worker in workers))
        scheduler = await client.scheduler.versions(packages=[*packages])
        return of(scheduler), dict(zip(workers, answers, strict=True))

    found: tuple[_Versions, dict[str, _Versions | None]] = client.sync(ask_all)
    return found


def _run(
    client: Client,
    workers: Sequence[str],
    function: Callable[..., Any],
    *arguments: Any,
    **options: Any,
) -> dict[str, Any]:
    """Run a function on workers: address → result or exception, without those that died."""
    found = client.run(function, *arguments, workers=[*workers], on_error="return", **options)
    return {worker: answer for worker, answer in found.items() if not isinstance(answer, OSError)}
