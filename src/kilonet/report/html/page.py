"""``report.html``: a study, or one run, as one file that needs nothing but a browser."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from kilonet.analysis import Statistics
from kilonet.data import Dataset
from kilonet.data.in_memory import load_to_report
from kilonet.formatting import interval, percent
from kilonet.report import tables
from kilonet.report.charts.calibration import calibration_curve
from kilonet.report.charts.curves import below_axis, curves
from kilonet.report.charts.ladder import (
    band_half_width,
    ladder_axis,
    ladder_key,
    ladder_scale,
    ladder_strip,
)
from kilonet.report.content import Content, StageContent
from kilonet.report.html import misclassified
from kilonet.report.html.artifacts import ArtifactLoader, Missing, StageErrors
from kilonet.report.html.pictures import augmented_samples, kernels, receptive_fields
from kilonet.report.html.templates import load_template
from kilonet.report.provenance import environment_lines
from kilonet.report.reproduction import SAME_NUMBERS, commands
from kilonet.spec import Module, Net, to_toml
from kilonet.spec.inline_toml import inline
from kilonet.storage.atomic import write_atomically
from kilonet.summary import Summary, summarize
from kilonet.table import Table

NUM_MISTAKES = 30
"""Images in the gallery of the best stage."""

NUM_OTHER_MISTAKES = 60
"""Images in the galleries of all other stages together: they keep the file small."""

MAX_LOG_ROWS = 6000
"""Epochs in all log tables together; with more, each stage shows its first seed's alone."""

_Context = dict[str, Any]


def write_html(
    content: Content, path: Path, *, load: Callable[[str], Dataset] = load_to_report
) -> None:
    """Write the report as one HTML file, which loads no other; ``load`` is name or path → data set.

    Raises:
        StorageError: if the file cannot be written.
    """
    write_atomically(path, render_html(content, folder=path.parent, load=load))


def render_html(
    content: Content, *, folder: Path, load: Callable[[str], Dataset] = load_to_report
) -> str:
    """The page's text; as :func:`write_html`, with paths relative to ``folder``."""
    page = _Page(content, folder=folder, artifacts=ArtifactLoader(load))
    return load_template("page.html.j2").render(page.context())


class _Page:
    """The values of the template."""

    def __init__(self, content: Content, *, folder: Path, artifacts: ArtifactLoader) -> None:
        self.content = content
        self.folder = folder
        self.artifacts = artifacts

    def context(self) -> _Context:
        content, best = self.content, self.content.best
        spec = content.result.study if content.has_target else best.result.records[0].run
        num_rows = sum(len(r.rows) for stage in content.stages for r in stage.result.records)
        return {
            # Functions and modules that the template calls.
            "below_axis": below_axis,
            "curves": curves,
            "calibration_curve": calibration_curve,
            "misclassified": misclassified,
            "percent": percent,
            "tables": tables,
            # What it shows.
            "content": content,
            "best": best,
            "is_study": content.has_target,
            "several": any(stage.analysis.seeds > 1 for stage in content.stages),
            "facts": self._facts(),
            "ladder": self._ladder() if content.has_target else None,
            "short_log": num_rows > MAX_LOG_ROWS,
            "errors": self._errors(),
            "samples": self._samples(),
            "kernels": self._kernels(),
            "networks": self._networks(),
            # A page may be published, so it names no folder of this machine.
            "toml": to_toml(spec, folder=self.folder),
            "environment": environment_lines(content.result),
            "commands": commands(content, folder=self.folder),
            "same_numbers": SAME_NUMBERS,
        }

    def _facts(self) -> list[tuple[str, str, str]]:
        """(label, figure, note) of the best stage's most important numbers."""
        content, stage = self.content, self.content.best.analysis
        several, name = len(content.stages) > 1, f"stage {stage.number}, {stage.name}"
        test, facts = _interval_note(stage.final), []
        if stage.validation is not None:
            held_out = _interval_note(stage.validation.final)
            if several and content.picked_by_validation:
                held_out.append(f"{name}: the highest")
            mean = percent(stage.validation.final.mean)
            facts.append(("Final validation accuracy", mean, "; ".join(held_out)))
        if several and not content.picked_by_validation:
            test.append(f"{name}: the highest, so slightly optimistic")
        facts.append(("Final test accuracy", percent(stage.final.mean), "; ".join(test)))
        facts += [(line.label, line.value, line.note) for line in tables.majority_lines(stage)]
        if content.has_target:
            note = f"at least {content.target} in each of the last three epochs"
            facts.append(("Seeds that reached the target", tables.reached_by(stage), note))
        facts.append(("Parameters", f"{content.best.result.parameters:,}", content.limits))
        return [*facts, ("Test images", f"{content.analysis.test_images:,}", "")]

    def _ladder(self) -> _Context:
        analysis = self.content.analysis
        axis, error = ladder_axis(analysis), band_half_width(analysis)
        return {
            "strip": partial(ladder_strip, axis=axis, error=error),
            "scale": ladder_scale(analysis, axis=axis),
            "key": ladder_key(analysis),
            "table": _with_unbroken_intervals(tables.ladder(self.content.result, analysis)),
        }

    def _errors(self) -> list[tuple[StageContent, StageErrors | Missing, int]]:
        """Each stage, the best one first, its errors, and the images that its gallery may have."""
        best = self.content.best
        stages = [best, *(stage for stage in self.content.stages if stage is not best)]
        share = max(1, NUM_OTHER_MISTAKES // max(1, len(stages) - 1))
        return [
            (stage, self.artifacts.errors(stage.result), NUM_MISTAKES if stage is best else share)
            for stage in stages
        ]

    def _samples(self) -> _Context | None:
        """Augmented training images of the last stage that augments; None without one."""
        augmenting = [stage for stage in self.content.stages if stage.result.stage.run.data.augment]
        if not augmenting:
            return None
        stage = augmenting[-1]
        images = self.artifacts.images(stage.result)
        if isinstance(images, Missing):
            return {"missing": images.reason}
        run = stage.result.records[0].run
        augment = inline([each.to_dict() for each in run.data.augment])
        return {
            "samples": augmented_samples(run, images),
            "stage": stage.analysis,
            "seed": run.train.seed,
            "setting": f"data.augment = {augment}",
        }

    def _kernels(self) -> _Context:
        stage = self.content.best
        weights = self.artifacts.weights(stage.result)
        if isinstance(weights, Missing):
            return {"missing": weights.reason}
        run = stage.result.records[0].run
        if run.module is not None:
            return {"missing": f"Not shown: {_unknown_layers(run.module)}."}
        pictures = kernels(run.net, weights)
        if not pictures:
            return {
                "missing": "Not shown: the first layer's filters have no one or three channels."
            }
        color = run.net.input[0] == 3
        stage_and_seed = {"stage": stage.analysis, "seed": run.train.seed}
        return {"pictures": pictures, "color": color, **stage_and_seed}

    def _networks(self) -> list[_Context]:
        """The best stage's network, then each other network of the study once."""
        best = self.content.best
        module = best.result.stage.run.module
        if module is not None:  # of a run, which is the only stage
            return [{"missing": f"Not shown: {_unknown_layers(module)}."}]
        nets: dict[Net, list[StageContent]] = {best.result.stage.run.net: []}
        for stage in self.content.stages:
            nets.setdefault(stage.result.stage.run.net, []).append(stage)
        return [
            self._network(summarize(net), stages, name=f"network-{i}")
            for i, (net, stages) in enumerate(nets.items())
        ]

    def _network(self, summary: Summary, stages: list[StageContent], *, name: str) -> _Context:
        images = self.artifacts.images(stages[0].result)
        numbers = ", ".join(str(stage.analysis.number) for stage in stages)
        fields = []
        if not isinstance(images, Missing):
            fields = receptive_fields(summary, images.data.test_images, name=name)
        stages_text = f"Stage{'s'[: len(stages) > 1]} {numbers}"
        return {"id": name, "stages": stages_text, "summary": summary, "fields": fields}


def _unknown_layers(module: Module) -> str:
    return (
        f"the network is a module of your own, {module.name}, with {module.num_parameters:,} "
        "parameters, whose layers are unknown here"
    )


def _interval_note(statistics: Statistics) -> list[str]:
    return [] if statistics.ci95 is None else [f"95% interval {interval(*statistics.ci95)}"]


def _with_unbroken_intervals(table: Table) -> Table:
    """The table with cells that have no line breaks within an interval."""
    rows = tuple(tuple(cell.replace(", ", ",\u00a0") for cell in row) for row in table.rows)
    return replace(table, rows=rows)
