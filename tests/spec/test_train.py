"""Training specs: valid and invalid values."""

from __future__ import annotations

import pytest

from kilonet.spec import (
    EMA,
    SGD,
    SWA,
    Adam,
    AdamW,
    Constant,
    Cosine,
    InvalidSpecError,
    Muon,
    OneCycle,
    Plateau,
    Train,
)


def test_the_defaults_are_the_notebooks():
    train = Train()
    assert (train.epochs, train.batch_size, train.seed) == (15, 128, 1)
    assert train.optimizer == SGD(lr=0.01, momentum=0.9)
    assert train.schedule == Constant()
    assert (train.label_smoothing, train.average) == (0.0, None)


def test_optimizers_defaults_are_pytorchs():
    torch = pytest.importorskip("torch")
    parameter = torch.nn.Parameter(torch.zeros(1))
    for spec, cls in ((Adam(), torch.optim.Adam), (AdamW(), torch.optim.AdamW)):
        [group] = cls([parameter]).param_groups
        for name in ("lr", "betas", "eps", "weight_decay"):
            assert getattr(spec, name) == group[name]
    [group] = torch.optim.SGD([parameter], lr=0.1).param_groups
    for name in ("momentum", "nesterov", "weight_decay"):
        assert getattr(SGD(), name) == group[name]


def test_muons_defaults_are_pytorchs_but_for_rate_and_decay():
    torch = pytest.importorskip("torch", minversion="2.9")
    [group] = torch.optim.Muon([torch.nn.Parameter(torch.zeros(2, 2))]).param_groups
    for name in ("momentum", "nesterov", "ns_steps"):
        assert getattr(Muon(), name) == group[name]
    assert group["adjust_lr_fn"] in (None, Muon().adjust_lr)


def test_schedules_defaults_are_pytorchs():
    pytest.importorskip("torch")
    import inspect

    from torch.optim import lr_scheduler

    same = {
        Plateau: lr_scheduler.ReduceLROnPlateau,
        OneCycle: lr_scheduler.OneCycleLR,
        Cosine: lr_scheduler.CosineAnnealingLR,
    }
    compared = 0
    for spec, cls in same.items():
        theirs = inspect.signature(cls).parameters
        for name, field in spec.model_fields.items():
            if name in theirs and theirs[name].default is not inspect.Parameter.empty:
                assert field.default == theirs[name].default, name
                compared += 1
    assert compared == 7 + 7 + 1


@pytest.mark.parametrize(
    ("short", "spec"),
    [
        ({"optimizer": "adamw"}, {"optimizer": AdamW()}),
        ({"optimizer": "muon"}, {"optimizer": Muon(lr=0.02, momentum=0.95, rest_ratio=3)}),
        ({"schedule": "cosine"}, {"schedule": Cosine()}),
        ({"average": "ema"}, {"average": EMA(decay=0.99)}),
        ({"optimizer": SGD(lr=1)}, {"optimizer": {"name": "sgd", "lr": 1.0}}),
    ],
)
def test_a_bare_name_takes_the_defaults(short, spec):
    assert Train(**short) == Train(**spec)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"epochs": 0}, "epochs: 0 should be greater than or equal to 1"),
        ({"epochs": True}, "epochs: 'true' should be a whole number"),
        ({"epochs": [15]}, "epochs: [15] should be a whole number"),
        ({"batch_size": 0}, "batch_size: 0 should be greater than or equal to 1"),
        ({"batchsize": 3}, "batchsize: unknown key; did you mean 'batch_size'?"),
        ({"seed": -1}, "seed: -1 should be greater than or equal to 0"),
        ({"seed": 2**63}, "seed: 9223372036854775808 should be less than or equal to"),
        ({"label_smoothing": 1}, "label_smoothing: 1 should be less than 1"),
        ({"optimizer": "sdg"}, "optimizer: unknown name 'sdg'; did you mean 'sgd'?"),
        ({"optimizer": "lion"}, "optimizer: unknown name 'lion'; known: adam, adamw, muon, sgd"),
        ({"optimizer": {"lr": 1}}, "optimizer: needs a name, as in { name = … }"),
        ({"optimizer": 3}, "optimizer: 3 should be a table"),
        ({"optimizer": {"name": "sgd", "lr": 0}}, "optimizer.lr: 0 should be greater than 0"),
        ({"optimizer": {"name": "sgd", "lr": "x"}}, "optimizer.lr: 'x' should be a number"),
        ({"optimizer": {"name": "sgd", "lr": float("nan")}}, "optimizer.lr: nan should be a fin"),
        (
            {"optimizer": {"name": "sgd", "betas": [0, 0]}},
            "optimizer.betas: unknown key of sgd; known: ",
        ),
        ({"optimizer": {"name": "sgd", "momentum": 1}}, "optimizer.momentum: 1 should be less"),
        (
            {"optimizer": {"name": "muon", "ns_steps": 100}},
            "optimizer.ns_steps: 100 should be less than or equal to 99",
        ),
        (
            {"optimizer": {"name": "muon", "adjust_lr": "rms"}},
            "optimizer.adjust_lr: 'rms' should be 'original' or 'match_rms_adamw'",
        ),
        (
            {"optimizer": {"name": "muon", "output": "adamw"}},
            "optimizer.output: 'adamw' should be 'muon' or 'sgd'",
        ),
        ({"optimizer": {"name": "muon", "rest_ratio": 0}}, "optimizer.rest_ratio: 0 should be gr"),
        ({"optimizer": {"name": "sgd", "nesterov": True}}, "optimizer: nesterov needs a momentum"),
        ({"optimizer": {"name": "adam", "betas": [0.9]}}, "optimizer.betas: [0.9] has too few"),
        ({"schedule": "step"}, "schedule.step_size: is missing"),
        ({"schedule": "steps"}, "schedule: unknown name 'steps'; did you mean 'step'?"),
        ({"schedule": {"name": "multistep", "milestones": []}}, "schedule.milestones: [] should"),
        (
            {"schedule": {"name": "cosine", "tmax": 3}},
            "schedule.tmax: unknown key of cosine; did you mean",
        ),
        ({"schedule": {"name": "onecycle", "anneal": "x"}}, "schedule.anneal: 'x' should be 'cos"),
        ({"schedule": {"name": "plateau", "factor": 1}}, "schedule.factor: 1 should be less"),
        (
            {"schedule": "onecycle", "optimizer": "sgd"},
            "onecycle cycles the momentum, but sgd has none; set optimizer.momentum or",
        ),
        ({"average": "swap"}, "average: unknown name 'swap'; did you mean 'swa'?"),
        ({"average": {"name": "swa", "start": 15}}, "average.start: 15: the last of 15 epochs is"),
        ({"average": {"name": "swa", "decay": 0.9}}, "average.decay: unknown key of swa; known: "),
        ({"schedule": {"name": "cosine", "every": "image"}}, "schedule.every: 'image' should be"),
        ({"schedule": {"name": "constant", "warmup": 16}}, "schedule.warmup: 16 epochs are more"),
        ({"schedule": {"name": "onecycle", "warmup": 1}}, "schedule.warmup: unknown key of onecyc"),
        ({"schedule": {"name": "constant", "warmup": -1}}, "schedule.warmup: -1 should be greater"),
        ({"optimizer": {"name": "sgd", "decay": "bias"}}, "optimizer.decay: 'bias' should be 'all"),
        ({"batch_schedule": {"factor": 2}}, "batch_schedule.milestones: is missing"),
        ({"batch_schedule": {"milestones": [1], "factor": 1e5}}, "batch_schedule: a batch size of"),
        ({"batch_schedule": {"milestones": [0]}}, "batch_schedule.milestones.0: 0 should be great"),
        ({"early_stopping": {"metric": "test"}}, "early_stopping.metric: 'test' should be 'loss'"),
        ({"early_stopping": {"patience": 0}}, "early_stopping.patience: 0 should be greater"),
        ({"early_stopping": True}, "early_stopping: 'true' should be a table"),
        ({"average": {"name": "ema", "decay": 1}}, "average.decay: 1 should be less than 1"),
    ],
)
def test_what_is_wrong_with_training(arguments, message):
    with pytest.raises(InvalidSpecError) as raised:
        Train(**arguments)
    assert str(raised.value).startswith(message)
    assert "\n" not in str(raised.value)


def test_onecycle_without_cycling_needs_no_momentum():
    Train(optimizer="sgd", schedule={"name": "onecycle", "cycle_momentum": False})
    Train(optimizer="adam", schedule="onecycle")


def test_batch_sizes_are_those_of_multistep():
    """Out of order, twice the same, past the end; a fraction is rounded."""
    schedule = {"milestones": [4, 2, 4, 9], "factor": 1.5}
    train = Train(epochs=6, batch_size=10, batch_schedule=schedule)
    # 10 · 1.5 = 15; 10 · 1.5³ = 33.75
    assert [train.batch_size_of(epoch) for epoch in range(6)] == [10, 10, 15, 15, 34, 34]
    assert train.batch_sizes == (10, 15, 34)
    assert Train().batch_sizes == (128,)
    shrinks = Train(batch_size=4, batch_schedule={"milestones": [1, 2], "factor": 0.1})
    assert shrinks.batch_sizes == (4, 1)
    assert train.replace({"batch_schedule": "none"}).batch_schedule is None


def test_averaging_starts_in_the_last_quarter():
    assert SWA().first_epoch(15) == 11
    assert SWA().first_epoch(1) == 0
    assert SWA(start=3).first_epoch(15) == 3


def test_averaging_can_be_turned_off_in_toml():
    assert Train(average="none") == Train()
    assert Train(average="ema") == Train(average=EMA())
    averaged = Train(average={"name": "ema", "decay": 0.5})
    assert averaged.replace({"average": "none"}) == Train()
