"""Candidates from Optuna, in a search and in a study of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import kilonet as kn
from kilonet.errors import UsageError
from kilonet.search.sample import ask, import_optuna
from kilonet.search.space import Space
from small_spaces import small_space

optuna = pytest.importorskip("optuna")


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def frozen_trials(accuracies: list[float | None], space: Space) -> list[Any]:
    """Trials of a study: None is one over the budget."""
    study = optuna.create_study(direction="maximize")
    for accuracy in accuracies:
        trial = study.ask()
        over = accuracy is None
        trial.suggest_int("width", 4, 12, step=2)
        trial.suggest_categorical("down", ["maxpool 2", "avgpool 2"])
        trial.suggest_float("train.optimizer.weight_decay", 1e-5, 1e-2, log=True)
        if over:
            trial.set_constraint("fits", 1.0)
        study.tell(trial, accuracy, state=optuna.trial.TrialState.PRUNED if over else None)
    return study.get_trials()


def test_suggest_in_a_study_of_ones_own() -> None:
    space = small_space()
    runs: list[kn.Run] = []

    def objective(trial: Any) -> float:
        run = kn.suggest(trial, space)
        runs.append(run)
        assert run == space.run_of(trial.params | {"train.optimizer.weight_decay": _decay(run)})
        return float(run.num_parameters)

    study = optuna.create_study(
        direction="maximize", sampler=optuna.samplers.TPESampler(seed=1, n_startup_trials=8)
    )
    study.optimize(objective, n_trials=25)
    assert all(run.num_parameters <= 1200 and not run.data.test for run in runs)
    pruned = [trial for trial in study.trials if trial.state.name == "PRUNED"]
    assert len(runs) + len(pruned) == 25
    assert pruned
    # By hand: (1572 − 1200) / 1200 over the budget with 12 channels, the only width that is.
    assert {trial.params["width"] for trial in pruned} == {12}
    for trial in pruned:
        [excess] = trial.constraints.values()
        assert excess == pytest.approx(0.31)
    assert study.best_value == max(run.num_parameters for run in runs)


def _decay(run: kn.Run) -> float:
    return run.train.optimizer.weight_decay


def test_what_makes_no_network_is_pruned_too() -> None:
    choose = {"width": [4, 6], "down": ["conv 8 groups=4", "maxpool 2"]}
    odd = small_space(choose=choose)
    trial = optuna.trial.FixedTrial({"width": 6, "down": "conv 8 groups=4"})
    trial.set_constraint = lambda key, value: None
    with pytest.raises(optuna.TrialPruned, match="groups"):
        kn.suggest(trial, odd)


def test_a_candidate_depends_on_the_trials_and_the_seed_alone() -> None:
    space = small_space()
    before = frozen_trials([float(i) for i in range(20)], space)
    one, other = (ask(before, space, seed="5")[0] for _ in range(2))
    assert one == other
    drawn = {str(ask(before, space, seed=str(seed))[0].values) for seed in range(6)}
    assert len(drawn) > 3
    assert ask(before[:19], space, seed="5")[0] != one


def test_the_first_trials_are_random_whatever_was_over_the_budget() -> None:
    space = small_space()
    over = frozen_trials([None] * 40 + [float(i) for i in range(15)], space)
    assert ask(over, space, seed="3")[0] == ask(over, space, seed="3", uniform=True)[0]
    enough = frozen_trials([None] * 40 + [float(i) for i in range(16)], space)
    drawn = [ask(enough, space, seed=str(i))[0] for i in range(5)]
    assert drawn != [ask(enough, space, seed=str(i), uniform=True)[0] for i in range(5)]


def test_the_model_learns_what_is_good_and_what_is_over_the_budget() -> None:
    """All trials with 12 channels are over the budget, and the more of the others the better."""
    space = small_space(budget={"parameters": 1200, "epochs": 4})
    study = optuna.create_study(direction="maximize")
    for i in range(40):
        width = 4 + 2 * (i % 5)
        trial = optuna.trial.create_trial(
            state=optuna.trial.TrialState.PRUNED
            if width == 12
            else optuna.trial.TrialState.COMPLETE,
            value=None if width == 12 else float(width),
            params={"width": width, "down": "maxpool 2", "train.optimizer.weight_decay": 1e-4},
            distributions={
                "width": optuna.distributions.IntDistribution(4, 12, step=2),
                "down": optuna.distributions.CategoricalDistribution(("maxpool 2", "avgpool 2")),
                "train.optimizer.weight_decay": optuna.distributions.FloatDistribution(
                    1e-5, 1e-2, log=True
                ),
            },
            constraints={"fits": 0.3} if width == 12 else None,
        )
        study.add_trial(trial)
    before = study.get_trials()
    widths = [ask(before, space, seed=str(seed))[0].values["width"] for seed in range(20)]
    assert widths.count(10) > 10
    assert widths.count(12) <= 2
    uniform = [
        ask(before, space, seed=str(seed), uniform=True)[0].values["width"] for seed in range(40)
    ]
    assert set(uniform) == {4, 6, 8, 10, 12}


def test_without_optuna_or_with_an_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optuna, "__version__", "4.5.0")
    with pytest.raises(UsageError, match=r"Optuna 4.5.0 is too old; pip install --upgrade"):
        import_optuna()
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(UsageError, match=r"pip install 'kilonet\[search\]'"):
        import_optuna()


def test_the_verbosity_of_optuna_is_left_alone() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    ask([], small_space(), seed="0")
    assert optuna.logging.get_verbosity() == optuna.logging.ERROR


def test_a_space_that_is_read_by_path(tmp_path: Path) -> None:
    (tmp_path / "images.npz").touch()
    text = (
        'name = "x"\n[net]\ninput = [1, 8, 8]\nlayers = ["conv {w}", "gap", "pointwise 4 bare"]\n'
        '[data]\nname = "images.npz"\nvalidation = 0.2\n[choose]\nw = [4, 6]\n'
    )
    (tmp_path / "x.toml").write_text(text)
    assert kn.load_space(tmp_path / "x.toml").data["name"] == str(tmp_path / "images.npz")
