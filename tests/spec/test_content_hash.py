"""The content hash: pinned, the same for equal runs only, and kept when a field is added."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import kilonet
from kilonet.spec import Run, Spec, load_run, to_toml

INTERIM = load_run("interim")

RATES = st.sampled_from([0.01, 0.02, 0.001])
SGDS = st.fixed_dictionaries(
    {"name": st.just("sgd"), "lr": RATES},
    optional={
        "momentum": st.sampled_from([0.0, 0.5, 0.9]),
        "weight_decay": st.sampled_from([0, 0.01]),
    },
)
ADAMS = st.fixed_dictionaries(
    {"name": st.sampled_from(["adam", "adamw", "muon"])},
    optional={"lr": RATES, "weight_decay": st.sampled_from([0, 0.01])},
)
SCHEDULES = st.sampled_from(
    ["constant", "cosine", {"name": "step", "step_size": 2}, {"name": "cosine", "eta_min": 0.001}]
)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "train.epochs": st.sampled_from([1, 15]),
        "train.batch_size": st.sampled_from([1, 15, 128]),
        "train.optimizer": SGDS | ADAMS,
        "train.schedule": SCHEDULES,
        "train.label_smoothing": st.sampled_from([0, 0.1]),
        "train.average": st.sampled_from(["none", "ema", "swa", {"name": "ema", "decay": 0.9}]),
        "train.drop_last": st.sampled_from([False, True]),
        "train.batch_schedule": st.sampled_from(["none", {"milestones": [3]}]),
        "train.seed": st.sampled_from([0, 1]),
        "data.augment": st.sampled_from(
            [[], [{"name": "rotation", "degrees": 7}], [{"name": "crop", "padding": 7}]]
        ),
        "data.validation": st.sampled_from([0, 1, 0.5]),
        "net.layers.0": st.sampled_from(["conv 8", "conv 8 bias", "conv 9"]),
        "net.block": st.sampled_from([["conv", "relu"], ["relu", "conv"]]),
    },
)


def test_the_digest_of_the_bundled_run():
    """Another digest orphans every run folder that exists."""
    assert INTERIM.content_hash == (
        "00b11faa71f1e1e06860056e4aa40deb75475892ed8a278c9b0603355599ba18"
    )


@settings(deadline=None)
@given(one=CHANGES, other=CHANGES)
def test_equal_runs_alone_share_a_hash(one: dict[str, Any], other: dict[str, Any]):
    first, second = INTERIM.replace(one), INTERIM.replace(other)
    assert (first.content_hash == second.content_hash) == (first == second)


@settings(deadline=None)
@given(change=CHANGES)
def test_a_run_with_one_change_fewer_has_another_hash_unless_it_is_equal(change: dict[str, Any]):
    run = INTERIM.replace(change)
    for path, value in change.items():
        without = INTERIM.replace({key: change[key] for key in change if key != path})
        assert (without == run) == (without.content_hash == run.content_hash), (path, value)


@settings(deadline=None)
@given(change=CHANGES)
def test_a_stated_default_is_the_same_as_one_that_is_left_out(change: dict[str, Any]):
    run = INTERIM.replace(change)
    stated = run.to_dict()
    left_out: dict[str, Any] = {"net": stated["net"]}
    for section in (run.data, run.train):
        name = type(section).__name__.lower()
        left_out[name] = {
            key: value
            for key, value in stated[name].items()
            if getattr(section, key) != type(section).model_fields[key].default
        }
    assert "seed" not in left_out["train"] or run.train.seed != 1
    assert Run.from_dict(left_out).content_hash == run.content_hash
    assert Run.from_dict(stated).content_hash == run.content_hash


def test_kinds_with_equal_values_differ():
    def of(optimizer: object) -> Spec:
        return INTERIM.replace({"train.optimizer": optimizer})

    names = ("sgd", "adam", "adamw", "muon")
    assert len({of({"name": name, "lr": 0.02}).content_hash for name in names}) == 4
    assert of("adam").content_hash != of("adamw").content_hash


def test_a_new_field_with_a_default_finds_a_finished_run(small_run: Run, tmp_path: Path):
    """The package with one more field reads the folder that the package without it wrote."""
    (tmp_path / "small.toml").write_text(to_toml(small_run.replace({"train.epochs": 1})))

    def train(source: Path) -> str:
        command = "import kilonet, kilonet.entry; print(kilonet.__file__); kilonet.entry.main()"
        done = subprocess.run(
            [sys.executable, "-c", command, "train", "small.toml"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(source)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        file, _, rest = done.stdout.partition("\n")
        assert Path(file) == source / "kilonet" / "__init__.py"
        return rest

    def files() -> dict[str, tuple[int, bytes]]:
        paths = [path for path in tmp_path.glob("kilonet-runs/**/*") if path.is_file()]
        return {
            str(path.relative_to(tmp_path)): (path.stat().st_mtime_ns, path.read_bytes())
            for path in paths
        }

    package = Path(kilonet.__file__).parent
    assert "Epoch 0" in train(package.parent)
    before = files()
    assert len({Path(name).parent for name in before}) == 1
    copy = tmp_path / "copy"
    shutil.copytree(package, copy / "kilonet")
    spec = copy / "kilonet" / "spec" / "train.py"
    field = "    label_smoothing: Annotated"
    assert spec.read_text().count(field) == 1
    spec.write_text(spec.read_text().replace(field, f"    newness: float = 0.5\n{field}"))
    assert "Epoch 0" not in train(copy)
    assert files() == before
    # The field is there: a value of its own is another run.
    (tmp_path / "small.toml").write_text(
        (tmp_path / "small.toml").read_text().replace("[train]\n", "[train]\nnewness = 0.75\n")
    )
    assert "Epoch 0" in train(copy)
    assert len({Path(name).parent for name in files()}) == 2
