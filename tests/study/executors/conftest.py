"""A Dask cluster in this process, and the study that others are compared with."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import pytest

from kilonet.spec import Run
from kilonet.study import run_study
from small_studies import contents, study_of


@pytest.fixture(scope="module")
def alone(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """The files of the small study, one trial after another in this process."""
    folder = tmp_path_factory.mktemp("alone") / "s"
    run_study(study_of(small_run), folder=folder, jobs=1)
    return contents(folder)


@pytest.fixture(scope="session")
def dask_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A client of a cluster whose only worker is a thread of this process."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=1,
            processes=False,
            dashboard_address="127.0.0.1:0",
            memory_limit=0,
            local_directory=str(tmp_path_factory.mktemp("dask")),
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client
