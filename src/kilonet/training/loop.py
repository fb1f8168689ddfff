"""Trains a run in its folder: begins, resumes or extends it, or returns the finished record."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from kilonet.data import Dataset, RunData, warn_of_oddities
from kilonet.data.in_memory import DatasetLoader, GivenData, is_given, with_data
from kilonet.data.run_data import for_run
from kilonet.engine import Engine, choose_for_run, create_engine, with_module
from kilonet.engine.teachers import check_classes
from kilonet.errors import StorageError, UsageError
from kilonet.spec import Run, data_path
from kilonet.storage.lock import locked, remove_abandoned
from kilonet.storage.provenance import DataInfo, Provenance
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder
from kilonet.storage.run_state import RunState
from kilonet.storage.trained import ancestors, with_digests
from kilonet.training.epochs import Epochs
from kilonet.training.extension import begin_extended
from kilonet.training.observer import GuardedObserver, Observer
from kilonet.training.resume import (
    check_same_data,
    check_same_run,
    default_folder,
    folder_name,
    resuming_engine,
    resuming_normalization,
    resuming_threads,
)

__all__ = ["default_folder", "folder_name", "train"]

_LOCK_TIMEOUT = 6.0
"""Seconds to wait for a process that trains in the folder: the worker of a killed study takes up to
three to end, see :mod:`kilonet.study.executors.local`, and more on a busy machine."""


def train(
    run: Run,
    *,
    folder: Path | str | None = None,
    engine: str | Engine = "auto",
    device: str = "auto",
    threads: int | None = None,
    resume: bool = False,
    extend: Path | str | None = None,
    data: GivenData | None = None,
    module: Any = None,
    module_name: str = "",
    observer: Observer | None = None,
) -> RunRecord:
    """Train a run to its end and write its spec, provenance, measurements and weights.

    A finished run is not trained again: its record is returned. Every epoch ends with a checkpoint,
    so a run that was stopped or killed resumes to the same bits on the same kind of machine. For
    that, ``auto`` continues with the engine of the last epoch, and an engine whose bits depend on
    the number of threads with as many as before. An engine that is requested by name continues the
    run too, to other bits; ``environment.json`` records from which epoch.

    Args:
        run: the run.
        folder: its folder; default ``kilonet-runs/HASH``.
        engine: ``auto`` or an engine's name; or an existing engine of this run.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        threads: of the engine; default all processors, or as many as before when it resumes.
        resume: continue an unfinished run in the folder, if there is one.
        extend: a finished run, equal but for fewer epochs: the training begins with its last
            checkpoint, to the same bits as from the start. It stays as it is.
        data: the images: a name, a path or a :class:`kilonet.Dataset`, in place of
            ``run.data.name``. A data set that no name or path gives is known by its fingerprint.
        module: your own ``torch.nn.Module``, trained in place of the network; or a class or
            function without arguments that builds one, with weights drawn by the run's seed. The
            record's run has its identity, see :class:`kilonet.spec.Module`.
        module_name: identifies the module in place of its class's name and source.
        observer: receives every step and epoch. Its errors are reported once and never affect the
            training; see :class:`kilonet.training.observer.Observer`.

    Raises:
        UsageError: the run is of a module of your own, which is not given; or the engine was
            created for another run.
        DataError: the images cannot be read or do not fit the network.
        EngineError: no engine can train the network here, or the training diverged.
        StorageError: the folder cannot be written, is damaged, holds another run, or an unfinished
            one without ``resume``; or another process uses it; or a run that this run builds on
            (``train.teacher``, ``train.init``) cannot be read, or is another one by now; or the run
            does not extend that of ``extend``.
    """
    with closing(GuardedObserver(observer)) as guarded:
        run, load = with_data(run, data)
        run = with_digests(run)
        if module_name and module is None:
            raise UsageError(f"module_name {module_name!r}: names no module; give it: module=…")
        if module is not None:
            if not isinstance(engine, str):
                raise UsageError("give the module to the engine, or the engine by its name")
            run, module = with_module(run, module, name=module_name)
        elif not isinstance(engine, str):
            run = _run_of_engine(run, engine, load=load)
        return _train(
            run,
            load=load,
            images_given=data is not None,
            folder=folder,
            engine=engine,
            device=device,
            threads=threads,
            module=module,
            resume=resume,
            extend=extend,
            observer=guarded,
        )


def _train(
    run: Run,
    *,
    load: DatasetLoader,
    images_given: bool,
    folder: Path | str | None,
    engine: str | Engine,
    device: str,
    threads: int | None,
    module: Any,
    resume: bool,
    extend: Path | str | None,
    observer: Observer,
) -> RunRecord:
    """:func:`train` of a run with its identity; the observer raises no error.

    ``images_given``: whether the caller gave ``data``.
    """
    store = RunFolder(default_folder(run) if folder is None else folder)
    # A finished run needs no lock, so it can be read where nothing can be written.
    state = store.read()
    check_same_run(state, run)
    if state is not None and state.finished and not images_given and is_given(run.data.name):
        return state.record  # its images are known by their name, and not needed
    dataset = for_run(run, load(run.data.name))
    check_same_data(state, dataset)
    if state is not None and state.finished:
        remove_abandoned(store.path)
        return state.record
    images = RunData.of(run, dataset)
    check_classes(run, dataset.classes)
    warn_of_oddities(dataset)
    with locked(store.path, timeout=_LOCK_TIMEOUT):
        # Read again: by now another process may have continued or finished the run.
        state = store.read()
        check_same_run(state, run)
        check_same_data(state, dataset)
        if state is not None and state.finished:
            return state.record
        if extend is not None and (state is None or state.empty):
            num_steps = [images.steps_per_epoch(run, epoch) for epoch in range(run.train.epochs)]
            begin_extended(store, run, extend, dataset=dataset, num_steps=num_steps)
            state, resume = store.read(), True
        checkpoint = None if state is None else state.checkpoint
        if checkpoint is not None and not resume:
            raise StorageError(
                f"{store.path}: a run stopped here after {checkpoint.epochs} of "
                f"{run.train.epochs} epochs; add --resume to continue it, or remove the folder"
            )
        resumed = state if checkpoint is not None else None
        if resumed is not None:
            begun_with = resuming_normalization(resumed.record, dataset)
            images = replace(images, normalization=begun_with)
        description = ""
        if isinstance(engine, str):
            engine, description = _create_engine(
                run,
                images,
                engine=engine,
                device=device,
                threads=threads,
                module=module,
                resumed=resumed,
            )
        if run.module is not None:
            engine.logits(images.train_images[:1])  # an error should not come after the training
        if resumed is not None and engine.normalization != images.normalization:
            raise StorageError(
                f"{store.path}: was trained with {images.normalization}, but the engine normalizes "
                f"with {engine.normalization}; make them equal, or name another folder"
            )
        provenance = _provenance(run, engine, dataset)
        if state is None or checkpoint is None:
            provenance = replace(provenance, lineage=ancestors(run))
            store.begin(run, provenance)
        else:
            engine.load_state(checkpoint.state)
            provenance = store.resume(state, provenance)
        observer.begin(
            run,
            engine=description or engine.description,
            folder=store.path,
            epochs_done=0 if checkpoint is None else checkpoint.epochs,
        )
        rows = Epochs(run, images, engine, store, observer).train(checkpoint)
        return RunRecord(path=store.path, run=run, rows=rows, provenance=provenance)


def _run_of_engine(run: Run, engine: Engine, *, load: DatasetLoader) -> Run:
    """The run that an existing engine trains: with the identity of its module, if it has one.

    And with its normalization, where that is not the run's own.

    Raises:
        UsageError: the engine was created for another run.
        DataError: the images cannot be read or do not fit the network.
    """
    own = getattr(engine, "run", run)
    if (own.net, own.train, own.data.augment) != (run.net, run.train, run.data.augment):
        raise UsageError("the engine was created for another run; create one for this run")
    if own.module is not None:
        run = run.model_copy(update={"module": own.module})
    used = engine.normalization
    if used != RunData.of(run, load(run.data.name)).normalization:
        run = run.replace({"data.mean": list(used.mean), "data.std": list(used.std)})
    return run


def _create_engine(
    run: Run,
    data: RunData,
    *,
    engine: str,
    device: str,
    threads: int | None,
    module: Any,
    resumed: RunState | None,
) -> tuple[Engine, str]:
    """The engine and its description, which includes why ``auto`` did not take the native one."""
    if resumed is not None:
        run = run.replace({"train.init": "none"})  # the checkpoint has its own weights
        engine = resuming_engine(resumed.record, engine)
        if threads is None:
            threads = resuming_threads(resumed.record, engine)
    choice = choose_for_run(run, engine=engine, device=device)
    created = create_engine(
        run,
        engine=choice.engine,
        device=device,
        threads=threads,
        mean=data.mean,
        std=data.std,
        module=module,
    )
    return created, choice.describe(created.description)


def _provenance(run: Run, engine: Engine, dataset: Dataset) -> Provenance:
    return Provenance.of_now(
        engine=engine.info,
        data=DataInfo(
            name=dataset.name,
            sha256=dataset.fingerprint,
            train_images=len(dataset.train_labels),
            test_images=len(dataset.test_labels) or None,
            classes=dataset.classes,
            path=data_path(run.data.name),
        ),
        normalization=engine.normalization,
    )
