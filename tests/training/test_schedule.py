from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilonet.spec import Train
from kilonet.training.schedule import Schedule, ValidationResult

torch = pytest.importorskip("torch")
lr_scheduler = torch.optim.lr_scheduler

RATE = st.floats(1e-5, 1.0)
GAMMA = st.floats(0.05, 1.2)


def optimizer_of(lr: float, *, kind: str = "sgd") -> Any:
    parameter = torch.nn.Parameter(torch.zeros(1))
    if kind == "sgd":
        return torch.optim.SGD([parameter], lr=lr, momentum=0.9)
    return torch.optim.Adam([parameter], lr=lr)


def per_epoch(optimizer: Any, scheduler: Any, epochs: int) -> list[float]:
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def found(train: Train, *, steps_per_epoch: int = 3) -> list[float]:
    """The rate of each epoch, which must hold for all its steps."""
    schedule = Schedule(train, steps_per_epoch=steps_per_epoch)
    rates = []
    for epoch in range(train.epochs):
        steps = {schedule.at(epoch=epoch, step=step) for step in range(steps_per_epoch)}
        [(lr, momentum)] = steps
        assert momentum is None
        rates.append(lr)
    return rates


def train_of(schedule: Any, *, epochs: int, lr: float, optimizer: str = "sgd") -> Train:
    settings: dict[str, Any] = {"name": optimizer, "lr": lr}
    if optimizer == "sgd":
        settings["momentum"] = 0.9
    return Train(epochs=epochs, optimizer=settings, schedule=schedule)


@settings(deadline=None)
@given(lr=RATE, epochs=st.integers(1, 20))
def test_constant(lr: float, epochs: int) -> None:
    optimizer = optimizer_of(lr)
    expected = per_epoch(optimizer, lr_scheduler.ConstantLR(optimizer, factor=1.0), epochs)
    assert found(train_of("constant", epochs=epochs, lr=lr)) == expected


@settings(deadline=None)
@given(lr=RATE, epochs=st.integers(1, 40), step_size=st.integers(1, 15), gamma=GAMMA)
def test_step(lr: float, epochs: int, step_size: int, gamma: float) -> None:
    optimizer = optimizer_of(lr)
    expected = per_epoch(optimizer, lr_scheduler.StepLR(optimizer, step_size, gamma), epochs)
    spec = {"name": "step", "step_size": step_size, "gamma": gamma}
    assert found(train_of(spec, epochs=epochs, lr=lr)) == expected


@settings(deadline=None)
@given(
    lr=RATE,
    epochs=st.integers(1, 40),
    milestones=st.lists(st.integers(1, 45), min_size=1, max_size=6),
    gamma=GAMMA,
)
def test_multistep(lr: float, epochs: int, milestones: list[int], gamma: float) -> None:
    """Also out of order and with one milestone twice, which counts twice."""
    optimizer = optimizer_of(lr)
    expected = per_epoch(optimizer, lr_scheduler.MultiStepLR(optimizer, milestones, gamma), epochs)
    spec = {"name": "multistep", "milestones": milestones, "gamma": gamma}
    assert found(train_of(spec, epochs=epochs, lr=lr)) == expected


@settings(deadline=None)
@given(
    lr=RATE,
    epochs=st.integers(1, 60),
    t_max=st.none() | st.integers(1, 25),
    eta_min=st.just(0.0) | st.floats(0, 0.5),
)
def test_cosine(lr: float, epochs: int, t_max: int | None, eta_min: float) -> None:
    """Also past the bottom, where PyTorch's rate rises again."""
    optimizer = optimizer_of(lr)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, t_max or epochs, eta_min)
    expected = per_epoch(optimizer, scheduler, epochs)
    spec: dict[str, Any] = {"name": "cosine", "eta_min": eta_min}
    if t_max is not None:
        spec["t_max"] = t_max
    assert found(train_of(spec, epochs=epochs, lr=lr)) == expected


@settings(deadline=None)
@given(
    lr=RATE,
    epochs=st.integers(1, 12),
    steps_per_epoch=st.integers(1, 9),
    t_max=st.none() | st.integers(1, 15),
    eta_min=st.just(0.0) | st.floats(0, 0.5),
)
def test_cosine_of_every_step(
    lr: float, epochs: int, steps_per_epoch: int, t_max: int | None, eta_min: float
) -> None:
    """The closed form of PyTorch's class in every bit, its recurrence up to rounding."""
    optimizer = optimizer_of(lr)
    t_max_steps = (t_max or epochs) * steps_per_epoch
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, t_max_steps, eta_min)
    spec: dict[str, Any] = {"name": "cosine", "eta_min": eta_min, "every": "step"}
    if t_max is not None:
        spec["t_max"] = t_max
    schedule = Schedule(
        train_of(spec, epochs=epochs, lr=lr), steps_per_epoch=[steps_per_epoch] * epochs
    )
    for number in range(epochs * steps_per_epoch):
        epoch, step = divmod(number, steps_per_epoch)
        found_lr, momentum = schedule.at(epoch=epoch, step=step)
        assert momentum is None
        assert [found_lr] == scheduler._get_closed_form_lr()
        if number < t_max_steps:  # past the bottom the recurrence's errors grow
            close = pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-6, abs=1e-9)
            assert found_lr == close
        optimizer.step()
        scheduler.step()


WARMED = {
    "constant": {"name": "constant"},
    "step": {"name": "step", "step_size": 2, "gamma": 0.3},
    "multistep": {"name": "multistep", "milestones": [1, 3], "gamma": 0.5},
    "cosine": {"name": "cosine"},
    "cosine of every step": {"name": "cosine", "every": "step"},
}


@settings(deadline=None)
@given(
    name=st.sampled_from(sorted(WARMED)),
    lr=RATE,
    epochs=st.integers(1, 6),
    steps_per_epoch=st.integers(1, 9),
    share=st.floats(0.01, 1),
    start=st.floats(0.001, 1),
)
def test_warmup_multiplies_the_schedule_by_linear_lrs_factor(
    name: str, lr: float, epochs: int, steps_per_epoch: int, share: float, start: float
) -> None:
    """The factor is the closed form of PyTorch's class in every bit, for a base rate of 1."""
    warmup = share * epochs
    total = max(1, round(warmup * steps_per_epoch))
    linear = lr_scheduler.LinearLR(optimizer_of(1.0), start_factor=start, total_iters=total)
    plain = Schedule(train_of(WARMED[name], epochs=epochs, lr=lr), steps_per_epoch=steps_per_epoch)
    spec = {**WARMED[name], "warmup": warmup, "warmup_start": start}
    warmed = Schedule(train_of(spec, epochs=epochs, lr=lr), steps_per_epoch=steps_per_epoch)
    for number in range(epochs * steps_per_epoch):
        epoch, step = divmod(number, steps_per_epoch)
        [factor] = linear._get_closed_form_lr()
        base, _ = plain.at(epoch=epoch, step=step)
        found_lr, momentum = warmed.at(epoch=epoch, step=step)
        assert momentum is None
        assert found_lr == (base * factor if number < total else base)
        linear.optimizer.step()
        linear.step()


@pytest.mark.parametrize("name", ["constant", "step", "multistep", "cosine"])
def test_warmup_is_both_schedulers_on_one_optimizer(name: str) -> None:
    """As torchvision's detection reference: LinearLR after each step, the other each epoch."""
    epochs, steps, lr = 6, 7, 0.2
    optimizer = optimizer_of(lr)
    of_epoch = {
        "constant": lambda: lr_scheduler.ConstantLR(optimizer, factor=1.0),
        "step": lambda: lr_scheduler.StepLR(optimizer, 2, 0.3),
        "multistep": lambda: lr_scheduler.MultiStepLR(optimizer, [1, 3], 0.5),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, epochs),
    }[name]()
    of_step = lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=17)
    spec = {**WARMED[name], "warmup": 17 / 7}
    schedule = Schedule(train_of(spec, epochs=epochs, lr=lr), steps_per_epoch=steps)
    for epoch in range(epochs):
        for step in range(steps):
            expected = optimizer.param_groups[0]["lr"]
            assert schedule.at(epoch=epoch, step=step)[0] == pytest.approx(expected, rel=1e-12)
            optimizer.step()
            of_step.step()
        of_epoch.step()


def test_epochs_of_different_lengths() -> None:
    """A batch schedule's: one cycle over all 14 steps; a warm-up of 1.5 epochs is 8 + 2 steps."""
    lengths = [8, 4, 2]
    places = [(epoch, step) for epoch, length in enumerate(lengths) for step in range(length)]
    one_cycle = train_of("onecycle", epochs=3, lr=0.1)
    different = Schedule(one_cycle, steps_per_epoch=lengths)
    optimizer = optimizer_of(0.1)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=14)
    for number, (epoch, step) in enumerate(places):
        group = optimizer.param_groups[0]
        assert different.at(epoch=epoch, step=step) == (group["lr"], group["momentum"])
        optimizer.step()
        if number < 13:
            scheduler.step()
    warmed = train_of({"name": "constant", "warmup": 1.5, "warmup_start": 0.0}, epochs=3, lr=1.0)
    schedule = Schedule(warmed, steps_per_epoch=lengths)
    rates = [schedule.at(epoch=epoch, step=step)[0] for epoch, step in places]
    assert rates == pytest.approx([i / 10 for i in range(10)] + [1.0] * 4)


@settings(deadline=None)
@given(
    lr=RATE,
    kind=st.sampled_from(["sgd", "adam"]),
    epochs=st.integers(1, 6),
    steps_per_epoch=st.integers(1, 12),
    max_lr=st.none() | RATE,
    pct_start=st.floats(0.01, 0.99),
    anneal=st.sampled_from(["cos", "linear"]),
    div_factor=st.floats(1, 100),
    final_div_factor=st.floats(1, 1e5),
    three_phase=st.booleans(),
    cycle_momentum=st.booleans(),
    base_momentum=st.floats(0, 0.9),
    max_momentum=st.floats(0, 0.99),
)
def test_one_cycle(
    lr: float, kind: str, epochs: int, steps_per_epoch: int, max_lr: float | None, **given: Any
) -> None:
    total = epochs * steps_per_epoch
    optimizer = optimizer_of(lr, kind=kind)
    torch_settings = {k: v for k, v in given.items() if k != "anneal"}
    try:
        scheduler = lr_scheduler.OneCycleLR(
            optimizer,
            lr if max_lr is None else max_lr,
            total_steps=total,
            anneal_strategy=given["anneal"],
            **torch_settings,
        )
    except ZeroDivisionError:
        return
    spec = {"name": "onecycle", **given}
    if max_lr is not None:
        spec["max_lr"] = max_lr
    train = train_of(spec, epochs=epochs, lr=lr, optimizer=kind)
    schedule = Schedule(train, steps_per_epoch=steps_per_epoch)
    for step in range(total):
        group = optimizer.param_groups[0]
        momentum = group["momentum"] if kind == "sgd" else group["betas"][0]
        place = {"epoch": step // steps_per_epoch, "step": step % steps_per_epoch}
        found_lr, found_momentum = schedule.at(**place)
        assert found_lr == group["lr"]
        assert found_momentum == (momentum if given["cycle_momentum"] else None)
        if step < total - 1:
            optimizer.step()
            scheduler.step()


def test_one_cycle_of_no_length_starts_at_the_top() -> None:
    """0.25 of 4 steps: the way up ends with the step it starts at, where PyTorch divides by 0."""
    with pytest.raises(ZeroDivisionError):
        lr_scheduler.OneCycleLR(optimizer_of(0.1), 0.1, total_steps=4, pct_start=0.25)
    train = train_of({"name": "onecycle", "pct_start": 0.25}, epochs=1, lr=0.1)
    schedule = Schedule(train, steps_per_epoch=4)
    rates = [schedule.at(epoch=0, step=step) for step in range(4)]
    assert rates[0] == (0.1, pytest.approx(0.85))
    assert [lr for lr, _ in rates] == sorted((lr for lr, _ in rates), reverse=True)
    assert rates[-1] == (pytest.approx(0.1 / 25 / 1e4), pytest.approx(0.95))


@settings(deadline=None)
@given(
    lr=RATE,
    metric=st.sampled_from(["loss", "accuracy"]),
    values=st.lists(
        st.sampled_from([0.0, 0.5, 0.50001, 0.49999, 0.6, 1.0, 99.0]) | st.floats(-5, 100),
        min_size=1,
        max_size=40,
    ),
    factor=st.floats(0.05, 0.95),
    patience=st.integers(0, 4),
    threshold=st.sampled_from([0.0, 1e-4, 0.1, 1.0, 2.0]),
    threshold_mode=st.sampled_from(["rel", "abs"]),
    cooldown=st.integers(0, 3),
    min_lr=st.sampled_from([0.0, 1e-4, 0.05, 2.0]),
    eps=st.sampled_from([0.0, 1e-8, 0.01]),
)
def test_plateau(lr: float, metric: str, values: list[float], **given: Any) -> None:
    optimizer = optimizer_of(lr)
    mode = "min" if metric == "loss" else "max"
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, mode, **given)
    spec = {"name": "plateau", "metric": metric, **given}
    schedule = Schedule(train_of(spec, epochs=len(values), lr=lr), steps_per_epoch=2)
    # The other metric must not show.
    history = [ValidationResult(**{"loss": 7.0, "accuracy": 7.0, metric: v}) for v in values]
    for epoch, value in enumerate(values):
        for step in range(2):
            expected = (optimizer.param_groups[0]["lr"], None)
            assert schedule.at(epoch=epoch, step=step, history=history[:epoch]) == expected
            # Rows of later epochs must not show.
            assert schedule.at(epoch=epoch, step=step, history=history) == expected
        optimizer.step()
        scheduler.step(value)


def test_plateau_needs_every_epoch_before() -> None:
    schedule = Schedule(train_of("plateau", epochs=5, lr=0.1), steps_per_epoch=2)
    with pytest.raises(ValueError, match="validation result of epoch 1"):
        schedule.at(epoch=2, step=0, history=[ValidationResult(loss=0.5, accuracy=90.0)])


@pytest.mark.parametrize("name", ["constant", "cosine", "onecycle", "plateau"])
def test_order_of_questions_does_not_matter(name: str) -> None:
    train = train_of(name, epochs=9, lr=0.1)
    history = [ValidationResult(loss=float(i), accuracy=50.0) for i in range(9)]
    places = [(epoch, step) for epoch in range(9) for step in range(2)]
    forward, backward = (Schedule(train, steps_per_epoch=2) for _ in range(2))
    rates = {p: forward.at(epoch=p[0], step=p[1], history=history) for p in places}
    for epoch, step in reversed(places):
        assert backward.at(epoch=epoch, step=step, history=history) == rates[epoch, step]
