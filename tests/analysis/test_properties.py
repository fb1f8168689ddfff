"""What must hold of an analysis whatever the histories: invariances, order, and agreement."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kilonet.analysis import RungAnalysis, StudyAnalysis, analyse, compare, correct, describe
from kilonet.analysis.errors import measure_errors
from kilonet.analysis.mistakes import class_pairs
from kilonet.record import EpochRow
from kilonet.spec import Study, load_study
from kilonet.study import StudyResult
from ladders import made_result, made_rows

STUDY = load_study("mnist-8k")

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


@st.composite
def studies(draw: st.DrawFn) -> Study:
    data = STUDY.to_dict()
    steps = draw(st.lists(st.sampled_from(CHANGES), min_size=1, max_size=4))
    data["step"] = [{"name": f"Step {i}", "change": change} for i, change in enumerate(steps)]
    data["budget"] = draw(
        st.sampled_from([{"parameters": 8000, "epochs": 15}, {"parameters": 40_000}, {}])
    )
    data["target"] = draw(st.sampled_from([99.4, 95.0, 60.0, 100.0]))
    return Study.from_dict(data)


@st.composite
def histories(draw: st.DrawFn, *, levels: st.SearchStrategy[float] = ACCURACIES) -> Any:
    """(study, result): each rung of as many seeds and epochs, their rows anything at all."""
    study = draw(studies())
    seeds, epochs = draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 3, 5, 6, 10, 11]))

    def rows() -> tuple[EpochRow, ...]:
        of_test = draw(st.lists(levels, min_size=epochs, max_size=epochs))
        of_train = draw(st.lists(levels, min_size=epochs, max_size=epochs))
        return made_rows(of_test, train=of_train)

    return study, made_result(study, [[rows() for _ in range(seeds)] for _ in study.rungs])


def reseeded(result: StudyResult, *, shift: int, reverse: bool) -> StudyResult:
    """The same rows under other seeds, in another order."""

    def moved(record: Any) -> Any:
        seed = record.run.train.seed + shift
        return replace(record, run=record.run.replace({"train.seed": seed}))

    rungs = []
    for rung in result.rungs:
        records = [moved(record) for record in rung.records]
        rungs.append(replace(rung, records=tuple(records[::-1] if reverse else records)))
    return replace(result, rungs=tuple(rungs))


def told(analysis: StudyAnalysis) -> list[Any]:
    """All that is said, but for the seeds' own names."""
    return [
        [[(f.kind, f.verdict) for f in rung.findings], [s.title for s in rung.next_steps]]
        for rung in analysis.rungs
    ]


@settings(max_examples=60, deadline=None)
@given(histories(), st.integers(0, 1000))
def test_every_history_is_analysed_in_whole_sentences(case: Any, images: int) -> None:
    study, result = case
    analysis = analyse(result, test_images=images + 1)
    sentences = [*analysis.conclusions, *(s for rung in analysis.rungs for s in rung.sentences)]
    for sentence in sentences:
        assert sentence.endswith(".")
        assert not any(word in sentence for word in ("nan", "inf", "None", "\n", "-0.00", "..")), (
            sentence
        )
    assert len(analysis.rungs) == len(study.rungs)


@settings(max_examples=40, deadline=None)
@given(histories(levels=NEAR), st.integers(1, 50), st.booleans())
def test_seeds_are_names_and_their_order_is_nothing(case: Any, shift: int, reverse: bool) -> None:
    _, result = case
    plain = analyse(result, test_images=10_000)
    moved = analyse(reseeded(result, shift=shift, reverse=reverse), test_images=10_000)
    assert told(moved) == told(plain)
    assert moved.conclusions == plain.conclusions
    for one, other in zip(plain.rungs, moved.rungs, strict=True):
        assert one.final.ci95 == other.final.ci95
        assert one.final.bootstrap95 == other.final.bootstrap95


@settings(max_examples=60, deadline=None)
@given(histories(levels=NEAR))
def test_words_agree_with_their_numbers(case: Any) -> None:
    _, result = case
    analysis = analyse(result, test_images=10_000)
    for rung in analysis.rungs:
        of_mean = rung.final
        assert of_mean.minimum - 1e-9 <= of_mean.mean <= of_mean.maximum + 1e-9
        if of_mean.ci95 is not None:
            assert of_mean.ci95[0] <= of_mean.mean <= of_mean.ci95[1]
        for effect in (rung.effect, rung.effect_on_first):
            for found in () if effect is None else (effect.final, effect.last_five):
                if found.interval is None or found.p is None or found.p_adjusted is None:
                    assert not found.shown
                    continue
                assert found.p_adjusted >= found.p
                assert found.ci95 is not None
                assert found.interval[0] <= found.ci95[0] <= found.ci95[1] <= found.interval[1]
                if abs(found.p_adjusted - 0.05) > 1e-9:
                    low, high = found.interval
                    assert found.shown == (low > 0 or high < 0)
        says = {found.kind: found for found in rung.findings}
        assert_no_contradiction(rung, says)


def assert_no_contradiction(rung: RungAnalysis, says: dict[str, Any]) -> None:
    if "width" in says:
        assert says["trend"].verdict == "level"
        assert says["target"].verdict == "not reached"
    if says["trend"].verdict == "level" and rung.measured.test_change is not None:
        assert "improving" not in says["trend"].sentence
    if "robustness" in says and "effect" in says:
        robust = says["robustness"].sentence
        if says["effect"].verdict == "better":
            assert "no better" not in robust
            assert not robust.startswith("Less accurate")
        if robust.startswith("Less accurate") and rung.seeds > 1:
            assert ("(not shown)" in robust) == (says["effect"].verdict != "worse")
    if rung.reached == rung.seeds and says["target"].verdict == "reached":
        assert rung.next_steps == ()


@settings(max_examples=60, deadline=None)
@given(histories(levels=NEAR) | histories())
def test_every_suggestion_can_be_taken_and_leads_somewhere_new(case: Any) -> None:
    study, result = case
    analysis = analyse(result, test_images=10_000)
    for i, (ran, rung) in enumerate(zip(result.rungs, analysis.rungs, strict=True)):
        before = [
            (earlier.rung.run.net.nodes, earlier.rung.run.data, earlier.rung.run.train)
            for earlier in result.rungs[: i + 1]
        ]
        lines = [suggestion.line for suggestion in rung.next_steps]
        assert len(set(lines)) == len(lines)
        for suggestion in rung.next_steps:
            changed = ran.rung.run.replace(tomllib.loads(suggestion.line)["change"])
            assert changed == ran.rung.run.replace(suggestion.change)
            assert sum(map(prod, changed.net.parameters.values())) <= (
                study.budget.parameters or 10**9
            )
            assert changed.train.epochs <= (study.budget.epochs or 10**9)
            if suggestion.title != "Take this step back":
                # A study may come back to a rung of its own, but no suggestion leads it there.
                assert (changed.net.nodes, changed.data, changed.train) not in before


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
def test_a_difference_of_both_rungs_moved_alike_is_none(
    values: list[float], shift: int, random: Any
) -> None:
    """What both rungs have in common goes; turned round, so does the sign alone."""
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
def test_more_comparisons_never_make_a_word_easier(rungs: list[list[float]], more: int) -> None:
    found = [compare(dict.fromkeys(range(len(v)), 99.0), dict(enumerate(v))) for v in rungs]
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
    said, said_moved = class_pairs(plain), class_pairs(moved)
    assert said is not None
    assert said_moved is not None
    assert said_moved.verdict == said.verdict
    # The whole test set several times over: as many times the errors, the same shares of them.
    repeated = measure_errors(
        [np.tile(seed, (times, 1)) for seed in logits], np.tile(labels, times)
    )
    assert repeated.mean_wrong == pytest.approx(times * plain.mean_wrong)
    assert repeated.calibration.ece == pytest.approx(plain.calibration.ece)
    assert repeated.calibration.excess == pytest.approx(plain.calibration.excess)
