"""Specs in files: bundled, by path, in a folder, and files that are no specs."""

from __future__ import annotations

import logging
import os
import sys
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.entry import run_command
from kilonet.errors import NetError, SpecError, UsageError
from kilonet.spec import (
    Run,
    Study,
    bundled_names,
    load_net,
    load_net_and_budget,
    load_run,
    load_run_and_seeds,
    load_study,
    parse_setting,
    to_toml,
)
from kilonet.spec.files import _warn_of_steps
from kilonet.spec.module import Module
from strategies import nets

NET = '[net]\ninput = [1, 28, 28]\nlayers = ["conv 8", "gap", "pointwise 10 bare"]\n'
STAGE = '[[stage]]\nname = "Longer"\nchange = { "train.epochs" = 20 }\n'
STUDY = f'name = "s"\ntarget = 99\n{NET}{STAGE}'

OPTIMIZERS = [
    "sgd",
    {"name": "sgd", "lr": 0.1, "momentum": 0.5, "nesterov": True, "weight_decay": 1e-4},
    {"name": "adam", "lr": 3e-4, "betas": [0.8, 0.99], "eps": 1e-7, "weight_decay": 0.1},
    {"name": "adamw", "weight_decay": 0.0},
    {"name": "sgd", "weight_decay": 1e-4, "decay": "weights"},
]
SCHEDULES = [
    "constant",
    {"name": "step", "step_size": 10, "gamma": 0.5},
    {"name": "multistep", "milestones": [3, 9]},
    {"name": "onecycle", "max_lr": 0.2, "anneal": "linear", "three_phase": True,
     "cycle_momentum": False},
    {"name": "cosine", "t_max": 7, "eta_min": 1e-5},
    {"name": "cosine", "every": "step", "warmup": 0.75, "warmup_start": 0.1},
    {"name": "plateau", "metric": "accuracy", "threshold_mode": "abs", "patience": 0},
]  # fmt: skip
AUGMENTATIONS = [
    {"name": "rotation", "degrees": 7, "fill": 1},
    {"name": "rotation", "degrees": [-1, 30.5], "resample": "bilinear"},
    {"name": "affine", "degrees": 5, "translate": [0.1, 0.2], "scale": [0.9, 1.1], "shear": 3},
    {"name": "crop", "padding": 2},
    {"name": "color_jitter", "brightness": 0.1, "contrast": [0.5, 2], "hue": 0.1},
    {"name": "erasing", "p": 1, "scale": [0.1, 0.2], "ratio": [1, 1], "value": 255},
]


@st.composite
def runs(draw):
    net = draw(nets(max_lines=3))
    return Run(
        net=net,
        data={
            "name": draw(st.sampled_from(["mnist", 'a "quoted" päth\\x.npz', "line\nbreak"])),
            "mean": draw(st.none() | st.just([0.1307])),
            "resize": draw(st.none() | st.just(net.input[1:])),
            "augment": draw(st.lists(st.sampled_from(AUGMENTATIONS), max_size=3)),
            "validation": draw(st.sampled_from([0.1, 5000])),
        },
        train={
            "epochs": draw(st.integers(1, 100)),
            "optimizer": draw(st.sampled_from(OPTIMIZERS[1:])),
            "schedule": draw(st.sampled_from(SCHEDULES)),
            "label_smoothing": draw(st.floats(0, 1, exclude_max=True)),
            "average": draw(st.sampled_from([None, {"name": "ema", "decay": 0.999}, "swa"])),
            "batch_schedule": draw(st.sampled_from([None, {"milestones": [2, 5], "factor": 1.5}])),
            "drop_last": draw(st.booleans()),
            "early_stopping": draw(st.sampled_from([None, {"patience": 5, "metric": "accuracy"}])),
            "seed": draw(st.integers(0, 2**63 - 1)),
        },
    )


@settings(max_examples=60, deadline=None)
@given(runs())
def test_toml_round_trip_of_runs(run):
    again = Run.from_dict(tomllib.loads(to_toml(run)))
    assert again == run
    assert again.content_hash == run.content_hash


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_toml_round_trip_of_every_optimizer_and_schedule(tmp_path, optimizer, schedule):
    run = Run(
        net={"input": [1, 8, 8], "layers": ["gap", "pointwise 10 bare"]},
        data={"validation": 0.1, "augment": AUGMENTATIONS},
        train={"optimizer": optimizer, "schedule": schedule, "average": "ema"},
    )
    path = tmp_path / "run.toml"
    path.write_text(to_toml(run), "utf-8")
    assert load_run(str(path)) == run
    assert load_run(str(tmp_path)) == run  # a run folder


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_toml_round_trip_of_studies(tmp_path, augmentation):
    study = Study(
        name="all",
        target=99.5,
        budget={"parameters": 9000},
        seeds=3,
        net={"input": [1, 8, 8], "layers": [{"residual": ["relu"]}, "gap", "pointwise 10 bare"]},
        stage=[
            {"name": "Augment", "change": {"data.augment": [augmentation]}},
            {"name": "Net", "target": "x", "change": {"net.layers.0": {"residual": ["silu"]}}},
            {"name": "Average", "change": {"train.average": "ema", "train.epochs": 3}},
        ],
    )
    path = tmp_path / "study.toml"
    path.write_text(to_toml(study), "utf-8")
    assert load_study(str(path)) == study
    assert load_study(str(tmp_path)).content_hash == study.content_hash


def test_bundled_names():
    assert bundled_names() == ("interim", "mnist-8k", "sprint")
    assert load_run("interim").net == load_net("interim")
    assert load_study("mnist-8k").name == "mnist-8k"


def test_a_net_from_whatever_holds_one(tmp_path):
    # A study's is its last stage's.
    assert load_net("mnist-8k") == load_net("interim")
    bare = tmp_path / "net.toml"
    bare.write_text('input = [1, 28, 28]\nlayers = ["conv 8", "gap", "pointwise 10 bare"]\n')
    run = tmp_path / "run.toml"
    run.write_text(NET)
    assert load_net(str(bare)) == load_net(str(run)) == load_net(str(tmp_path))


@pytest.mark.parametrize(
    ("load", "name", "message"),
    [
        (load_run, "mnist-8k", "mnist-8k: is a study, not a run; use 'kilonet study mnist-8k'"),
        (
            load_study,
            "interim",
            "interim: target is missing; a study needs one, in percent of test accuracy: add",
        ),
        (load_run, "interm", "interm: no bundled spec and no file of that name; did you mean 'in"),
        (load_run, "zzz", "zzz: no bundled spec and no file of that name; known: interim, mnist-"),
        (load_net, "zzz.toml", "zzz.toml: no such file"),
        (load_net, "no/such/file", "no/such/file: no such file"),
        (load_net, "a\0b", r"'a\x00b' is not a path: it contains a NUL"),
        (load_net, "", "'' is not a path: it is empty"),
        (load_net, "~nobody-here/a.toml", "the home folder ~nobody-here is unknown"),
        (load_net, "x" * 5000, "': no bundled spec and no file of that name"),
    ],
)
def test_names_that_lead_nowhere(tmp_path, monkeypatch, load, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((UsageError, SpecError)) as raised:
        load(name)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (bytes(range(256)), "not UTF-8 text, so not a spec; give a TOML file"),
        (NET.encode("utf-16"), "not UTF-8 text, so not a spec; give a TOML file"),
        (b"#" * (2**20 + 1), "larger than 1 MiB, so not a spec; give a TOML file"),
        (b"a = = 3", "not valid TOML: Invalid value (at line 1, column 5)"),
        (b"[net]\n[net]\n", "not valid TOML: Cannot declare ('net',) twice (at line 2, column 5)"),
        (b"a = " + b"[" * 100_000, "nested too deeply to be a spec"),
        (
            b"[net]\ninput = [1, 8, 8]\nlayers = [" + b"{residual=[" * 200 + b'"relu"'
            + b"]}" * 200 + b', "gap"]',
            "nested too deeply to be a spec",
        ),
        (b"", "net: is missing"),
        (NET.replace("layers", "layres").encode(), "net.layres: unknown key; did you mean"),
        (NET.replace("conv 8", "conv 0").encode(), "net.layers.0: 'conv 0': out '0' should be gre"),
        (NET.encode() + b'"a\\nb" = 1', r"net.'a\nb': unknown key; known: block, input, layers"),
        (NET.encode() + b"[train]\nepochs = true", "train.epochs: 'true' should be a whole number"),
    ],
)  # fmt: skip
def test_files_that_are_no_spec(tmp_path, content, message):
    path = tmp_path / "my.toml"
    path.write_bytes(content)
    with pytest.raises(SpecError) as raised:
        load_run(str(path))
    assert str(raised.value).startswith(f"{path}: {message}")
    assert "\n" not in str(raised.value)


def test_a_network_that_cannot_be_names_its_file(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(NET.replace("conv 8", "conv 8 kernel=29"))
    with pytest.raises(NetError) as raised:
        load_run(str(path))
    assert str(raised.value) == (
        f"{path}: net.layers.0 'conv 8 kernel=29': kernel 29 × 29 is larger than its input "
        "1 × 28 × 28"
    )


@pytest.fixture
def old_study(tmp_path):
    """A study as version 0.1 wrote it."""
    _warn_of_steps.cache_clear()
    path = tmp_path / "old.toml"
    path.write_text(STUDY.replace("[[stage]]", "[[step]]"))
    return str(path)


def test_steps_of_an_old_study_are_stages(tmp_path, old_study, caplog):
    (tmp_path / "new.toml").write_text(STUDY)
    assert load_study(old_study) == load_study(str(tmp_path / "new.toml"))
    assert load_net(old_study) == load_study(old_study).net
    assert [record.getMessage() for record in caplog.records] == [
        f"kilonet: {old_study}: [[step]] is now [[stage]]; rename it"
    ]


def test_an_old_study_is_no_run(old_study, caplog):
    with pytest.raises(SpecError, match="is a study, not a run"):
        load_run(old_study)
    assert not caplog.records


@pytest.mark.parametrize("name", ["stage", "step"])
def test_a_stage_in_single_brackets_is_told(name, tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(STUDY.replace("[[stage]]", f"[{name}]"))
    with pytest.raises(SpecError, match=rf"\[{name}\] is one table; write \[\[stage\]\]"):
        load_study(str(path))


def test_a_study_with_steps_and_stages(tmp_path):
    path = tmp_path / "both.toml"
    path.write_text(STUDY + STAGE.replace("[[stage]]", "[[step]]"))
    with pytest.raises(SpecError, match=r"has .* and .*; rename"):
        load_study(str(path))


def test_commands_print_one_line_about_an_old_study(
    tmp_path, old_study, small_mnist, monkeypatch, capsys
):
    # Without handlers, as in a command: pytest's own would take the warning.
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    small = f'[data]\nname = "{small_mnist}"\n[train]\nepochs = 1\nbatch_size = 64\n[[step]]'
    text = Path(old_study).read_text().replace("[[step]]", small).replace("= 20", "= 1")
    Path(old_study).write_text(text)
    folder = tmp_path / "folder"

    def lines_of(*arguments):
        _warn_of_steps.cache_clear()
        assert run_command(list(arguments)) == 0
        return [line for line in capsys.readouterr().err.splitlines() if "[[step]]" in line]

    expected = [f"kilonet: {old_study}: [[step]] is now [[stage]]; rename it"]
    assert lines_of("summary", old_study) == expected
    assert lines_of("study", old_study, "--jobs", "1", "--out", str(folder)) == expected
    (folder / "study.toml").write_text(text)
    expected = [f"kilonet: {folder / 'study.toml'}: [[step]] is now [[stage]]; rename it"]
    assert lines_of("report", str(folder)) == expected


def test_a_folder_without_a_spec(tmp_path):
    with pytest.raises(UsageError, match=r"a folder without run\.toml or study\.toml; give"):
        load_run(str(tmp_path))


@pytest.mark.skipif(sys.platform == "win32", reason="no such device there")
def test_a_file_that_never_ends():
    with pytest.raises(SpecError, match="larger than 1 MiB"):
        load_run("/dev/zero")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all")
def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "my.toml"
    path.write_text(NET)
    path.chmod(0)
    with pytest.raises(SpecError, match="cannot be read: Permission denied"):
        load_run(str(path))


@pytest.mark.parametrize("prefix", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_what_editors_do_to_a_file(tmp_path, prefix, newline):
    path = tmp_path / "my.toml"
    path.write_bytes(prefix + NET.replace("\n", newline).encode())
    assert load_run(str(path)).net.num_classes == 10


@pytest.mark.parametrize(
    ("text", "path", "value"),
    [
        ("train.epochs=5", "train.epochs", 5),
        (" train.epochs = 5 ", "train.epochs", 5),
        ("train.optimizer.lr=1e-3", "train.optimizer.lr", 0.001),
        ("train.optimizer.lr=.05", "train.optimizer.lr", ".05"),
        ("train.schedule=cosine", "train.schedule", "cosine"),
        ('train.schedule="cosine"', "train.schedule", "cosine"),
        ('train.schedule={name="step",step_size=3}', "train.schedule",
         {"name": "step", "step_size": 3}),
        ("net.layers.0=conv 8 kernel=5", "net.layers.0", "conv 8 kernel=5"),
        ("data.augment=[]", "data.augment", []),
        ("data.name=", "data.name", ""),
        ("train.optimizer.nesterov=true", "train.optimizer.nesterov", True),
        ("a=1\nb=2", "a", "1\nb=2"),
        ("a=" + "[" * 100_000, "a", "[" * 100_000),
    ],
)  # fmt: skip
def test_settings(text, path, value):
    assert parse_setting(text) == (path, value)


@pytest.mark.parametrize("text", ["train.epochs", "", "=3", ".=3", "a..b=3", "a.=3"])
def test_settings_that_are_none(text):
    with pytest.raises(UsageError, match=r"write dotted\.path=value, for example train\.epochs=5"):
        parse_setting(text)


def test_settings_change_what_is_loaded():
    run = load_run("interim", settings=["train.epochs=2", "train.optimizer.lr=.05"])
    assert (run.train.epochs, run.train.optimizer.lr) == (2, 0.05)
    study = load_study("mnist-8k", settings=["seeds=3", "stage.3.change={'train.epochs'=9}"])
    assert study.seeds == 3
    assert study.stages[3].run.train.epochs == 9


@pytest.mark.parametrize(
    ("setting", "error", "message"),
    [
        ("train.epoch=2", SpecError, "--set: train.epoch: unknown key; did you mean 'epochs'?"),
        ("train.epochs=two", SpecError, "--set: train.epochs: 'two' should be a whole number"),
        (
            "net.layers.0=conv 8 kernel=29",
            NetError,
            "--set: net.layers.0 'conv 8 kernel=29': kernel",
        ),
        ("net.layers.99=relu", SpecError, "--set: net.layers.99: no such position; it goes from"),
    ],
)
def test_settings_that_do_not_hold(setting, error, message):
    with pytest.raises(error) as raised:
        load_run("interim", settings=[setting])
    assert str(raised.value).startswith(message)


def test_a_run_of_a_module_of_ones_own_is_no_study_and_has_no_network_to_print(tmp_path):
    run = load_run("interim")
    own = Module(name="My", num_parameters=435, structure="0123")
    (tmp_path / "run.toml").write_text(to_toml(run.model_copy(update={"module": own})))
    with pytest.raises(UsageError, match="module of your own, which a study cannot train"):
        load_study(str(tmp_path), settings=["target=98"])
    with pytest.raises(UsageError, match="module of your own, 'My' with 435 parameters"):
        load_net_and_budget(str(tmp_path))


def test_a_run_is_a_study_of_one_stage(tmp_path):
    path = tmp_path / "my run!.toml"
    path.write_text(NET)
    study = load_study(str(path), settings=["target=98"])
    assert (study.name, study.target, study.seeds) == ("my-run", 98, 1)
    assert [stage.name for stage in study.stages] == ["Baseline"]
    assert study.run == load_run(str(path))
    assert load_study("interim", settings=["target=98"]).name == "interim"
    # A run's folder is named by its hash, which its file is not.
    folder = tmp_path / "0a1b"
    folder.mkdir()
    (folder / "run.toml").write_text(NET)
    assert load_study(str(folder), settings=["target=98"]).name == "0a1b"
    with pytest.raises(SpecError, match="target is missing; a study needs one, in percent of test"):
        load_study(str(path))
    # Not of the file, which states none.
    with pytest.raises(SpecError, match=r"^--set: target: 0\.9 is in percent"):
        load_study(str(path), settings=["target=0.9"])


@pytest.mark.parametrize(
    ("head", "seeds"),
    [
        ("seeds = 10\n", 10),
        ('name = "s"\ntarget = 99\nseeds = 10\n', 10),
        ('name = "s"\ntarget = 99\nstage = []\n', None),
        ("seeds = 1\n", None),
        ("", None),
    ],
)
def test_train_and_study_take_a_file_without_stages(tmp_path, head, seeds):
    path = tmp_path / "my.toml"
    path.write_text(head + NET)
    run, found = load_run_and_seeds(str(path))
    assert found == seeds
    assert run == load_run(str(path))
    study = load_study(str(path), settings=["target=98"])
    assert (study.run, study.seeds) == (run, seeds or 1)
    # It is written as it is read.
    path.write_text(to_toml(study))
    assert load_study(str(path)) == study
    assert load_run_and_seeds(str(path)) == (run, seeds)
    assert load_run_and_seeds(str(path), seeds=3)[1] == 3
    # A seed that is asked for is one run.
    assert load_run_and_seeds(str(path), settings=["train.seed=5"])[1] is None


def test_keys_of_a_study_are_checked_for_a_run_too(tmp_path):
    path = tmp_path / "my.toml"
    for head, message in [
        ("seeds = 0", "seeds: 0 should be greater than or equal to 1"),
        ("seeds = 2\nfoo = 1", "foo: unknown key"),
        ("budget = { epoch = 3 }", "budget.epoch: unknown key; did you mean 'epochs'?"),
    ]:
        path.write_text(f"{head}\n{NET}")
        with pytest.raises(SpecError) as raised:
            load_run(str(path))
        assert str(raised.value).startswith(f"{path}: {message}")


def test_seeds_and_a_seed_do_not_go_together():
    with pytest.raises(UsageError, match="--seeds trains seeds 1 to 4; leave it out"):
        load_run_and_seeds("interim", settings=["train.seed=5"], seeds=4)
    with pytest.raises(UsageError, match="a study trains seeds 1 to `seeds`"):
        load_study("mnist-8k", settings=["train.seed=5"])


def test_a_setting_that_a_stage_overrides_is_no_network_to_print(tmp_path):
    path = tmp_path / "study.toml"
    stage = STAGE.replace('"train.epochs" = 20', '"net.layers.0" = "conv 9"')
    path.write_text(STUDY + stage.replace("Longer", "Wider"))
    with pytest.raises(UsageError, match=r"net\.layers\.0: stage 2 'Wider' sets net\.layers\.0"):
        load_net_and_budget(str(path), settings=["net.layers.0=conv 7"])
    net, _ = load_net_and_budget(str(path), settings=["net.block.1=silu"])
    assert str(net.layers[0]) == "conv 9"
    settings = ['stage.1.change={"net.layers.0"="conv 7"}', "train.epochs=3"]
    assert str(load_net_and_budget(str(path), settings=settings)[0].layers[0]) == "conv 7"


@pytest.mark.parametrize(
    ("setting", "changed"),
    [
        ("train.epochs=3", '"train.epochs" = 20'),
        ("train.optimizer.lr=0.5", '"train.optimizer" = "adam"'),
        ("train.optimizer=adam", '"train.optimizer.lr" = 0.5'),
        ("train.batch_size=8", '"train.epochs" = 20'),
    ],
)
def test_a_setting_that_a_stage_overrides_is_said(setting, changed, tmp_path, caplog):
    path = tmp_path / "study.toml"
    path.write_text(STUDY.replace('"train.epochs" = 20', changed))
    load_study(str(path))
    assert not caplog.messages
    load_study(str(path), settings=[setting])
    name = setting.partition("=")[0]
    by = changed.split('"')[1]
    expected = f"kilonet: {name}: the value given has no effect from stage 1 'Longer' on, which "
    has_no_effect = f"{name}.".startswith(f"{by}.")
    assert caplog.messages == ([f"{expected}sets {by}"] if has_no_effect else [])


def test_settings_change_a_network_of_whatever_holds_one(tmp_path):
    bare = tmp_path / "net.toml"
    bare.write_text('input = [1, 28, 28]\nlayers = ["conv 8", "gap", "pointwise 10 bare"]\n')
    run = tmp_path / "run.toml"
    run.write_text(NET)
    (tmp_path / "study.toml").write_text(STUDY)
    for name in ("net.toml", "run.toml", "study.toml"):
        settings = ["net.layers.0=conv 9", 'net.block=["conv"]']
        net, _ = load_net_and_budget(str(tmp_path / name), settings=settings)
        assert [str(layer) for layer in net.layers] == ["conv 9", "gap", "pointwise 10 bare"]
        assert net.block == (None,)
        with pytest.raises(SpecError, match=r"--set: net\.layers\.3: no such position"):
            load_net_and_budget(str(tmp_path / name), settings=["net.layers.3=relu"])
    with pytest.raises(UsageError, match=r"--set train\.epochs: .* holds a network alone"):
        load_net_and_budget(str(bare), settings=["net.layers.0=conv 9", "train.epochs=3"])


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ("train.optimizer=adam", "train.optimizer.lr=0.003"),
        ("train.optimizer.name=adamw", "train.optimizer.lr=0.003"),
        ("train.schedule=onecycle", "train.schedule.max_lr=0.2"),
    ],
)
def test_the_line_of_find_lr_works_on_the_command_it_was_printed_for(setting, line):
    after = load_run("interim", settings=[setting, line]).train
    assert load_run("interim", settings=[line, setting]).train == after
    rate = after.schedule.max_lr if "max_lr" in line else after.optimizer.lr
    assert rate == float(line.partition("=")[2])
    assert after.optimizer.name == load_run("interim", settings=[setting]).train.optimizer.name


def test_of_one_path_the_last_setting_counts():
    assert load_run("interim", settings=["train.epochs=2", "train.epochs=3"]).train.epochs == 3
