"""The JSON that programs rely on: keys, units, and that it is JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kilonet.analysis import analyze
from kilonet.report.json.records import run_json, study_json
from ladders import (
    FOUR_STAGES,
    TEST_IMAGES,
    made_record,
    made_result,
    made_rows,
    notebook_result,
    plain,
    seeded_result,
)


def test_the_promised_keys_of_a_study() -> None:
    result = seeded_result(seeds=3)
    data = plain(study_json(result, analyze(result, test_images=TEST_IMAGES)))
    assert data["study"] == "mnist-8k"
    assert data["target"] == 99.4
    assert [stage["name"] for stage in data["stages"]] == [
        stage.name for stage in result.study.stage
    ]
    for stage, ran in zip(data["stages"], result.stages, strict=True):
        finals = [record.rows[-1].test_accuracy for record in ran.records]
        low, high = stage["ci95"]
        assert low < stage["mean"] < high
        assert stage["mean"] == pytest.approx(sum(finals) / 3)
        assert stage["parameters"] == 7864
        assert stage["reached"] in {0, 3}
        assert stage["seeds"][0].keys() >= {
            "seed",
            "run",
            "final_test_accuracy",
            "best_test_accuracy",
            "reached",
        }
        assert [seed["final_test_accuracy"] for seed in stage["seeds"]] == finals
        assert [seed["seed"] for seed in stage["seeds"]] == [1, 2, 3]
        assert Path(stage["seeds"][1]["run"]) == ran.records[1].path
    assert [seed["reached"] for seed in data["stages"][3]["seeds"]] == [True, True, True]
    assert data["stages"][0]["effect"] is None
    assert data["stages"][3]["effect_on_first"]["final"]["verdict"] == "better"
    assert [stage["effect_on_first"] is None for stage in data["stages"]] == [
        True,
        True,
        False,
        False,
    ]


def test_the_statistics_of_a_study() -> None:
    result = seeded_result(seeds=6)
    analysis = analyze(result, test_images=TEST_IMAGES)
    data = plain(study_json(result, analysis))
    for found, stage in zip(data["stages"], analysis.stages, strict=True):
        low, high = found["bootstrap95"]
        assert low < found["mean"] < high
        assert found["intervals_disagree"] is False
        assert found["share_at_target"] == pytest.approx([n / 6 for n in stage.at_target])
        bests, best = stage.best.values, found["best"]
        assert best["mean"] == pytest.approx(sum(bests) / 6)
        assert (best["minimum"], best["maximum"]) == (min(bests), max(bests))
        assert best["ci95"][0] < best["mean"] < best["ci95"][1]
        assert best["sd"] > 0
    assert data["stages"][2]["share_at_target"] == pytest.approx([0, 0, 1 / 6])
    for effect in (data["stages"][1]["effect"], data["stages"][3]["effect_on_first"]):
        found = effect["final"]
        assert found["comparisons"] == 5
        p = found["p_moderated"]
        assert p <= found["p_adjusted"] <= min(1.0, 5 * p) + 1e-9
        # The last stage ends at another learning rate.
        last = effect is not data["stages"][1]["effect"]
        assert effect["decided_by"] == ("final" if last else "last_five")
        assert effect["deciding"]["p_moderated"] == effect[effect["decided_by"]]["p_moderated"]
        # Five of its own seeds' degrees of freedom, four of the other stages'.
        assert found["freedom"] == 9
        assert found["p_sign_flip"] >= 2 / 64
        assert 0.95 <= found["confidence"] <= 0.99
        shown = found["interval"][0] > 0 or found["interval"][1] < 0
        assert shown == (found["verdict"] in {"better", "worse"})
        assert found["ci95"][0] < found["mean"] < found["ci95"][1]
    assert data["sensitivity"]["level"] == pytest.approx(0.01)


def test_one_seed_has_no_interval() -> None:
    result = notebook_result()
    data = plain(study_json(result, analyze(result, test_images=TEST_IMAGES)))
    assert [stage["ci95"] for stage in data["stages"]] == [[None, None]] * 3
    assert [stage["mean"] for stage in data["stages"]] == [99.27, 99.26, 99.32]
    assert [stage["reached"] for stage in data["stages"]] == [0, 0, 0]
    effect = data["stages"][1]["effect"]
    assert effect["final"]["mean"] == pytest.approx(-0.01)
    assert effect["final"]["p"] is None
    for finding in data["stages"][2]["findings"]:
        assert finding.keys() == {"kind", "verdict", "sentence", "figures"}
    for suggestion in data["stages"][2]["suggestions"]:
        assert suggestion.keys() == {"title", "reason", "change", "judged_on"}


def test_equal_seeds_have_no_interval() -> None:
    rows = made_rows([99.0] * 5)
    result = made_result(FOUR_STAGES, [[rows, rows]])
    [stage] = plain(study_json(result, analyze(result, test_images=TEST_IMAGES)))["stages"]
    assert (stage["mean"], stage["ci95"]) == (99.0, [None, None])


def test_best_train_accuracy_is_the_mean_that_people_are_shown() -> None:
    runs = [made_rows([99.0] * 5, train=train) for train in (98.0, 99.0)]
    result = made_result(FOUR_STAGES, [runs])
    [stage] = plain(study_json(result, analyze(result, test_images=TEST_IMAGES)))["stages"]
    assert stage["best_train_accuracy"] == 98.5
    assert [seed["best_train_accuracy"] for seed in stage["seeds"]] == [98.0, 99.0]


def test_a_run() -> None:
    stage = FOUR_STAGES.stages[0]
    record = made_record(stage, made_rows([99.0, 99.1], train=98.0), seed=2)
    data = plain(run_json(record))
    assert data["run"] == str(record.path)
    assert (data["engine"], data["parameters"], data["seed"]) == ("torch", 7864, 2)
    assert data["seconds"] == 18.0
    assert (data["final_test_accuracy"], data["best_test_accuracy"]) == (99.1, 99.1)
    assert data["epochs"][1].keys() == {
        "epoch",
        "train_accuracy",
        "train_loss",
        "test_accuracy",
        "test_loss",
        "lr",
        "seconds",
    }
    assert data["epochs"][1]["test_accuracy"] == 99.1


def test_validation_is_there_when_there_is_one() -> None:
    stage = FOUR_STAGES.stages[0]
    rows = tuple(
        replace(row, validation_accuracy=98.5, validation_loss=0.05) for row in made_rows([99.0])
    )
    epoch = plain(run_json(made_record(stage, rows)))["epochs"][0]
    assert (epoch["validation_accuracy"], epoch["validation_loss"]) == (98.5, 0.05)


def test_an_unfinished_run_and_a_loss_that_is_no_number() -> None:
    stage = FOUR_STAGES.stages[0]
    assert plain(run_json(made_record(stage, ())))["epochs"] == []
    rows = tuple(replace(row, train_loss=float("nan")) for row in made_rows([10.0]))
    assert plain(run_json(made_record(stage, rows)))["epochs"][0]["train_loss"] is None


def test_small_numbers_keep_their_digits() -> None:
    stage = FOUR_STAGES.stages[0]
    rows = made_rows([99.0], lr=4.0123e-10)
    assert plain(run_json(made_record(stage, rows)))["epochs"][0]["lr"] == 4.0123e-10
