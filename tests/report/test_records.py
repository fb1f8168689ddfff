"""The JSON that programs rely on: keys, units, and that it is JSON."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kilonet.analysis import analyse
from kilonet.report.records import engine_name, run_json, study_json
from kilonet.spec import load_study
from ladders import (
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
    data = plain(study_json(result, analyse(result, test_images=TEST_IMAGES)))
    assert data["study"] == "mnist-8k"
    assert data["target"] == 99.4
    assert [step["name"] for step in data["steps"]] == [step.name for step in result.study.step]
    for step, ran in zip(data["steps"], result.rungs, strict=True):
        finals = [record.rows[-1].test_accuracy for record in ran.records]
        low, high = step["ci95"]
        assert low < step["mean"] < high
        assert step["mean"] == pytest.approx(sum(finals) / 3)
        assert step["parameters"] == 7864
        assert step["reached"] in {0, 3}
        assert step["seeds"][0].keys() >= {
            "seed",
            "run",
            "final_test_accuracy",
            "best_test_accuracy",
            "reached",
        }
        assert [seed["final_test_accuracy"] for seed in step["seeds"]] == finals
        assert [seed["seed"] for seed in step["seeds"]] == [1, 2, 3]
        assert Path(step["seeds"][1]["run"]) == ran.records[1].path
    assert [seed["reached"] for seed in data["steps"][3]["seeds"]] == [True, True, True]
    assert data["steps"][0]["effect"] is None
    assert data["steps"][3]["effect_on_first"]["final"]["verdict"] == "better"
    assert [step["effect_on_first"] is None for step in data["steps"]] == [True, True, False, False]


def test_the_statistics_of_a_study() -> None:
    result = seeded_result(seeds=6)
    analysis = analyse(result, test_images=TEST_IMAGES)
    data = plain(study_json(result, analysis))
    for step, rung in zip(data["steps"], analysis.rungs, strict=True):
        low, high = step["bootstrap95"]
        assert low < step["mean"] < high
        assert step["intervals_disagree"] is False
        assert step["share_at_target"] == pytest.approx([n / 6 for n in rung.at_target])
        bests = rung.best_test.values
        assert step["best"]["mean"] == pytest.approx(sum(bests) / 6)
        assert (step["best"]["minimum"], step["best"]["maximum"]) == (min(bests), max(bests))
        assert step["best"]["ci95"][0] < step["best"]["mean"] < step["best"]["ci95"][1]
        assert step["best"]["sd"] > 0
    assert data["steps"][2]["share_at_target"] == pytest.approx([0, 0, 1 / 6])
    for effect in (data["steps"][1]["effect"], data["steps"][3]["effect_on_first"]):
        found = effect["final"]
        assert found["comparisons"] == 5
        assert found["p"] <= found["p_adjusted"] <= min(1.0, 5 * found["p"]) + 1e-9
        assert found["p_sign_flip"] >= 2 / 64
        assert 0.95 <= found["confidence"] <= 0.99
        shown = found["interval"][0] > 0 or found["interval"][1] < 0
        assert shown == (found["verdict"] in {"better", "worse"})
        # Wider than alone, or as wide.
        assert found["interval"][0] <= found["ci95"][0] + 1e-9
    assert data["sensitivity"].keys() == {
        "sd",
        "sd95",
        "assumed",
        "steps",
        "level",
        "comparisons",
        "wanted",
        "seeds_for_wanted",
        "seeds_for_wanted95",
        "detectable",
    }
    assert data["sensitivity"]["level"] == pytest.approx(0.01)


def test_one_seed_has_no_interval() -> None:
    result = notebook_result()
    data = plain(study_json(result, analyse(result, test_images=TEST_IMAGES)))
    assert [step["ci95"] for step in data["steps"]] == [[None, None]] * 3
    assert [step["mean"] for step in data["steps"]] == [99.27, 99.26, 99.32]
    assert [step["reached"] for step in data["steps"]] == [0, 0, 0]
    effect = data["steps"][1]["effect"]
    assert effect["final"]["mean"] == pytest.approx(-0.01)
    assert effect["final"]["p"] is None
    kinds = [finding["kind"] for finding in data["steps"][2]["findings"]]
    assert kinds == [
        "target",
        "fit",
        "gap",
        "trend",
        "fluctuation",
        "effect",
        "climb",
        "robustness",
    ]
    assert data["steps"][2]["next"][0]["change"] == {
        "train.schedule": {"name": "step", "step_size": 10, "gamma": 0.1}
    }


def test_equal_seeds_have_no_interval() -> None:
    rows = made_rows([99.0] * 5)
    result = made_result(load_study("mnist-8k"), [[rows, rows]])
    [step] = plain(study_json(result, analyse(result, test_images=TEST_IMAGES)))["steps"]
    assert (step["mean"], step["ci95"]) == (99.0, [None, None])


def test_best_train_accuracy_is_the_mean_that_people_are_shown() -> None:
    runs = [made_rows([99.0] * 5, train=train) for train in (98.0, 99.0)]
    result = made_result(load_study("mnist-8k"), [runs])
    [step] = plain(study_json(result, analyse(result, test_images=TEST_IMAGES)))["steps"]
    assert step["best_train_accuracy"] == 98.5
    assert [seed["best_train_accuracy"] for seed in step["seeds"]] == [98.0, 99.0]


def test_a_run() -> None:
    rung = load_study("mnist-8k").rungs[0]
    record = made_record(rung, made_rows([99.0, 99.1], train=98.0), seed=2)
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
    rung = load_study("mnist-8k").rungs[0]
    rows = tuple(
        replace(row, validation_accuracy=98.5, validation_loss=0.05) for row in made_rows([99.0])
    )
    epoch = plain(run_json(made_record(rung, rows)))["epochs"][0]
    assert (epoch["validation_accuracy"], epoch["validation_loss"]) == (98.5, 0.05)


def test_an_unfinished_run_and_a_loss_that_is_no_number() -> None:
    rung = load_study("mnist-8k").rungs[0]
    assert plain(run_json(made_record(rung, ())))["epochs"] == []
    rows = tuple(replace(row, train_loss=float("nan")) for row in made_rows([10.0]))
    assert plain(run_json(made_record(rung, rows)))["epochs"][0]["train_loss"] is None


def test_small_numbers_keep_their_digits() -> None:
    rung = load_study("mnist-8k").rungs[0]
    rows = made_rows([99.0], lr=4.0123e-10)
    assert plain(run_json(made_record(rung, rows)))["epochs"][0]["lr"] == 4.0123e-10


@pytest.mark.parametrize(
    ("environment", "name"),
    [({"engine": {"name": "torch"}}, "torch"), ({"engine": "native"}, "native"), ({}, None)],
)
def test_engine_name(environment: dict[str, object], name: str | None) -> None:
    assert engine_name(environment) == name
