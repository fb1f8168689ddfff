"""What to try next: it applies, it is new, it fits the budget, and it answers the finding."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import replace
from math import prod

import pytest

from kilonet.analysis import Kind, StageAnalysis, Suggestion, Verdict, analyze
from kilonet.spec import ResolvedStage, Run, Study
from kilonet.storage.record import EpochRow
from ladders import FOUR_STAGES, TEST_IMAGES, made_result, made_rows, notebook_result

STUDY = FOUR_STAGES
SWING = [99.1, 98.9] * 7 + [99.1]

HISTORIES = {
    "over-fits strongly": made_rows([99.0] * 15, train=99.9),
    "over-fits a little": made_rows([99.0] * 15, train=99.2),
    "no gap": made_rows([99.0] * 15, train=99.0),
    "underfits": made_rows([90.0] * 15, train=89.0),
    "fluctuates": made_rows(SWING, train=99.0),
    "improves": made_rows([90.0 + i / 2 for i in range(15)], train=95.0),
    "one epoch": made_rows([95.0], train=95.0),
}

RUNS = {
    "bare": {"net.block": ["conv", "relu"]},
    "first stage": {"net.block": ["conv", "relu", "batchnorm"]},
    "dropout": {"net.block": ["conv", "relu", "batchnorm", "dropout 0.01"]},
    "everything": {
        "net.block": ["conv", "relu", "batchnorm", "dropout 0.1"],
        "data.augment": [
            {"name": "affine", "degrees": 7, "translate": [0.1, 0.1]},
            {"name": "erasing"},
        ],
        "train.optimizer": {"name": "adamw"},
        "train.schedule": {"name": "onecycle", "max_lr": 0.01},
        "train.average": {"name": "ema"},
        "train.label_smoothing": 0.1,
    },
    "muon": {"train.optimizer": {"name": "muon"}, "train.epochs": 3},
    "plain sgd": {"train.optimizer": {"name": "sgd", "lr": 0.05}, "train.epochs": 3},
    "no convolutions": {"net.layers": ["flatten", "linear 9", "relu", "linear 10"]},
    "residual": {
        "net.layers": ["conv 8", {"residual": ["conv 8 pad=1"]}, "gap", "pointwise 10 bare"]
    },
}

BUDGETS = {
    "the notebook's": {"parameters": 8000, "epochs": 15},
    "ample": {"parameters": 100_000, "epochs": 100},
    "none": {},
}


def study_with(run: dict[str, object], budget: dict[str, int]) -> Study:
    data = STUDY.to_dict()
    data["budget"] = budget
    data["stage"] = [{"name": "The stage", "change": run}]
    return Study.from_dict(data)


def analyzed(study: Study, rows: tuple[EpochRow, ...]) -> StageAnalysis:
    return analyze(made_result(study, [[rows]]), test_images=TEST_IMAGES).stages[0]


def cases() -> Iterator[tuple[Study, ResolvedStage, StageAnalysis]]:
    for run in RUNS.values():
        for budget in BUDGETS.values():
            study = study_with(run, budget)
            for rows in HISTORIES.values():
                yield study, study.stages[0], analyzed(study, rows)


@pytest.fixture(scope="module")
def all_cases() -> list[tuple[Study, ResolvedStage, StageAnalysis]]:
    return list(cases())


def titles(stage: StageAnalysis) -> list[str]:
    return [suggestion.title for suggestion in stage.suggestions]


def pasted(suggestion: Suggestion) -> dict[str, object]:
    change = tomllib.loads(suggestion.line)["change"]
    assert isinstance(change, dict)
    return change


def test_every_line_applies_changes_the_run_and_keeps_the_budget(
    all_cases: list[tuple[Study, ResolvedStage, StageAnalysis]],
) -> None:
    seen = 0
    for study, stage, analysis in all_cases:
        for suggestion in analysis.suggestions:
            changed = stage.run.replace(pasted(suggestion))
            assert changed == stage.run.replace(suggestion.change)
            assert (changed.net.nodes, changed.data, changed.train) != (
                stage.run.net.nodes,
                stage.run.data,
                stage.run.train,
            )
            parameters = sum(map(prod, changed.net.parameters.values()))
            assert parameters <= (study.budget.parameters or parameters)
            assert changed.train.epochs <= (study.budget.epochs or changed.train.epochs)
            assert changed.net.num_classes == stage.run.net.num_classes
            seen += 1
    assert seen > 200


def test_each_line_works_as_a_stage_of_the_study(
    all_cases: list[tuple[Study, ResolvedStage, StageAnalysis]],
) -> None:
    for study, _, analysis in all_cases[::5]:
        for suggestion in analysis.suggestions:
            data = study.to_dict()
            data["stage"].append({"name": suggestion.title, "change": pasted(suggestion)})
            assert len(Study.from_dict(data).stages) == 2


def test_what_a_stage_has_is_not_suggested_again(
    all_cases: list[tuple[Study, ResolvedStage, StageAnalysis]],
) -> None:
    def kinds(run: Run) -> set[str]:
        words = {str(member).split()[0] for member in run.net.block if member is not None}
        words |= {entry.name for entry in run.data.augment}
        words |= {"decay"} if run.train.optimizer.weight_decay else set()
        words |= {"average"} if run.train.average else set()
        words |= {"smoothing"} if run.train.label_smoothing else set()
        return words | {run.train.schedule.name}

    for _, stage, analysis in all_cases:
        for suggestion in analysis.suggestions:
            changed = stage.run.replace(suggestion.change)
            more, less = kinds(changed) - kinds(stage.run), kinds(stage.run) - kinds(changed)
            resized = changed.net.layers != stage.run.net.layers
            longer = changed.train.epochs > stage.run.train.epochs
            assert more or less or resized or longer, suggestion


def test_each_suggestion_comes_once(
    all_cases: list[tuple[Study, ResolvedStage, StageAnalysis]],
) -> None:
    for _, _, analysis in all_cases:
        lines = [suggestion.line for suggestion in analysis.suggestions]
        assert len(lines) == len(set(lines))
        assert all(suggestion.reason for suggestion in analysis.suggestions)


@pytest.mark.parametrize(
    ("history", "p"), [("over-fits a little", 0.01), ("over-fits strongly", 0.05)]
)
def test_overfitting_asks_for_dropout_first(history: str, p: float) -> None:
    study = study_with(RUNS["first stage"], BUDGETS["the notebook's"])
    first = analyzed(study, HISTORIES[history]).suggestions[0]
    assert first.change == {"net.block": ["conv", "relu", "batchnorm", f"dropout {p}"]}


def test_then_for_augmentation() -> None:
    study = study_with(RUNS["dropout"], BUDGETS["the notebook's"])
    first, second, *_ = analyzed(study, HISTORIES["over-fits a little"]).suggestions
    assert first.change == {"data.augment": [{"name": "rotation", "degrees": 7}]}
    assert second.change == {"data.augment": [{"name": "crop", "padding": 2}]}


def test_augmentation_is_added_to_what_there_is() -> None:
    run = {**RUNS["dropout"], "data.augment": [{"name": "rotation", "degrees": 3, "fill": 1}]}
    first = analyzed(study_with(run, {}), HISTORIES["over-fits a little"]).suggestions[0]
    names = [
        entry.name for entry in study_with(run, {}).stages[0].run.replace(first.change).data.augment
    ]
    assert names == ["rotation", "crop"]
    assert "resample" not in first.line


def test_underfitting_takes_the_brakes_off_and_widens() -> None:
    stage = analyzed(study_with(RUNS["dropout"], BUDGETS["ample"]), HISTORIES["underfits"])
    assert titles(stage)[:2] == ["Without dropout", "2 times as wide"]
    assert not any("dropout in every" in title for title in titles(stage))
    bare = analyzed(study_with(RUNS["bare"], BUDGETS["ample"]), HISTORIES["underfits"])
    assert titles(bare)[0] == "Batch normalization in every block"
    for norm in ("groupnorm 2", "layernorm", "instancenorm"):
        run = {"net.block": ["conv", norm, "relu"]}
        normed = analyzed(study_with(run, BUDGETS["ample"]), HISTORIES["underfits"])
        assert not any("normalization" in title for title in titles(normed))


def test_what_underfits_is_not_regularized() -> None:
    study = study_with(RUNS["first stage"], BUDGETS["ample"])
    stage = analyzed(study, made_rows([60.0] * 15, train=80.0))
    verdicts = {found.kind: found.verdict for found in stage.findings}
    assert (verdicts[Kind.FIT], verdicts[Kind.GAP]) == (Verdict.UNDERFITS, Verdict.OVERFITS)
    assert not any("dropout" in title or "Rotate" in title for title in titles(stage))


def test_nothing_wider_than_the_budget() -> None:
    stage = analyzed(study_with(RUNS["dropout"], BUDGETS["the notebook's"]), HISTORIES["underfits"])
    assert not any("as wide" in title for title in titles(stage))
    # 1.25 times as wide needs 8,000 · 1.25² and a little: the largest factor that fits is taken.
    some = analyzed(study_with(RUNS["dropout"], {"parameters": 13_000}), HISTORIES["underfits"])
    assert "1.25 times as wide" in titles(some)


@pytest.mark.parametrize(
    ("layers", "wider"),
    [
        (["conv 8", "pointwise 10 bare", "gap"], ["conv 16", "pointwise 10 bare", "gap"]),
        (["conv 8", "conv 10 kernel=26 bare", "flatten"], ["conv 16", *["="] * 2]),
        (["conv 8", "gap", "flatten", "linear 10", "batchnorm"], ["conv 16", *["="] * 4]),
        (["conv 8", "pointwise 10 bare", "depthwise", "gap"], ["conv 16", *["="] * 3]),
    ],
)
def test_the_classifier_is_never_widened(layers: list[str], wider: list[str]) -> None:
    study = study_with({"net.layers": layers}, BUDGETS["none"])
    stage = analyzed(study, HISTORIES["underfits"])
    change = next(s.change for s in stage.suggestions if s.title == "2 times as wide")
    expected = [old if new == "=" else new for old, new in zip(layers, wider, strict=True)]
    assert change == {"net.layers": expected}


def test_a_network_of_residuals_and_repeats_alone_is_not_widened() -> None:
    tables = [
        {"residual": ["conv 10 pad=1"], "shortcut": ["pointwise 10 bare"]},
        {"repeat": ["conv 10 pad=1"], "times": 2},
    ]
    study = study_with({"net.layers": [*tables, "gap"]}, BUDGETS["none"])
    stage = analyzed(study, HISTORIES["underfits"])
    assert stage.suggestions
    assert not any("as wide" in title for title in titles(stage))


@pytest.mark.parametrize(("classes", "offered"), [(10, True), (12, False)])
def test_what_changes_the_classes_is_never_suggested(classes: int, offered: bool) -> None:
    data = STUDY.to_dict()
    data["stage"] = [
        {"name": "First", "change": {"net.layers": [f"conv {classes} bare", "gap"]}},
        {"name": "Other", "change": {"net.layers": ["conv 4", "conv 10 bare", "gap"]}},
    ]
    good = [made_rows([99.0 + seed / 100] * 10) for seed in range(3)]
    bad = [made_rows([98.0 + seed / 50] * 10) for seed in range(3)]
    result = made_result(Study.from_dict(data), [good, bad])
    stage = analyze(result, test_images=TEST_IMAGES).stages[1]
    assert ("Take this change back" in titles(stage)) == offered


def test_a_faster_start_is_the_last_resort(
    all_cases: list[tuple[Study, ResolvedStage, StageAnalysis]],
) -> None:
    for study, stage, analysis in all_cases:
        assert "One-cycle schedule" not in titles(analysis)[:-1]
        trend = next(found.verdict for found in analysis.findings if found.kind is Kind.TREND)
        limit = study.budget.epochs
        if trend is Verdict.IMPROVING and (limit is None or stage.run.train.epochs < limit):
            assert "One-cycle schedule" not in titles(analysis)
    spent = study_with(RUNS["first stage"], BUDGETS["the notebook's"])
    for history in ("improves", "no gap"):
        assert titles(analyzed(spent, HISTORIES[history]))[-1] == "One-cycle schedule"


@pytest.mark.parametrize(
    ("optimizer", "peak"),
    [
        ({"name": "sgd", "lr": 0.01, "momentum": 0.9}, 0.1),
        ({"name": "sgd", "lr": 0.05, "momentum": 0.9}, 0.3),
        ({"name": "sgd", "lr": 0.2, "momentum": 0.9}, 0.6),
        ({"name": "adam", "lr": 0.001}, 0.003),
    ],
)
def test_a_faster_start_is_no_wild_one(optimizer: dict[str, object], peak: float) -> None:
    study = study_with({**RUNS["first stage"], "train.optimizer": optimizer}, {})
    last = analyzed(study, HISTORIES["no gap"]).suggestions[-1]
    assert last.title == "One-cycle schedule"
    assert last.change["train.schedule"]["max_lr"] == pytest.approx(peak)


@pytest.mark.parametrize("epochs", [1, 2, 5, 6])
def test_what_has_barely_begun_is_not_widened(epochs: int) -> None:
    study = study_with({**RUNS["dropout"], "train.epochs": epochs}, BUDGETS["ample"])
    stage = analyzed(study, made_rows([90.0] * epochs, train=89.0))
    found = titles(stage)
    assert ("2 times as wide" in found) == ("Without dropout" in found) == (epochs == 6)
    assert ("Train for 6 epochs" in found) == (epochs < 6)


def test_who_ends_at_the_target_needs_no_faster_start() -> None:
    """The first of the last three epochs was below it."""
    study = study_with({**RUNS["first stage"], "train.epochs": 3}, {})
    for last, offered in ((100.0, False), (99.3, True)):
        stage = analyzed(study, made_rows([90.0, last, last]))
        assert ("One-cycle schedule" in titles(stage)) == offered


def test_improving_asks_for_epochs_where_there_are_any() -> None:
    rows = HISTORIES["improves"]
    spent = analyzed(study_with(RUNS["first stage"], BUDGETS["the notebook's"]), rows)
    assert not any(title.startswith("Train for") for title in titles(spent))
    ample = analyzed(study_with(RUNS["first stage"], BUDGETS["ample"]), rows)
    # It underfits and improves: going on comes before any other change.
    assert titles(ample)[0] == "Train for 23 epochs"
    nearly = analyzed(study_with(RUNS["first stage"], {"epochs": 17}), rows)
    assert "Train for 17 epochs" in titles(nearly)


def test_fluctuation_asks_for_a_scheduler() -> None:
    study = study_with(RUNS["first stage"], BUDGETS["the notebook's"])
    stage = analyzed(study, HISTORIES["fluctuates"])
    assert stage.suggestions[0].change == {
        "train.schedule": {"name": "step", "step_size": 10, "gamma": 0.1}
    }
    scheduled = study_with({**RUNS["first stage"], "train.schedule": "cosine"}, {})
    assert titles(analyzed(scheduled, HISTORIES["fluctuates"]))[0] == "Average the weights"


def test_nothing_to_do_once_the_target_is_reached() -> None:
    study = study_with(RUNS["first stage"], {})
    assert analyzed(study, made_rows([99.5] * 15, train=99.9)).suggestions == ()


def test_a_change_that_is_worse_is_taken_back() -> None:
    data = STUDY.to_dict()
    data["stage"] = [
        {"name": "First", "change": {"net.block": ["conv", "relu", "batchnorm"]}},
        {"name": "Too fast", "change": {"train.optimizer.lr": 1.0, "data.augment": []}},
    ]
    study = Study.from_dict(data)
    good = [made_rows([99.0 + seed / 100] * 10) for seed in range(3)]
    bad = [made_rows([98.0 + seed / 50] * 10) for seed in range(3)]
    stage = analyze(made_result(study, [good, bad]), test_images=TEST_IMAGES).stages[1]
    back = stage.suggestions[0]
    assert back.title == "Take this change back"
    assert "0.99 points" in back.reason
    restored = study.stages[1].run.replace(pasted(back))
    assert restored == study.stages[0].run


@pytest.mark.parametrize(
    ("change", "back"),
    [
        # What was left out before can be left out again, if TOML can state it …
        (
            {"train.average": {"name": "ema"}, "data.validation": 0.1},
            {"train.average": "none", "data.validation": 0},
        ),
        # … and where it has none, half a change is not offered as the whole.
        ({"data.mean": [0.9], "data.validation": 0.1}, None),
    ],
)
def test_a_change_is_taken_back_whole_or_not_at_all(
    change: dict[str, object], back: dict[str, object] | None
) -> None:
    base = study_with(RUNS["first stage"], {}).to_dict() | {"seeds": 3}
    base["data"].pop("mean", None)
    stages = [base["stage"][0], {"name": "Second", "target": "", "change": change}]
    study = Study.from_dict(base | {"stage": stages})
    good = [made_rows([99.0 + seed / 100] * 10) for seed in range(3)]
    bad = [made_rows([98.0 + seed / 50] * 10) for seed in range(3)]
    stage = analyze(made_result(study, [good, bad]), test_images=TEST_IMAGES).stages[1]
    back_title = "Take this change back"
    offered = [each.change for each in stage.suggestions if each.title == back_title]
    assert offered == ([] if back is None else [back])


def test_one_seed_takes_nothing_back() -> None:
    for stage in analyze(notebook_result(), test_images=TEST_IMAGES).stages:
        assert "Take this change back" not in titles(stage)


def ladder(*changes: dict[str, object]) -> Study:
    data = STUDY.to_dict()
    data["stage"] = [{"name": f"{i}", "change": change} for i, change in enumerate(changes, 1)]
    return Study.from_dict(data)


def last_stage(study: Study, *histories: list[tuple[EpochRow, ...]]) -> StageAnalysis:
    return analyze(made_result(study, histories), test_images=TEST_IMAGES).stages[-1]


def seeds(level: float, *, train: float, spread: float = 0.01) -> list[tuple[EpochRow, ...]]:
    return [made_rows([level + spread * seed] * 15, train=train) for seed in range(3)]


def test_what_the_ladder_has_measured_or_plans_is_not_suggested() -> None:
    """Dropout was tried and taken back, and the network still over-fits a little."""
    plain, dropout = RUNS["first stage"], RUNS["dropout"]
    good, bad = seeds(99.0, train=99.3), seeds(98.8, train=99.0, spread=0.02)
    first = "A little dropout in every block"
    assert titles(last_stage(ladder(plain), good))[0] == first
    # As the next stage, as one that has run, and as a later one.
    assert first not in titles(last_stage(ladder(plain, dropout), good))
    assert first not in titles(last_stage(ladder(plain, dropout, plain), good, bad, good))
    rotation = {"data.augment": [{"name": "rotation", "degrees": 7}]}
    again = ladder(plain, rotation, {"data.augment": [], **dropout})
    assert first not in titles(last_stage(again, good))
    assert titles(last_stage(again, good))[0].startswith("Shift")


def test_an_effect_against_another_stage_takes_nothing_back() -> None:
    """Of an unfinished study, stage 3 is compared with stage 1: its change is not all of that."""
    study = ladder(RUNS["first stage"], {"train.label_smoothing": 0.1}, RUNS["dropout"])
    good, bad = seeds(99.0, train=99.1), seeds(98.8, train=98.9, spread=0.02)
    whole = made_result(study, [good, good, bad])
    part = replace(whole, stages=(whole.stages[0], whole.stages[2]))
    for result, against, offered in ((whole, 2, True), (part, 1, False)):
        last = analyze(result, test_images=TEST_IMAGES).stages[-1]
        assert last.effect is not None
        assert (last.effect.against, last.effect.final.verdict) == (against, Verdict.WORSE)
        assert ("Take this change back" in titles(last)) == offered
