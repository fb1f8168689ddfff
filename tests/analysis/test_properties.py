"""What must hold of an analysis whatever the histories: invariances, order, and agreement."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kilonet.analysis import (
    Kind,
    StageAnalysis,
    StudyAnalysis,
    Verdict,
    analyze,
    compare,
    correct,
    describe,
)
from kilonet.analysis.misclassified import measure_errors
from kilonet.analysis.mistakes import class_pairs
from kilonet.spec import Run, Study
from kilonet.storage.record import EpochRow
from kilonet.study import StudyResult
from ladders import FOUR_STAGES, made_result, made_rows

STUDY = FOUR_STAGES

ACCURACIES = st.integers(0, 10_000).map(lambda count: count / 100)
NEAR = st.integers(9_800, 10_000).map(lambda count: count / 100)
CHANGES: list[dict[str, Any]] = [
    {"net.block": ["conv", "relu", "batchnorm"]},
    {"net.block": ["conv", "relu", "batchnorm", "dropout 0.01"]},
    {"net.block": ["conv", "relu"]},
    {"data.augment": [{"name": "rotation", "degrees": 7}]},
    {"data.augment": []},
    {"train.schedule": {"name": "step", "step_size": 10, "gamma": 0.1}},
    {"train.schedule": {"name": "onecycle", "max_lr": 0.1}},
    {"train.schedule": "constant"},
    {"train.optimizer.lr": 0.03},
    {"train.optimizer.lr": 0.01},
    {"train.label_smoothing": 0.1},
    {"train.optimizer.weight_decay": 0.0005},
    {"train.epochs": 12},
]


NOT_A_SENTENCE = re.compile(r"nan|inf|None|\n|-0\.00(?!\d)|\.\.")
"""A value that is none, a zero with a sign, or two full stops."""


class Case(tuple[Study, StudyResult]):
    """A study and its result, which are too long for Hypothesis to print."""

    __slots__ = ()

    def __repr__(self) -> str:
        study, result = self
        rows = [[r.rows for r in stage.records] for stage in result.stages]
        accuracies = [[[row.test_accuracy for row in run] for run in stage] for stage in rows]
        return f"{[stage.change for stage in study.stage]}, of accuracies {accuracies}"


@st.composite
def studies(draw: st.DrawFn) -> Study:
    data = STUDY.to_dict()
    changes = draw(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=4))
    data["stage"] = [{"name": f"Stage {i}", "change": change} for i, change in enumerate(changes)]
    data["budget"] = draw(
        st.sampled_from([{"parameters": 8000, "epochs": 15}, {"parameters": 40_000}, {}])
    )
    data["target"] = draw(st.sampled_from([99.4, 95.0, 60.0, 100.0]))
    return Study.from_dict(data)


@st.composite
def histories(draw: st.DrawFn, *, levels: st.SearchStrategy[float] = ACCURACIES) -> Any:
    """(study, result): each stage of as many seeds and epochs, their rows anything at all."""
    study = draw(studies())
    seeds, epochs = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 3, 5, 6, 10, 11]))

    def rows() -> tuple[EpochRow, ...]:
        of_test = draw(st.lists(levels, min_size=epochs, max_size=epochs))
        of_train = draw(st.lists(levels, min_size=epochs, max_size=epochs))
        return made_rows(of_test, train=of_train)

    result = made_result(study, [[rows() for _ in range(seeds)] for _ in study.stages])
    return Case((study, result))


def reseeded(result: StudyResult, *, shift: int, reverse: bool) -> StudyResult:
    """The same rows under other seeds, in another order."""

    def moved(record: Any) -> Any:
        seed = record.run.train.seed + shift
        return replace(record, run=record.run.replace({"train.seed": seed}))

    stages = []
    for stage in result.stages:
        records = [moved(record) for record in stage.records]
        stages.append(replace(stage, records=tuple(records[::-1] if reverse else records)))
    return replace(result, stages=tuple(stages))


def outcome(analysis: StudyAnalysis) -> list[Any]:
    """Verdicts and suggestions, without the seeds' own names."""
    return [
        [[(f.kind, f.verdict) for f in stage.findings], [s.title for s in stage.suggestions]]
        for stage in analysis.stages
    ]


@settings(max_examples=80, deadline=None)
@given(histories(levels=NEAR) | histories(), st.integers(1, 1000) | st.just(10_000))
def test_every_history_has_an_analysis(case: Any, images: int) -> None:
    """In whole sentences, with verdicts that agree, and suggestions that lead to a new stage."""
    study, result = case
    analysis = analyze(result, test_images=images)
    assert len(analysis.stages) == len(study.stages)
    sentences = [*analysis.conclusions, *(s for stage in analysis.stages for s in stage.sentences)]
    for sentence in sentences:
        assert sentence.endswith(".")
        assert not NOT_A_SENTENCE.search(sentence), sentence
    for ran, stage in zip(result.stages, analysis.stages, strict=True):
        assert_verdicts_agree(stage)
        assert_suggestions_apply(study, ran.stage.run, stage)


@settings(max_examples=60, deadline=None)
@given(histories(levels=NEAR), st.data())
def test_every_history_with_a_split_has_an_analysis(case: Any, data: Any) -> None:
    """Of all stages, of some, or of other images: what is picked by is what all have."""
    study, result = case
    spec = study.to_dict()
    for stage in spec["stage"]:
        held_out = data.draw(st.sampled_from([None, None, 0, 500, 600]))
        stage["change"] |= {} if held_out is None else {"data.validation": held_out}
    study = Study.from_dict(spec)
    stages = []
    for stage, ran in zip(study.stages, result.stages, strict=True):
        run = stage.run
        records = tuple(
            replace(
                record,
                run=run.replace({"train.seed": record.run.train.seed}),
                rows=tuple(replace(row, validation_accuracy=data.draw(NEAR)) for row in record.rows)
                if run.data.validation
                else record.rows,
            )
            for record in ran.records
        )
        stages.append(replace(ran, stage=stage, records=records))
    result = StudyResult(study=study, path=result.path, stages=tuple(stages))
    analysis = analyze(result, test_images=10_000)
    amounts = {stage.run.data.validation for stage in study.stages}
    assert (analysis.judged_on == "validation") == (len(amounts) == 1 and amounts != {0})
    for ran, stage, judged in zip(result.stages, analysis.stages, analysis.judged, strict=True):
        assert (stage.validation is not None) == bool(ran.stage.run.data.validation)
        assert (judged is stage.validation) == (analysis.judged_on == "validation")
        target = next(f for f in stage.findings if f.kind is Kind.TARGET)
        assert target.figures["short"] == pytest.approx(study.target - stage.final.mean)
        assert_suggestions_apply(study, ran.stage.run, stage)
    for sentence in (*analysis.conclusions, *(s for x in analysis.stages for s in x.sentences)):
        assert sentence.endswith(".")
        assert not NOT_A_SENTENCE.search(sentence), sentence


def assert_verdicts_agree(stage: StageAnalysis) -> None:
    of_mean = stage.final
    assert of_mean.minimum - 1e-9 <= of_mean.mean <= of_mean.maximum + 1e-9
    if of_mean.ci95 is not None:
        assert of_mean.ci95[0] <= of_mean.mean <= of_mean.ci95[1]
    for effect in (stage.effect, stage.effect_on_first):
        for found in () if effect is None else (effect.final, effect.last_five, effect.deciding):
            alone = found.moderated95
            if found.interval is None or found.p_moderated is None or found.p_adjusted is None:
                assert not found.shown
                continue
            assert found.p_adjusted >= found.p_moderated
            assert alone is not None
            assert found.interval[0] <= alone[0] <= alone[1] <= found.interval[1]
            if abs(found.p_adjusted - 0.05) > 1e-9:
                low, high = found.interval
                assert found.shown == (low > 0 or high < 0)
    verdicts = {found.kind: found.verdict for found in stage.findings}
    if Kind.WIDTH in verdicts:
        assert verdicts[Kind.TREND] is Verdict.LEVEL
        assert verdicts[Kind.TARGET] is Verdict.NOT_REACHED
    if Kind.ROBUSTNESS in verdicts and verdicts[Kind.EFFECT] is Verdict.BETTER:
        assert verdicts[Kind.ROBUSTNESS] is not Verdict.LESS_ACCURATE
    if verdicts[Kind.TARGET] is Verdict.REACHED:
        assert stage.reached == stage.seeds
        assert stage.suggestions == ()


def assert_suggestions_apply(study: Study, run: Run, stage: StageAnalysis) -> None:
    ladder = [(s.run.net.nodes, s.run.data, s.run.train) for s in study.stages]
    lines = [suggestion.line for suggestion in stage.suggestions]
    assert len(set(lines)) == len(lines)
    for suggestion in stage.suggestions:
        changed = run.replace(tomllib.loads(suggestion.line)["change"])
        assert changed == run.replace(suggestion.change)
        assert sum(map(prod, changed.net.parameters.values())) <= (study.budget.parameters or 10**9)
        assert changed.train.epochs <= (study.budget.epochs or 10**9)
        if suggestion.title != "Take this change back":
            assert (changed.net.nodes, changed.data, changed.train) not in ladder


@settings(max_examples=30, deadline=None)
@given(histories(levels=NEAR), st.integers(1, 50), st.booleans())
def test_seeds_are_names_and_their_order_is_nothing(case: Any, shift: int, reverse: bool) -> None:
    _, result = case
    plain = analyze(result, test_images=10_000)
    moved = analyze(reseeded(result, shift=shift, reverse=reverse), test_images=10_000)
    assert outcome(moved) == outcome(plain)
    assert moved.conclusions == plain.conclusions
    for one, other in zip(plain.stages, moved.stages, strict=True):
        assert one.final.ci95 == other.final.ci95
        assert one.final.bootstrap95 == other.final.bootstrap95


VALUES = st.lists(st.integers(9_000, 10_000).map(lambda n: n / 100), min_size=2, max_size=12)


@settings(max_examples=80, deadline=None)
@given(VALUES, st.integers(-50, 50))
def test_statistics_move_with_a_constant(values: list[float], shift: int) -> None:
    plain, moved = describe(values), describe([value + shift for value in values])
    assert moved.mean == pytest.approx(plain.mean + shift)
    assert moved.sd == pytest.approx(plain.sd, abs=1e-9)
    assert (moved.ci95 is None) == (plain.ci95 is None)
    if plain.ci95 is not None and moved.ci95 is not None:
        assert moved.ci95 == pytest.approx([end + shift for end in plain.ci95])
        assert moved.ci95[0] < moved.mean < moved.ci95[1]


@settings(max_examples=80, deadline=None)
@given(VALUES, st.integers(-300, 300), st.randoms(use_true_random=False))
def test_a_difference_of_both_stages_moved_alike_is_none(
    values: list[float], shift: int, random: Any
) -> None:
    """What both stages have in common goes; turned round, so does the sign alone."""
    seeds = list(range(len(values)))
    before = dict(zip(seeds, values, strict=True))
    random.shuffle(values)
    after = dict(zip(seeds, values, strict=True))
    plain, turned = compare(before, after), compare(after, before)
    moved = compare(
        {seed + 7: value + shift / 100 for seed, value in before.items()},
        {seed + 7: value + shift / 100 for seed, value in after.items()},
    )
    assert moved.mean == pytest.approx(plain.mean, abs=1e-9)
    assert moved.p == pytest.approx(plain.p, abs=1e-9)
    assert moved.verdict == plain.verdict
    assert turned.mean == pytest.approx(-(plain.mean or 0.0), abs=1e-12)
    assert turned.p == pytest.approx(plain.p, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=5), st.integers(0, 5))
def test_more_comparisons_never_make_a_word_easier(stages: list[list[float]], more: int) -> None:
    found = [compare(dict.fromkeys(range(len(v)), 99.0), dict(enumerate(v))) for v in stages]
    few, many = (
        correct(found, comparisons=len(found)),
        correct(found, comparisons=len(found) + more),
    )
    for one, other in zip(few, many, strict=True):
        if one.p_adjusted is not None and other.p_adjusted is not None:
            assert other.p_adjusted >= one.p_adjusted - 1e-15
        assert one.shown or not other.shown


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(3, 8), st.integers(1, 3), st.sampled_from([1, 2, 5]))
def test_errors_do_not_depend_on_the_order_of_images_or_names_of_classes(
    key: int, classes: int, seeds: int, times: int
) -> None:
    generator = np.random.default_rng(key)
    images = 60
    logits = generator.normal(0, 3, (seeds, images, classes))
    labels = generator.integers(0, classes, images)
    plain = measure_errors(list(logits), labels)
    order, names = generator.permutation(images), generator.permutation(classes)
    moved_logits = np.empty_like(logits)
    moved_logits[:, :, names] = logits
    moved = measure_errors(list(moved_logits[:, order]), names[labels][order])
    assert moved.mean_wrong == pytest.approx(plain.mean_wrong)
    assert moved.confusion[np.ix_(names, names)] == pytest.approx(plain.confusion)
    assert moved.calibration.ece == pytest.approx(plain.calibration.ece)
    assert {int(order[hard.index]) for hard in moved.hard} == {hard.index for hard in plain.hard}
    assume(plain.pairs)
    found, found_moved = class_pairs(plain), class_pairs(moved)
    assert found is not None
    assert found_moved is not None
    assert found_moved.verdict is found.verdict
    # The whole test set several times over: as many times the errors, the same shares of them.
    repeated = measure_errors(
        [np.tile(seed, (times, 1)) for seed in logits], np.tile(labels, times)
    )
    assert repeated.mean_wrong == pytest.approx(times * plain.mean_wrong)
    assert repeated.calibration.ece == pytest.approx(plain.calibration.ece)
    assert repeated.calibration.excess == pytest.approx(plain.calibration.excess)
