"""Records and analysis to the page: what stands where, in which words, and the file itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from kilonet.analysis import RungAnalysis, Statistics, StudyAnalysis
from kilonet.analysis.toml import inline
from kilonet.analysis.words import EQUAL, count, interval, percent
from kilonet.atomic import write_atomically
from kilonet.data import Dataset, load_dataset
from kilonet.report import standing, tables
from kilonet.report.html import charts, evidence, ladder, reproduce
from kilonet.report.html.evidence import Archive
from kilonet.report.html.pictures import augmented_samples, kernels, receptive_fields
from kilonet.report.markdown import budget_words
from kilonet.report.provenance import environment_lines
from kilonet.spec import Net, to_toml
from kilonet.study import RungResult, StudyResult
from kilonet.summary import Summary, summarise
from kilonet.table import Table

NUM_MISTAKES = 30
"""Images in the gallery of the best rung."""

NUM_OTHER_MISTAKES = 60
"""Images in the galleries of all other rungs together: the file has to stay small."""

MAX_LOG_ROWS = 6000
"""Epochs in all log tables together; beyond, each rung shows its first seed's alone."""

_INTERVAL = re.compile(r"\[[-+]?[0-9.]+, [-+]?[0-9.]+\]")

_Context = dict[str, Any]


def write_html(
    result: StudyResult,
    analysis: StudyAnalysis,
    path: Path,
    *,
    has_target: bool = True,
    load: Callable[[str], Dataset] = load_dataset,
) -> None:
    """Write the report as one HTML file that needs no other and asks for none.

    Args:
        result: the study, or the part of it that has run; or one run, as a study of one rung.
        analysis: of the same rungs.
        path: the file.
        has_target: False for a run that belongs to no study: nothing is held against the target.
        load: name or path → data set, for what the records alone don't show.

    Raises:
        StoreError: if the file cannot be written.
    """
    text = render_html(result, analysis, folder=path.parent, has_target=has_target, load=load)
    write_atomically(path, text)


def render_html(
    result: StudyResult,
    analysis: StudyAnalysis,
    *,
    folder: Path,
    has_target: bool = True,
    load: Callable[[str], Dataset] = load_dataset,
) -> str:
    """The page's text; as :func:`write_html`, paths being relative to ``folder``."""
    page = _Page(
        result=result,
        analysis=analysis,
        folder=folder,
        target=analysis.target if has_target else None,
        archive=Archive(load),
    )
    return _environment().get_template("page.html.j2").render(page.context())


@dataclass(frozen=True, kw_only=True)
class _Page:
    result: StudyResult
    analysis: StudyAnalysis
    folder: Path
    target: float | None
    archive: Archive

    def context(self) -> _Context:
        study = self.result.study
        best = standing.best_rung(self.analysis)
        pairs = list(zip(self.result.rungs, self.analysis.rungs, strict=True))
        ran, rung = pairs[best]
        closer = self._closer(ran, rung, most=NUM_MISTAKES)
        others = [pair for i, pair in enumerate(pairs) if i != best]
        share = max(1, NUM_OTHER_MISTAKES // max(1, len(others)))
        return {
            "title": study.name,
            "target": None if self.target is None else percent(self.target),
            "budget": budget_words(self.result),
            "seeds": count(min(r.seeds for r in self.analysis.rungs), "seed"),
            "unfinished": standing.unfinished(self.result),
            "facts": self._facts(ran, rung),
            "ladder": self._ladder() if self.target is not None else None,
            "conclusions": self.analysis.conclusions if self.target is not None else (),
            "rungs": list(self._rungs()),
            "best_note": standing.BEST_NOTE if others else "",
            "closer": closer,
            "others": [self._closer(*pair, most=share) for pair in others],
            "samples": self._samples(),
            "kernels": self._kernels(ran, rung),
            "networks": self._networks(best),
            "toml": to_toml(study if self.target is not None else ran.records[0].run),
            "environment": environment_lines(self.result),
            "commands": reproduce.commands(
                self.result, folder=self.folder, is_study=self.target is not None
            ),
        }

    def _facts(self, ran: RungResult, rung: RungAnalysis) -> list[tuple[str, str, str]]:
        """(label, figure, note) of the numbers to be seen first, the best rung's."""
        several = len(self.result.rungs) > 1
        which = f"rung {rung.number}, {rung.name}: the highest, so a little optimistic"
        notes = [] if rung.final.ci95 is None else [f"95% interval {interval(*rung.final.ci95)}"]
        if several:
            notes.append(which)
        facts = [
            ("Final test accuracy", percent(rung.final.mean), "; ".join(notes)),
            (
                "Parameters",
                f"{ran.parameters:,}",
                budget_words(self.result).removeprefix(", with "),
            ),
            ("Test images", f"{self.analysis.test_images:,}", ""),
        ]
        if self.target is not None:
            reached = f"{rung.reached} of {rung.seeds}"
            note = f"at least {percent(self.target)} in each of the last three epochs"
            facts.insert(1, ("Seeds that reached the target", reached, note))
        return facts

    def _ladder(self) -> _Context:
        axis = ladder.ladder_axis(self.analysis)
        table = _with_whole_intervals(tables.ladder(self.result, self.analysis))
        error = max(rung.binomial for rung in self.analysis.rungs)
        rows = []
        for ran, rung in zip(self.result.rungs, self.analysis.rungs, strict=True):
            rows.append(
                {
                    "number": rung.number,
                    "name": rung.name,
                    "parameters": f"{ran.parameters:,}",
                    "strip": ladder.ladder_strip(rung, axis=axis, error=error),
                    "mean": percent(rung.final.mean),
                    "spread": _spread(rung.final),
                    "reached": f"{rung.reached} of {rung.seeds}",
                    "all": rung.reached == rung.seeds,
                }
            )
        return {
            "rows": rows,
            "axis": ladder.ladder_scale(self.analysis, axis=axis),
            "table": table,
            "note": tables.LADDER_NOTE,
            "several": any(rung.seeds > 1 for rung in self.analysis.rungs),
            "binomial": f"{error:.2f}",
            "images": f"{self.analysis.test_images:,}",
        }

    def _rungs(self) -> Iterator[_Context]:
        study = self.result.study
        names = [rung.step.name for rung in study.rungs]
        epochs = sum(len(record.rows) for ran in self.result.rungs for record in ran.records)
        for ran, rung in zip(self.result.rungs, self.analysis.rungs, strict=True):
            lone = self.target is None
            budget = study.budget.parameters
            logged = ran.records if epochs <= MAX_LOG_ROWS else ran.records[:1]
            yield {
                "number": rung.number,
                "name": rung.name,
                "target": ran.rung.step.target,
                "change": "" if lone else tables.change_line(ran),
                "result": standing.lone_result(ran, rung)
                if lone
                else tables.result_lines(ran, rung, budget=budget),
                "seeds": None if lone else tables.seeds(ran, rung),
                "seeds_note": f"* Best epoch: {tables.OPTIMISTIC}.",
                "sentences": standing.lone_sentences(rung) if lone else rung.sentences,
                "next_rung": names[rung.number] if rung.number < len(names) else "",
                "suggestions": () if lone else rung.next_steps[: tables.NUM_SUGGESTIONS],
                "next_note": tables.NEXT_NOTES[rung.judged_on],
                "logs": [(record.run.train.seed, record.log_table) for record in logged],
                "not_logged": len(ran.records) - len(logged),
                "curves": charts.curves(
                    ran.records, target=self.target, name=f"rung-{rung.number}"
                ),
                "left_out": charts.left_out(ran.records, target=self.target),
                "several": len(ran.records) > 1,
            }

    def _closer(self, ran: RungResult, rung: RungAnalysis, *, most: int) -> _Context:
        """What the test images show of a rung."""
        found = self.archive.evidence(ran)
        name = f"closer-{rung.number}"
        context = {"number": rung.number, "name": rung.name, "id": name, "seeds": rung.seeds}
        if isinstance(found, str):
            return context | {"missing": found}
        calibration = found.errors.calibration
        shown = evidence.gallery(found, most=most)
        return context | {
            "classes": found.classes,
            "matrix": evidence.matrix(found),
            "pairs": evidence.pairs(found),
            "mean_wrong": evidence.mean_count(found.errors.mean_wrong, seeds=rung.seeds),
            "images": f"{found.errors.images:,}",
            "gallery": shown,
            "num_hard": len(found.errors.hard),
            "calibration": charts.calibration_curve(calibration, name=f"{name}-calibration"),
            "ece": f"{100 * calibration.ece:.2f}",
            "confidence": f"{100 * calibration.confidence:.2f}%",
            "accuracy": f"{100 * calibration.accuracy:.2f}%",
            "calibration_table": evidence.calibration_table(found),
        }

    def _samples(self) -> _Context | None:
        """What the last augmenting rung does to its training images; None where none augments."""
        augmenting = [ran for ran in self.result.rungs if ran.rung.run.data.augment]
        if not augmenting:
            return None
        ran = augmenting[-1]
        found = self.archive.images(ran)
        if isinstance(found, str):
            return {"missing": found}
        images, classes = found
        run = ran.records[0].run
        return {
            "samples": augmented_samples(run, images, classes=classes),
            "number": ran.rung.number,
            "name": ran.rung.step.name,
            "seed": run.train.seed,
            "words": f"data.augment = {inline([step.to_dict() for step in run.data.augment])}",
        }

    def _kernels(self, ran: RungResult, rung: RungAnalysis) -> _Context:
        weights = self.archive.weights(ran)
        if isinstance(weights, str):
            return {"missing": weights}
        pictures = kernels(ran.rung.run.net, weights)
        if not pictures:
            return {"missing": "The first layer's weights are no picture of one or three channels."}
        return {
            "pictures": pictures,
            "colour": ran.rung.run.net.input[0] == 3,
            "number": rung.number,
            "name": rung.name,
            "seed": ran.records[0].run.train.seed,
        }

    def _networks(self, best: int) -> list[_Context]:
        """The best rung's network, then those of other rungs that differ from it and each other."""
        order = [best, *(i for i in range(len(self.result.rungs)) if i != best)]
        nets: dict[Net, list[RungResult]] = {}
        for i in order:
            ran = self.result.rungs[i]
            nets.setdefault(ran.rung.run.net, []).append(ran)
        return [
            self._network(summarise(net), rungs, name=f"network-{i}")
            for i, (net, rungs) in enumerate(nets.items())
        ]

    def _network(self, summary: Summary, rungs: list[RungResult], *, name: str) -> _Context:
        found = self.archive.images(rungs[0])
        numbers = sorted(ran.rung.number for ran in rungs)
        return {
            "id": name,
            "rungs": f"{'Rung' if len(numbers) == 1 else 'Rungs'} {', '.join(map(str, numbers))}",
            "parameters": f"{summary.parameters:,}",
            "macs": f"{summary.macs:,}",
            "memory": f"{summary.peak_activation_bytes / 1024:.1f} KiB",
            "channels": summary.channel_line,
            "layers": summary.layers_table,
            "fields": summary.receptive_field_table,
            "drawings": []
            if isinstance(found, str)
            else receptive_fields(summary, found[0].test_images, name=name),
        }


def _with_whole_intervals(table: Table) -> Table:
    """The table with cells that break before and behind an interval, but not within it."""
    rows = tuple(tuple(_INTERVAL.sub(_unbroken, cell) for cell in row) for row in table.rows)
    return replace(table, rows=rows)


def _unbroken(interval: re.Match[str]) -> str:
    return interval.group().replace(" ", "\u00a0")


def _spread(final: Statistics) -> str:
    if final.ci95 is None:
        return "one seed" if final.n == 1 else EQUAL
    return interval(*final.ci95)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("kilonet.report.html", "."),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style"] = _style()
    return environment


def _style() -> Markup:
    # The house's own, without a "</style>" in it: nothing to escape.
    return Markup((files("kilonet.report.html") / "page.css").read_text("utf-8"))  # noqa: S704
