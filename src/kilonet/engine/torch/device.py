"""Where PyTorch computes: the device, the threads, and what makes its results repeatable there."""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import torch

from kilonet.errors import EngineError, UsageError, did_you_mean
from kilonet.formatting import count
from kilonet.storage.environment import usable_processors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager


def num_threads(threads: int | None) -> int:
    """The threads of PyTorch's operations: those asked for, or as many as it and the quota have."""
    # PyTorch's own default knows no CPU quota.
    return min(torch.get_num_threads(), usable_processors()) if threads is None else threads


def describe_device(device: torch.device, *, threads: int) -> str:
    """Version, device, and threads or the GPU's model: ``torch 2.13.0 on cpu, 2 threads``."""
    text = f"torch {torch.__version__.partition('+')[0]} on {device}"
    if device.type == "cpu":
        return f"{text}, {count(threads, 'thread')}"
    if device.type == "cuda":
        return f"{text}, {torch.cuda.get_device_name(device)}"
    return text


def select_device(device: str) -> torch.device:
    """The device: ``auto`` (mps, else cuda, else cpu), one of these, or ``cuda:1``.

    Raises:
        EngineError: it is not available here.
        UsageError: it is unknown.
    """
    counts = {
        "mps": int(torch.backends.mps.is_available()),
        "cuda": torch.cuda.device_count() if torch.cuda.is_available() else 0,
        "cpu": 1,
    }
    here = [kind for kind, number in counts.items() if number]
    if device == "auto":
        return torch.device(here[0])
    kind, colon, number = device.partition(":")
    if kind not in counts or (colon and not number.isdecimal()):
        raise UsageError(f"device {device!r}: unknown; {did_you_mean(kind, ['auto', *counts])}")
    if int(number or 0) >= counts[kind]:
        raise EngineError(f"device {device!r}: not available; here is {' and '.join(here)}")
    return torch.device(device)


@contextmanager
def global_draws(seed: int, *, device: torch.device) -> Iterator[None]:
    """Seed PyTorch's global generators, for random layers of a user's module; then restore them."""
    kind = "cuda" if device.type == "cpu" else device.type
    devices = [] if device.type == "cpu" else [device.index or 0]
    with torch.random.fork_rng(devices=devices, device_type=kind):
        torch.manual_seed(seed)
        yield


def exact(device: torch.device) -> AbstractContextManager[None]:
    """On CUDA: deterministic convolutions in full float32 (no TF32)."""
    if device.type != "cuda":
        return nullcontext()
    flags: AbstractContextManager[None] = torch.backends.cudnn.flags(
        enabled=True, benchmark=False, deterministic=True, allow_tf32=False
    )
    return flags
