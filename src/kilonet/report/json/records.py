"""Studies and runs as plain data: keys that programs rely on, see the design's section JSON.

Accuracies are in percent, times in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from kilonet.analysis import Difference, Effect, StageAnalysis, StudyAnalysis
from kilonet.storage.record import RunRecord
from kilonet.study import StageResult, StudyResult

_DIGITS = 12  # significant ones: the last of sixteen are rounding errors
_MEAN = ("mean", "sd", "ci95", "bootstrap95", "minimum", "maximum")


def study_json(result: StudyResult, analysis: StudyAnalysis) -> dict[str, Any]:
    """A study for ``study … --json``.

    Keys: ``study``, ``target``, ``stages`` (each: ``name``, ``parameters``, ``mean``, ``ci95``
    [low, high], both null with one seed and with equal seeds, ``reached``, ``seeds`` (each:
    ``seed``, ``run``, ``final_test_accuracy``, ``best_test_accuracy``, ``reached``)). Further keys:
    ``judged_on`` (the split that stages are compared and picked by), the folder, other statistics
    (see docs/statistics.md), the effect of each stage, the sensitivity of the study, ``findings``
    and ``suggestions``. ``mean`` and ``effect`` are of test accuracies; of a stage that holds
    images out ``validation`` has the same of validation accuracies (else null), and each seed
    ``final_validation_accuracy``.
    """
    return rounded(
        {
            "study": result.study.name,
            "folder": str(result.path),
            "target": result.study.target,
            "budget": result.study.budget.to_dict(),
            "test_images": analysis.test_images,
            "judged_on": analysis.judged_on,
            "stages": [
                _stage(each, stage)
                for each, stage in zip(result.stages, analysis.stages, strict=True)
            ],
            "sensitivity": vars(analysis.sensitivity),
            "conclusions": list(analysis.conclusions),
        }
    )


def run_json(record: RunRecord) -> dict[str, Any]:
    """A run for ``train … --json``.

    Keys: ``run`` (folder), ``engine``, ``parameters``, ``seconds``, ``epochs`` (each: ``epoch``,
    ``train_accuracy``, ``train_loss``, ``test_accuracy``, ``test_loss``, ``lr``, ``seconds``; with
    a validation split ``validation_accuracy`` and ``validation_loss`` too). Further keys: ``seed``
    and, after the first epoch, ``final_validation_accuracy`` (with a split),
    ``final_test_accuracy`` and ``best_test_accuracy``; with early stopping ``final_epoch``, whose
    weights are final, ``stopped_early`` and ``ending``, a sentence. A run that does not use the
    test set has no key of a test accuracy or loss.
    """
    data: dict[str, Any] = {
        "run": str(record.path),
        "engine": record.provenance.engine.name or None,
        "seed": record.run.train.seed,
        "parameters": record.run.num_parameters,
        "seconds": sum(row.seconds for row in record.rows),
        "epochs": [
            {key: value for key, value in vars(row).items() if value is not None}
            for row in record.rows
        ],
    }
    if record.rows:
        data |= _accuracies(record)
    if record.ending:
        data |= _ending(record)
    return rounded(data)


def _stage(result: StageResult, stage: StageAnalysis) -> dict[str, Any]:
    return {
        "number": stage.number,
        "name": stage.name,
        "target": result.stage.target,
        "change": result.stage.change,
        "parameters": result.parameters,
        "validation": _validation(stage.validation),
        **values_of(stage.final, *_MEAN, "intervals_disagree"),
        "best": values_of(stage.best, *_MEAN),
        "binomial_error": stage.binomial,
        "binomial95": stage.binomial95,
        "mean_last_five": stage.last_five.mean,
        "best_train_accuracy": stage.best_train.mean,
        "reached": stage.reached,
        "share_at_target": [seeds / stage.seeds for seeds in stage.at_target],
        "seeds": [_seed(record, target=stage.target) for record in result.records],
        "effect": _effect(stage.effect),
        "effect_on_first": _effect(stage.effect_on_first),
        "findings": [
            values_of(finding, "kind", "verdict", "sentence", "figures")
            for finding in stage.findings
        ],
        "suggestions": [
            {**values_of(each, "title", "reason", "change"), "judged_on": stage.judged_on}
            for each in stage.suggestions
        ],
    }


def _validation(stage: StageAnalysis | None) -> dict[str, Any] | None:
    """The statistics of the validation accuracies."""
    if stage is None:
        return None
    return {
        "images": stage.measured.images,
        **values_of(stage.final, *_MEAN, "intervals_disagree"),
        "effect": _effect(stage.effect),
        "effect_on_first": _effect(stage.effect_on_first),
    }


def _seed(record: RunRecord, *, target: float | None) -> dict[str, Any]:
    return {
        "seed": record.run.train.seed,
        "run": str(record.path),
        **_accuracies(record),
        "best_train_accuracy": record.best_train_accuracy,
        "reached": target is not None and record.reached(target),
        "seconds": sum(row.seconds for row in record.rows),
        **(_ending(record) if record.ending else {}),
    }


def _ending(record: RunRecord) -> dict[str, Any]:
    return {"final_epoch": record.final.epoch, **values_of(record, "stopped_early", "ending")}


def _accuracies(record: RunRecord) -> dict[str, Any]:
    names = ["final_test_accuracy", "best_test_accuracy"] if record.tested else []
    if record.final_validation_accuracy is not None:
        names.insert(0, "final_validation_accuracy")
    return values_of(record, *names)


def _effect(effect: Effect | None) -> dict[str, Any] | None:
    if effect is None:
        return None
    return {
        "against": effect.against,
        "final": difference_json(effect.final),
        "last_five": difference_json(effect.last_five),
        "decided_by": effect.decided_by,
        "deciding": difference_json(effect.deciding),
    }


def difference_json(difference: Difference) -> dict[str, Any]:
    """A difference, as under ``effect`` in ``study --json``."""
    own = ("mean", "sd", "ci95", "p", "p_sign_flip")
    moderated = ("sd_moderated", "freedom", "p_moderated")
    corrected = ("comparisons", "p_adjusted", "confidence", "interval", "verdict")
    return {"pairs": difference.n, **values_of(difference, *own, *moderated, *corrected)}


def values_of(source: object, *names: str) -> dict[str, Any]:
    """Attributes by name; an interval always has two ends, so that programs can unpack it."""
    values = {name: getattr(source, name) for name in names}
    for name in ("ci95", "bootstrap95", "interval"):
        if name in values and values[name] is None:
            values[name] = [None, None]
    return values


def rounded(data: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data for JSON: floats to 12 digits; infinite ones and NaN as null."""
    return {key: _rounded(value) for key, value in data.items()}


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{_DIGITS}g}") if isfinite(value) else None
    if isinstance(value, Mapping):
        return rounded(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_rounded(item) for item in value]
    return value
