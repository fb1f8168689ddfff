"""Many trainings at once: the same bits as one after another, failures alone, the machine full."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import joblib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilonet.data import Dataset, load_dataset
from kilonet.entry import run_command
from kilonet.errors import EngineError
from kilonet.record import RunRecord
from kilonet.run import Observer, Silent
from kilonet.spec import Run, Study, to_toml
from kilonet.store import RunFolder
from kilonet.study import IncompleteStudyError, StudyObserver, StudyResult, run_study
from kilonet.tasks import Failure, Plan, Task, make_plan
from small_studies import STEPS, contents, study_of

WILD = {"name": "Wild", "change": {"train.optimizer.lr": 1e30}}
TAME = {"name": "Tame", "change": {"train.optimizer.lr": 0.02}}


def tasks_of(study: Study, folder: Path) -> list[Task]:
    return [
        Task(rung=rung, seed=seed, folder=folder / f"{rung.number}-{seed}")
        for rung in study.rungs
        for seed in study.seed_numbers()
    ]


class Seen(StudyObserver):
    def __init__(self) -> None:
        self.begun: list[tuple[int, int]] = []
        self.trained: list[tuple[int, int]] = []
        self.threads: list[str] = []
        self.ended: list[tuple[int, int]] = []
        self.failed: list[Failure] = []
        self.rungs: list[list[int]] = []
        self.most = self.now = 0
        self.jobs = 0

    def begin_study(self, *, engine: str, tasks: Sequence[Task], num_jobs: int) -> None:
        self.jobs = num_jobs

    def begin_task(self, task: Task) -> Observer | None:
        self.begun.append((task.rung.number, task.seed))
        self.now += 1
        self.most = max(self.most, self.now)
        outer = self

        class Count(Silent):
            def begin(self, run: Run, *, engine: str, folder: Path, epochs_done: int) -> None:
                outer.trained.append((task.rung.number, task.seed))
                outer.threads.append(engine.rpartition(", ")[2])

        return Count()

    def end_task(self, task: Task, record: RunRecord) -> None:
        assert record == RunFolder(task.folder).record()
        assert record.finished
        self.now -= 1
        self.ended.append((task.rung.number, task.seed))

    def fail_task(self, failure: Failure) -> None:
        self.now -= 1
        self.failed.append(failure)

    def end_rung(self, so_far: StudyResult) -> None:
        self.rungs.append([ran.rung.number for ran in so_far.rungs])


@pytest.fixture(scope="module")
def in_turn(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of two rungs and two seeds, one task after another in this process."""
    folder = tmp_path_factory.mktemp("in-turn") / "s"
    run_study(study_of(small_run), folder=folder, jobs=1)
    return folder


@pytest.mark.native
def test_at_once_and_in_turn_make_the_same_files(
    small_run: Run, in_turn: Path, tmp_path: Path
) -> None:
    seen = Seen()
    result = run_study(study_of(small_run), folder=tmp_path / "s", threads=2, observer=seen)
    assert seen.jobs == 2
    assert seen.most >= 2
    assert seen.begun == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert sorted(seen.ended) == sorted(seen.trained) == seen.begun
    assert seen.rungs == [[1], [1, 2]]
    assert [[r.run.train.seed for r in ran.records] for ran in result.rungs] == [[1, 2], [1, 2]]
    assert contents(tmp_path / "s") == contents(in_turn)
    assert not list((tmp_path / "s").rglob(".*"))


@pytest.mark.native
def test_what_is_finished_is_read_and_equal_rungs_share_a_run(
    small_run: Run, in_turn: Path, tmp_path: Path
) -> None:
    again = {"name": "Again", "change": {"train.batch_size": 32}}
    seen = Seen()
    run_study(study_of(small_run, steps=[*STEPS, again]), folder=in_turn, threads=2, observer=seen)
    assert seen.trained == []
    assert seen.rungs == [[1], [1, 2], [1, 2, 3]]
    seen, two = Seen(), study_of(small_run, steps=[STEPS[1], again])
    run_study(two, folder=tmp_path / "s", threads=2, observer=seen)
    assert sorted(seen.trained) == [(1, 1), (1, 2)]
    assert len(list((tmp_path / "s" / "runs").iterdir())) == 2
    assert seen.rungs == [[1], [1, 2]]


@pytest.mark.native
def test_where_no_process_can_be_started_this_one_trains(
    small_run: Run, in_turn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(load: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr("kilonet.tasks.Worker", refuse)
    seen = Seen()
    run_study(study_of(small_run), folder=tmp_path / "s", threads=2, observer=seen)
    assert seen.ended == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert set(seen.threads) == {"2 threads"}
    assert contents(tmp_path / "s") == contents(in_turn)


def test_a_process_that_may_start_none_plans_for_itself(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = tasks_of(study_of(small_run), tmp_path)
    options = {"engine": "auto", "device": "auto", "threads": 2, "jobs": None}
    assert make_plan(tasks, tasks, **options).jobs == 2
    monkeypatch.setitem(multiprocessing.current_process()._config, "daemon", True)
    assert make_plan(tasks, tasks, **options).jobs == 1


def test_a_failed_task_leaves_the_others_alone_and_is_tried_again(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And the rung that it belongs to counts for nothing, though another may come after it."""
    study = study_of(small_run, steps=[STEPS[0], WILD, TAME], seeds=1)
    for options in ({"threads": 2}, {"jobs": 1}):
        seen = Seen()
        with pytest.raises(IncompleteStudyError, match="the training diverged") as told:
            run_study(study, folder=tmp_path / "s", observer=seen, **options)
        assert [ran.rung.number for ran in told.value.result.rungs] == [1, 3]
        assert seen.rungs == [[1], [1, 3]]
        assert [failure.task.rung.number for failure in seen.failed] == [2]
    # The first time two were at once, the second time the finished ones were read.
    assert seen.trained == [(2, 1)]
    (tmp_path / "study.toml").write_text(to_toml(study))
    command = ["study", str(tmp_path / "study.toml"), "--out", str(tmp_path / "s"), "--json"]
    assert run_command(command) == 1
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert [step["name"] for step in found["steps"]] == ["Batch norm", "Tame"]
    [failure] = found["failures"]
    *_, last = err.strip().splitlines()
    assert last == f"kilonet: {failure}"
    assert last.startswith("kilonet: step 2 'Wild', seed 1 (")
    assert "lower train.optimizer.lr (it is 1e+30)" in last or "(this step's was 1e+30)" in last
    assert "left out: rung 2 (Wild)" in err
    report = (tmp_path / "s" / "report.md").read_text()
    assert "Tame" in report


def test_a_study_of_which_nothing_is_complete(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = study_of(small_run, steps=[WILD, {**WILD, "name": "Wild still"}], seeds=1)
    (tmp_path / "study.toml").write_text(to_toml(study))
    command = ["study", str(tmp_path / "study.toml"), "--out", str(tmp_path / "s"), "--json"]
    assert run_command([*command, "--threads", "2"]) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["steps"] == []
    # The second is the first's run, which is not trained twice to fail twice.
    first, second = (line for line in err.splitlines() if line.startswith("kilonet: "))
    assert first.startswith("kilonet: step 1 'Wild', seed 1")
    assert second.startswith("kilonet: step 2 'Wild still', seed 1")


def test_killed_and_starved_workers(small_run: Run, small_mnist: Path, tmp_path: Path) -> None:
    """Of two rungs, one whose process is killed and one whose process may have no more memory."""
    for name in ("killed", "starved"):
        (tmp_path / f"{name}.npz").symlink_to(small_mnist)
    parent = os.getpid()

    def load(name: str) -> Dataset:
        if os.getpid() != parent and Path(name).stem == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        dataset = load_dataset(name)
        if os.getpid() != parent and Path(name).stem == "starved":
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used, used))
        return dataset

    def data(name: str) -> dict[str, object]:
        return {"name": name, "change": {"data.name": str(tmp_path / f"{name}.npz")}}

    good = {"name": "good", "change": {"data.name": str(small_mnist)}}
    study = study_of(small_run, steps=[data("killed"), good, data("starved")], seeds=1)
    seen = Seen()
    with pytest.raises(IncompleteStudyError) as told:
        run_study(study, folder=tmp_path / "s", threads=2, observer=seen, load=load)
    assert seen.ended == [(2, 1)]
    killed, starved = told.value.failures
    assert "its process was killed (SIGKILL), as the system does" in str(killed)
    assert "out of memory" in str(starved)
    assert "\n" not in str(told.value)
    result = run_study(study, folder=tmp_path / "s", threads=2)
    assert len(result.rungs) == 3


@pytest.mark.parametrize(
    ("free", "running", "waiting", "share"),
    [
        (8, 0, 12, 1),
        (8, 0, 3, 2),  # three tasks on eight: 2, 3 and 3
        (6, 1, 2, 3),
        (3, 2, 1, 3),
        (2, 0, 1, 2),  # the last of three on two, the others nearly done
        (1, 1, 1, 1),
        (0, 2, 1, 1),
    ],
)
def test_threads_are_shared_out(free: int, running: int, waiting: int, share: int) -> None:
    plan = Plan(threads=8, jobs=8, fixed=1)
    assert plan.share(free=free, running=running, waiting=waiting) == share


@given(threads=st.integers(1, 64), jobs=st.integers(1, 64), num_tasks=st.integers(1, 100))
def test_the_first_wave_takes_every_thread_and_no_more(
    threads: int, jobs: int, num_tasks: int
) -> None:
    jobs = min(jobs, threads, num_tasks)
    plan = Plan(threads=threads, jobs=jobs, fixed=1)
    given_out: list[int] = []
    for number in range(jobs):
        free = threads - sum(given_out)
        assert free >= 1
        given_out.append(plan.share(free=free, running=number, waiting=num_tasks - number))
    assert sum(given_out) == threads
    assert max(given_out) - min(given_out) <= 1


@pytest.mark.native
def test_a_plan_for_the_processors_that_may_be_used(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = study_of(small_run, seeds=3)
    tasks = tasks_of(study, tmp_path)
    monkeypatch.setattr(joblib, "cpu_count", lambda: 4)

    def plan(number: int = 6, **options: object) -> tuple[int, int]:
        options = {"engine": "auto", "device": "auto", "threads": None, "jobs": None, **options}
        made = make_plan(tasks, tasks[:number], **options)
        return made.threads, made.jobs

    assert plan() == (4, 4)
    assert plan(2) == (4, 2)
    assert plan(0) == (4, 1)
    assert plan(threads=3) == (3, 3)
    assert plan(jobs=2) == (4, 2)
    assert plan(jobs=9, threads=2) == (2, 2)


def test_a_plan_for_one_processor_of_several() -> None:
    """By affinity, in a process of its own that may use one."""
    code = "import os, joblib; os.sched_setaffinity(0, {0}); print(joblib.cpu_count())"
    if 0 not in os.sched_getaffinity(0):
        pytest.skip("processor 0 is not ours")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_pytorchs_threads_do_not_depend_on_what_else_is_to_be_trained(
    small_run: Run, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    study = study_of(small_run, seeds=2)
    tasks = tasks_of(study, tmp_path)

    def fixed(number: int, **options: int) -> int:
        options = {"threads": 4, "jobs": None, **options}
        return make_plan(tasks, tasks[:number], engine="torch", device="cpu", **options).fixed

    assert {fixed(number) for number in range(1, 5)} == {1}
    assert {fixed(number, jobs=2) for number in range(1, 5)} == {2}
    assert {fixed(number, threads=9) for number in range(1, 5)} == {2}


def test_no_engine_is_told_before_anything_is_trained(small_run: Run, tmp_path: Path) -> None:
    seen = Seen()
    with pytest.raises(EngineError, match="device 'cuda': the native engine runs on the CPU"):
        run_study(
            study_of(small_run),
            folder=tmp_path / "s",
            engine="native",
            device="cuda",
            observer=seen,
        )
    assert seen.begun == []
