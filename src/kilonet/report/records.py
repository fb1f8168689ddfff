"""Records as plain data for programs: the keys are a promise, see the design's section JSON.

Accuracies are in percent, times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from kilonet.analysis import Difference, Effect, RungAnalysis, Statistics, StudyAnalysis
from kilonet.record import EpochRow, RunRecord
from kilonet.study import RungResult, StudyResult

# Significant ones: means of hundredths carry noise in the sixteenth.
_DIGITS = 12


def study_json(result: StudyResult, analysis: StudyAnalysis) -> dict[str, Any]:
    """A study for ``study … --json``.

    Keys: ``study``, ``target``, ``steps`` (each: ``name``, ``parameters``, ``mean``, ``ci95``
    [low, high], both null with one seed and where the seeds are equal, ``reached``, ``seeds``
    (each: ``seed``, ``run``, ``final_test_accuracy``, ``best_test_accuracy``, ``reached``)); and
    beyond the promise the folder, the rest of the statistics (docs/statistics.md names each), the
    effect of each step, what the seeds can tell, findings and suggestions.
    """
    return rounded(
        {
            "study": result.study.name,
            "folder": str(result.path),
            "target": result.study.target,
            "budget": result.study.budget.to_dict(),
            "test_images": analysis.test_images,
            "steps": [
                _step(ran, rung) for ran, rung in zip(result.rungs, analysis.rungs, strict=True)
            ],
            "sensitivity": vars(analysis.sensitivity),
            "conclusions": list(analysis.conclusions),
        }
    )


def run_json(record: RunRecord) -> dict[str, Any]:
    """A run for ``train … --json``.

    Keys: ``run`` (folder), ``engine``, ``parameters``, ``seconds``, ``epochs`` (each: ``epoch``,
    ``train_accuracy``, ``train_loss``, ``test_accuracy``, ``test_loss``, ``lr``, ``seconds``; with
    a validation split ``validation_accuracy`` and ``validation_loss`` too); and beyond the promise
    ``seed`` and, once an epoch is done, ``final_test_accuracy`` and ``best_test_accuracy``.
    """
    data: dict[str, Any] = {
        "run": str(record.path),
        "engine": engine_name(record.environment),
        "seed": record.run.train.seed,
        "parameters": record.run.net.num_parameters,
        "seconds": sum(row.seconds for row in record.rows),
        "epochs": [_epoch(row) for row in record.rows],
    }
    if record.rows:
        data["final_test_accuracy"] = record.final_test_accuracy
        data["best_test_accuracy"] = record.best_test_accuracy
    return rounded(data)


def engine_name(environment: Mapping[str, Any]) -> str | None:
    """The engine that an ``environment.json`` names; None where it names none."""
    engine = environment.get("engine")
    name = engine.get("name") if isinstance(engine, Mapping) else engine
    return name if isinstance(name, str) else None


def _step(ran: RungResult, rung: RungAnalysis) -> dict[str, Any]:
    final = rung.final
    return {
        "number": rung.number,
        "name": rung.name,
        "target": ran.rung.step.target,
        "change": ran.rung.step.change,
        "parameters": ran.parameters,
        "mean": final.mean,
        "sd": final.sd,
        "ci95": _interval(final.ci95),
        "bootstrap95": _interval(final.bootstrap95),
        "intervals_disagree": final.intervals_disagree,
        "minimum": final.minimum,
        "maximum": final.maximum,
        "best": _statistics(rung.best_test),
        "binomial_error": rung.binomial,
        "mean_last_five": rung.last_five.mean,
        "best_train_accuracy": rung.best_train.mean,
        "reached": rung.reached,
        "share_at_target": [seeds / rung.seeds for seeds in rung.at_target],
        "seeds": [_seed(record, target=rung.target) for record in ran.records],
        "effect": _effect(rung.effect),
        "effect_on_first": _effect(rung.effect_on_first),
        "findings": [
            {
                "kind": finding.kind,
                "verdict": finding.verdict,
                "sentence": finding.sentence,
                "figures": dict(finding.figures),
            }
            for finding in rung.findings
        ],
        "next": [
            {
                "title": step.title,
                "reason": step.reason,
                "change": dict(step.change),
                "judged_on": rung.judged_on,
            }
            for step in rung.next_steps
        ],
    }


def _seed(record: RunRecord, *, target: float) -> dict[str, Any]:
    return {
        "seed": record.run.train.seed,
        "run": str(record.path),
        "final_test_accuracy": record.final_test_accuracy,
        "best_test_accuracy": record.best_test_accuracy,
        "best_train_accuracy": record.best_train_accuracy,
        "reached": record.reached(target),
        "seconds": sum(row.seconds for row in record.rows),
    }


def _statistics(statistics: Statistics) -> dict[str, Any]:
    return {
        "mean": statistics.mean,
        "sd": statistics.sd,
        "ci95": _interval(statistics.ci95),
        "bootstrap95": _interval(statistics.bootstrap95),
        "minimum": statistics.minimum,
        "maximum": statistics.maximum,
    }


def _effect(effect: Effect | None) -> dict[str, Any] | None:
    if effect is None:
        return None
    return {
        "against": effect.against,
        "final": difference_json(effect.final),
        "last_five": difference_json(effect.last_five),
    }


def difference_json(difference: Difference) -> dict[str, Any]:
    """A difference's keys, as under ``effect`` in ``study --json``."""
    return {
        "pairs": difference.n,
        "mean": difference.mean,
        "sd": difference.sd,
        "ci95": _interval(difference.ci95),
        "p": difference.p,
        "p_sign_flip": difference.p_sign_flip,
        "comparisons": difference.comparisons,
        "p_adjusted": difference.p_adjusted,
        "confidence": difference.confidence,
        "interval": _interval(difference.interval),
        "verdict": difference.verdict,
    }


def _epoch(row: EpochRow) -> dict[str, Any]:
    data: dict[str, Any] = {
        "epoch": row.epoch,
        "train_accuracy": row.train_accuracy,
        "train_loss": row.train_loss,
        "test_accuracy": row.test_accuracy,
        "test_loss": row.test_loss,
        "lr": row.lr,
        "seconds": row.seconds,
    }
    if row.validation_accuracy is not None:
        data["validation_accuracy"] = row.validation_accuracy
        data["validation_loss"] = row.validation_loss
    return data


def _interval(ends: tuple[float, float] | None) -> list[float | None]:
    """Always two ends, so that a program may unpack them."""
    return [None, None] if ends is None else list(ends)


def rounded(data: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data for JSON: floats to 12 digits, and those that JSON has no form for as null."""
    return {key: _rounded(value) for key, value in data.items()}


def _rounded(value: Any) -> Any:
    """Plain data with floats rounded, and those that JSON has no form for as null."""
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if isfinite(value) else None
    if isinstance(value, Mapping):
        return rounded(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(item) for item in value]
    return value
