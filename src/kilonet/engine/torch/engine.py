"""The torch engine: the reference, and the engine for GPUs."""

from __future__ import annotations

import zlib
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from kilonet.data.augment import augment, normalize
from kilonet.data.batch import Batch
from kilonet.engine.arrays import checked_arrays
from kilonet.engine.base import EvalResult, StepResult
from kilonet.engine.checks import check_image_shape, check_loss
from kilonet.engine.init import starting_weights, with_init
from kilonet.engine.teachers import TeacherNetwork, read_teachers
from kilonet.engine.torch.averaging import Average
from kilonet.engine.torch.checks import check_module, checked_logits, explained
from kilonet.engine.torch.device import (
    describe_device,
    exact,
    global_draws,
    num_threads,
    select_device,
)
from kilonet.engine.torch.module import SeededDropout, build_module
from kilonet.engine.torch.optimizer import build_optimizer
from kilonet.engine.torch.own_module import with_identity
from kilonet.errors import DataError, EngineError
from kilonet.randomness import Purpose, philox4x32
from kilonet.spec import SGD, Muon
from kilonet.storage.provenance import EngineInfo, Normalization

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from kilonet.engine.base import Arrays
    from kilonet.spec import Net, Run
    from kilonet.spec.lineage import Teacher


# 27 µs an image of the bundled network on two cores, against 52 in chunks of 500 or 1,000, whose
# activations of 18 MB and more need new memory pages each time.
_EVAL_CHUNK = 250


class TorchEngine:
    """Trains a network with PyTorch; see :class:`kilonet.engine.base.Engine`.

    Args:
        run: what to train and how.
        mean: of each channel, of pixels scaled to [0, 1].
        std: of each channel, likewise.
        device: ``auto`` (mps, else cuda, else cpu), or one of them; ``cuda:1`` is the second GPU.
        threads: of PyTorch's operations on the CPU, for the whole process; None: as many
            as PyTorch has, but at most the processors that the process may use.
        module: the user's own module to train, in place, instead of the spec's layers; its weights
            are the initial ones. Input (n, c, h, w) float32, output (n, classes) logits or
            log-probabilities. The engine's :attr:`run` has its identity.
        module_name: identifies the module in place of its class's name and source.

    Raises:
        StorageError: if the run states the identity of another module.
        EngineError: if the device is not available, or the module cannot be trained.
        UsageError: for an unknown device.
        StorageError: also if a run that this run builds on cannot be read, or its weights do not
            fit.
        DataError: if a teacher does not fit the network.
    """

    name = "torch"

    def __init__(
        self,
        run: Run,
        *,
        mean: Sequence[float],
        std: Sequence[float],
        device: str = "auto",
        threads: int | None = None,
        module: nn.Module | None = None,
        module_name: str = "",
    ) -> None:
        if module is not None:
            known = with_identity(run.module, module, name=module_name)
            run = run.model_copy(update={"module": known})
        elif run.module is not None:
            raise EngineError(
                f"the run trains the module {run.module.name!r}, which is not among kilonet's "
                "files; give it: module=…"
            )
        self.run = run
        self.device = select_device(device)
        torch.set_num_threads(num_threads(threads))
        self.normalization = Normalization(mean=tuple(map(float, mean)), std=tuple(map(float, std)))
        self._users_own = module is not None
        if module is None:
            module = build_module(run.net)
            _copy(starting_weights(run), module.state_dict(), where="initial weights")
        elif run.train.init is not None:
            own = {name: _array(tensor) for name, tensor in module.state_dict().items()}
            _copy(with_init(own, run), module.state_dict(), where="initial weights")
        # Channels first. Channels last is a tenth faster on the CPU, but with it PyTorch sums batch
        # norm's statistics in float32: for digits, whose background is constant, variances are
        # wrong by 7e-5 instead of 4e-8. That moves values across a ReLU's zero, and changes the
        # bundled network's gradients by up to 5e-2.
        self._module = module.to(self.device)
        self._trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        check_module(module, trained=self._trained)
        self._dropouts = _dropouts(module)
        self._teachers = [self._teacher(teacher) for teacher in read_teachers(run)]
        self._reset()

    @property
    def description(self) -> str:
        """Version, device, and threads or the GPU's model: ``torch 2.13.0 on cpu, 2 threads``."""
        text = describe_device(self.device, threads=torch.get_num_threads())
        return f"{text}, module {type(self._module).__name__}" if self._users_own else text

    @property
    def info(self) -> EngineInfo:
        """PyTorch's version and the device; on the CPU also the threads, on which sums depend."""
        return EngineInfo(
            name=self.name,
            description=self.description,
            version=torch.__version__,
            device=str(self.device),
            threads=torch.get_num_threads() if self.device.type == "cpu" else None,
        )

    @staticmethod
    def device_type(device: str) -> str:
        """``cpu``, ``cuda`` or ``mps``; raises as the constructor does."""
        return select_device(device).type

    @staticmethod
    def describe(*, device: str = "auto", threads: int | None = None) -> str:
        """The description of an engine with these arguments; raises as the constructor does."""
        here = select_device(device)
        return describe_device(here, threads=num_threads(threads))

    def step(self, batch: Batch, lr: float, *, momentum: float | None = None) -> StepResult:
        """Forward, backward, update; see :meth:`kilonet.engine.base.Engine.step`.

        Raises:
            EngineError: if the loss is no longer finite, the batch is too small for batch norm, or
                memory does not suffice.
            DataError: if images or labels do not fit the network.
        """
        self._set_rates(lr, momentum)
        self._optimizer.zero_grad()
        with self._training(batch):
            logits, labels, loss = self._forward(batch)
            loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        if self._average is not None:
            self._average.end_step(batch.epoch)
        correct = (logits.argmax(dim=1) == labels).sum()
        # One transfer for both, and as late as possible: the CPU waits for the GPU.
        loss_value, correct_value = torch.stack([loss.detach(), correct.to(loss.dtype)]).tolist()
        check_loss(loss_value, batch=batch, lr=lr)
        return StepResult(loss=loss_value, correct=int(correct_value))

    def end_epoch(self, epoch: int, batches: Iterable[Batch]) -> None:
        """Average the weights; see :meth:`kilonet.engine.base.Engine.end_epoch`."""
        if self._average is not None:
            where = f"epoch {epoch}, statistics of the averaged weights"
            with explained(where, net=self._net):
                self._average.end_epoch(epoch, self._inputs(self._average.model.module, batches))

    def gradients(self, batch: Batch) -> dict[str, NDArray[np.generic]]:
        """Gradients of a training step; see :meth:`kilonet.engine.base.Engine.gradients`."""
        before = [(buffer, buffer.clone()) for buffer in self._module.buffers()]
        try:
            with self._training(batch):
                _, _, loss = self._forward(batch)
                gradients = torch.autograd.grad(
                    loss, list(self._trained.values()), allow_unused=True, materialize_grads=True
                )
        finally:
            for buffer, value in before:
                buffer.copy_(value)
        return dict(zip(self._trained, map(_array, gradients), strict=True))

    def evaluate(
        self, images: NDArray[np.uint8], labels: NDArray[np.int64], *, logits: bool = False
    ) -> EvalResult:
        """Loss and correct count; see :meth:`kilonet.engine.base.Engine.evaluate`."""
        if not len(images):
            raise DataError("no images to evaluate")
        self._evaluated.eval()
        parts = []
        with torch.inference_mode(), explained("evaluation"), exact(self.device):
            for start in range(0, len(images), _EVAL_CHUNK):
                chunk = slice(start, start + _EVAL_CHUNK)
                out = self._evaluated(self._input(images[chunk]))
                parts.append(checked_logits(out, labels[chunk]).cpu())
            every = torch.cat(parts)
            target = torch.from_numpy(np.array(labels, dtype=np.int64))
            # In float64, so that the order of the sum does not matter; on the CPU, as MPS has none.
            loss = F.cross_entropy(every.double(), target).item()
            correct = int((every.argmax(dim=1) == target).sum().item())
        return EvalResult(
            loss=loss, correct=correct, count=len(images), logits=every.numpy() if logits else None
        )

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See :meth:`kilonet.engine.base.Engine.logits`."""
        # One image at a time: PyTorch's sums depend on the size of a batch, on the place in it and
        # on the number of threads. It takes twice the time of batches, 0.2 ms an image.
        self._evaluated.eval()
        label = np.zeros(1, np.int64)
        out = np.empty((len(images), self.run.net.num_classes), dtype=np.float32)
        with torch.inference_mode(), explained("evaluation"), exact(self.device):
            for i in range(len(images)):
                own = checked_logits(self._evaluated(self._input(images[i : i + 1])), label)
                if own.shape[1] != out.shape[1]:
                    raise EngineError(
                        f"the module has {own.shape[1]} outputs for {out.shape[1]} classes; they "
                        "should be equal"
                    )
                out[i] = own[0].cpu().numpy()
        return out

    def soft_targets(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See :meth:`kilonet.engine.base.Engine.soft_targets`."""
        targets = np.empty((len(images), self.run.net.num_classes), np.float32)
        with explained("teachers"), exact(self.device):
            for start in range(0, len(images), _EVAL_CHUNK):
                chunk = slice(start, start + _EVAL_CHUNK)
                targets[chunk] = self._soft_targets(images[chunk]).cpu().numpy()
        return targets

    def weights(self) -> dict[str, NDArray[np.generic]]:
        """Weights and buffers; see :meth:`kilonet.engine.base.Engine.weights`."""
        return {name: _array(tensor) for name, tensor in self._evaluated.state_dict().items()}

    def load_weights(self, weights: Arrays) -> None:
        """Set parameters and buffers; reset the optimizer and the average.

        Raises:
            StorageError: naming an array that is missing, unknown or of another shape.
        """
        _copy(weights, self._module.state_dict(), where="weights")
        self._reset()

    def state(self) -> dict[str, NDArray[np.generic]]:
        """What a resume needs: ``weights/…``, ``optimizer/PARAMETER/…`` and ``average/…``."""
        return {name: _array(tensor) for name, tensor in self._live_state().items()}

    def load_state(self, state: Arrays) -> None:
        """Resume from :meth:`state`; see :meth:`kilonet.engine.base.Engine.load_state`."""
        _copy(state, self._live_state(), where="state", exact=True)

    @property
    def _net(self) -> Net | None:
        """The network of kilonet's layers; None if the module is the user's own."""
        return None if self._users_own else self.run.net

    @property
    def _evaluated(self) -> nn.Module:
        average = self._average
        return self._module if average is None or not average.begun else average.model.module

    def _inputs(self, module: nn.Module, batches: Iterable[Batch]) -> Iterator[Tensor]:
        """The inputs of training steps of a module, each in the context of its step."""
        dropouts = _dropouts(module)
        for batch in batches:
            with self._training(batch, dropouts=dropouts):
                yield self._input(self._augmented(batch))

    def _live_state(self) -> dict[str, Tensor]:
        """Every tensor that training changes, not copied: writing to it changes the engine."""
        live = {f"weights/{name}": t for name, t in self._module.state_dict().items()}
        for name, parameter in self._trained.items():
            for part, tensor in self._optimizer.state[parameter].items():
                live[f"optimizer/{name}/{part}"] = tensor
        if self._average is not None:
            live |= {f"average/{name}": t for name, t in self._average.model.state_dict().items()}
        return live

    def _reset(self) -> None:
        """Set a new optimizer, and a new average that starts from the current weights."""
        self._optimizer = build_optimizer(self.run.train.optimizer, self._trained)
        average = self.run.train.average
        self._average = None if average is None else Average(self.run.train, self._module)

    def _set_rates(self, lr: float, momentum: float | None) -> None:
        spec = self.run.train.optimizer
        for group in self._optimizer.param_groups:
            group["lr"] = lr
            if isinstance(spec, SGD | Muon):
                group["momentum"] = spec.momentum if momentum is None else momentum
            else:
                group["betas"] = (spec.betas[0] if momentum is None else momentum, spec.betas[1])

    def _input(self, images: NDArray[np.uint8]) -> Tensor:
        """(n, h, w[, c]) uint8 → (n, c, h, w) float32 on the device."""
        array = normalize(images, mean=self.normalization.mean, std=self.normalization.std)
        check_image_shape(array.shape[1:], needed=self.run.net.input)
        return torch.from_numpy(array).to(self.device).contiguous()

    def _augmented(self, batch: Batch) -> NDArray[np.uint8]:
        """The images of a training step, which a teacher sees too."""
        return augment(
            batch.images,
            batch.index,
            augmentations=self.run.data.augment,
            seed=self.run.train.seed,
            epoch=batch.epoch,
        )

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """(n, classes) logits, (n,) labels on the device, mean loss."""
        train = self.run.train
        self._module.train()
        images = self._augmented(batch)
        logits = checked_logits(self._module(self._input(images)), batch.labels)
        labels = torch.tensor(batch.labels, dtype=torch.int64, device=self.device)
        loss = F.cross_entropy(logits, labels, label_smoothing=train.label_smoothing)
        if train.teacher is not None:
            if batch.targets is None:
                targets = self._soft_targets(images)
            else:
                targets = torch.tensor(batch.targets, dtype=torch.float32, device=self.device)
            loss = _distilled(loss, logits, targets, teacher=train.teacher)
        return logits, labels, loss

    def _soft_targets(self, images: NDArray[np.uint8]) -> Tensor:
        """(n, classes) float32 on the device: the mean of the teachers' softened probabilities."""
        teacher = self.run.train.teacher
        assert teacher is not None
        with torch.no_grad():
            probabilities = [
                F.softmax(each._module(each._input(images)) / teacher.temperature, dim=1)  # noqa: SLF001
                for each in self._teachers
            ]
            return torch.stack(probabilities).mean(dim=0)

    def _teacher(self, network: TeacherNetwork) -> TorchEngine:
        """An engine for a teacher's logits, on the same device."""
        used = network.normalization
        engine = TorchEngine(
            network.run,
            mean=used.mean,
            std=used.std,
            device=str(self.device),
            threads=torch.get_num_threads(),
        )
        engine.load_weights(network.weights)
        engine._module.eval()
        return engine

    @contextmanager
    def _training(
        self, batch: Batch, *, dropouts: Mapping[str, SeededDropout] | None = None
    ) -> Iterator[None]:
        """The context of a training pass: seeds its draws, and turns errors into one line.

        ``dropouts``: of the module that is used, by name; those of the one that is trained.
        """
        dropouts = self._dropouts if dropouts is None else dropouts
        codes = [0, *(zlib.crc32(name.encode()) for name in dropouts)]
        counter = np.array([(0, batch.step, code, Purpose.DROPOUT) for code in codes], np.uint32)
        words = philox4x32(counter, seed=self.run.train.seed)
        own, *seeds = [int(low) | (int(high) & 0x7FFFFFFF) << 32 for low, high, *_ in words]
        for dropout, seed in zip(dropouts.values(), seeds, strict=True):
            dropout.seed = seed
        where = f"epoch {batch.epoch}, step {batch.step}"
        draws = global_draws(own, device=self.device) if self._users_own else nullcontext()
        with (
            explained(where, net=self._net),
            draws,
            exact(self.device),
        ):
            yield


def _dropouts(module: nn.Module) -> dict[str, SeededDropout]:
    return {n: m for n, m in module.named_modules() if isinstance(m, SeededDropout)}


def _distilled(loss: Tensor, logits: Tensor, targets: Tensor, *, teacher: Teacher) -> Tensor:
    """The loss with the teachers' part; see :class:`kilonet.spec.lineage.Teacher`."""
    student = F.log_softmax(logits / teacher.temperature, dim=1)
    divergence = F.kl_div(student, targets, reduction="batchmean")
    return (1 - teacher.weight) * loss + teacher.weight * teacher.temperature**2 * divergence


def _array(tensor: Tensor) -> NDArray[np.generic]:
    """A copy of a tensor, in C order."""
    return np.array(tensor.detach().cpu().numpy(), order="C")


def _copy(
    arrays: Arrays, tensors: Mapping[str, Tensor], *, where: str, exact: bool = False
) -> None:
    """Copy arrays into the tensors of the same names; on an error none is changed."""
    live = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
    checked = checked_arrays(arrays, like=live, where=where, exact=exact)
    with torch.no_grad():
        for name, array in checked.items():
            tensors[name].copy_(torch.from_numpy(array))
