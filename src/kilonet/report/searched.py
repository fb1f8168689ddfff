"""The content of a search's report, for every format."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from kilonet.errors import KilonetError, UsageError
from kilonet.formatting import count, interval, listed, percent, points
from kilonet.report.charts.choices import Chosen
from kilonet.report.charts.course import Step
from kilonet.report.charts.front import Candidate as Mark
from kilonet.search.importance import Importance, importances, parameter, ranked_trials
from kilonet.search.networks import best_networks
from kilonet.search.result import Candidate, Confirmed, SearchResult, SearchTrial, State
from kilonet.storage.record import RunRecord
from kilonet.storage.run_folder import RunFolder

NUM_CHOICES = 6
"""Choices with a chart of their own: the most important ones."""

HONESTY = "Chosen on the validation split; the test set was not read."

SAME_SEARCH = (
    "Every run's numbers are a function of its run.toml and its seed. With one job the same search "
    "draws the same candidates; with several, trials end in another order, and the sampler learns "
    "in that order."
)

IMPORTANCE_NOTE = (
    "PED-ANOVA (Watanabe et al. 2023): how far the values of the best fifth of the trials are from "
    "those of all. Trials are ranked by how long they trained, then by accuracy. It tells what "
    "went with being among the best in this space and this search, not what causes it; it looks at "
    "one choice at a time, so choices that only matter together are missed. Chance is what 1 in 20 "
    "random rankings exceeds: a choice that is not above it may have its share by chance."
)


@dataclass(frozen=True, kw_only=True)
class SearchContent:
    """A report of a search, finished or not.

    Attributes:
        result: the search; at least one trial has trained.
    """

    result: SearchResult

    @property
    def name(self) -> str:
        """The space's."""
        return self.result.space.name

    @property
    def limits(self) -> str:
        """The budget in words; "" without one."""
        budget = self.result.space.budget
        limits = ((budget.parameters, "parameter"), (budget.epochs, "epoch"))
        words = [count(limit, noun) for limit, noun in limits if limit is not None]
        return f"at most {' and '.join(words)}" if words else ""

    @cached_property
    def facts(self) -> list[tuple[str, str, str]]:
        """(label, figure, note) of the most important numbers."""
        result, best = self.result, self.result.best
        trained = f"of {result.num_trials:,}" if result.trained != result.num_trials else ""
        facts = []
        if best is not None:
            of = f"trial {best.trial.number}"
            note = f"{of}, its own run, which chose it: optimistic"
            if best.confirmed is not None:
                note = f"{of}: {_over_seeds(best.confirmed)}"
            mean = percent(best.validation_accuracy)
            facts.append(("Best validation accuracy", mean, note))
            facts.append(("Parameters of the best", f"{best.parameters:,}", self.limits))
            facts.append(("Multiply-adds of the best", f"{best.macs:,}", "an image"))
        facts.append(("Trials trained", f"{result.trained:,}", trained))
        seconds = sum(trial.seconds for trial in result.trials)
        note = "of all trials, without confirmation"
        return [*facts, ("Training time", duration(seconds), note)]

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """What was found, what was confirmed, and what not."""
        result, best = self.result, self.result.best
        if best is None:
            return ("No trial was trained at full length yet, so there is no best network.",)
        return tuple(
            sentence
            for sentence in (
                self._best_sentence(best),
                self._confirmed_sentence(),
                self._optimism_sentence(best),
                self._unconfirmed_sentence(),
                _rejected_sentence(result),
            )
            if sentence
        )

    @property
    def unfinished(self) -> str:
        """A sentence about what is missing; "" where nothing is."""
        result = self.result
        if result.finished:
            return ""
        ended = result.trained - result.counts[State.RUNNING]
        trials = count(result.num_trials, "trial")
        return f"Not finished: {ended:,} of {trials} have ended. The same command continues it."

    @cached_property
    def importances(self) -> tuple[Importance, ...] | str:
        """The importance of each choice; or the reason why there is none, a sentence."""
        try:
            found = importances(self.result)
        except UsageError as error:
            return f"Not shown: {error}."
        return found or "Not shown: no choice has two values among the trained trials."

    @cached_property
    def ranked(self) -> tuple[SearchTrial, ...]:
        """The trained trials, best first."""
        return tuple(ranked_trials(self.result))

    @cached_property
    def shown(self) -> tuple[Candidate, ...]:
        """The networks to take from the search: confirmed ones, best first, then the front's."""
        return tuple(best_networks(self.result))

    def marks(self, unit: str) -> list[Mark]:
        """The chart's networks, their sizes in ``unit``: ``parameters`` or ``multiply-adds``."""

        def size(of: Candidate) -> int:
            return of.parameters if unit == "parameters" else of.macs

        front = {candidate.trial.number for candidate in self.result.front_by(size)}
        confirmed = {each.trial.number: each for each in self.result.confirmed}
        marks = []
        for trial in self.ranked:
            found = confirmed.get(trial.number)
            each = Candidate(trial=trial, confirmed=found)
            rung = trial.rungs[-1]
            text = f"trial {trial.number}: {size(each):,} {unit}, "
            if found is not None:
                text += f"mean {percent(found.mean)}, {_over_seeds(found)}"
            else:
                text += f"{percent(rung.accuracy)} after {count(rung.epochs, 'epoch')}"
            marks.append(
                Mark(
                    number=trial.number,
                    size=size(each),
                    accuracy=each.validation_accuracy,
                    trained=trial.state is State.COMPLETE or found is not None,
                    confirmed=found is not None,
                    ci95=each.ci95,
                    on_front=trial.number in front,
                    text=text,
                )
            )
        return marks

    @cached_property
    def steps(self) -> list[Step]:
        """The trials by trials that have ended."""
        return self._steps(lambda place, _: float(place))

    @cached_property
    def seconds(self) -> list[Step]:
        """The trials by the seconds of training that all before them took."""
        return self._steps(lambda _, seconds: seconds)

    @cached_property
    def rungs(self) -> tuple[tuple[int, int, int], ...]:
        """(epochs, images, trials that reached it) of each rung, the shortest first."""
        found: dict[tuple[int, int], int] = {}
        for trial in self.result.trials:
            if trial.state is not State.DUPLICATE:
                for rung in trial.rungs:
                    place = (rung.epochs, rung.images)
                    found[place] = found.get(place, 0) + 1
        places = sorted(found, key=lambda place: (place[0] * place[1], place))
        return tuple((*place, found[place]) for place in places)

    @cached_property
    def choices(self) -> list[tuple[Importance, list[Chosen]]]:
        """The most important choices, each with its trials' values and first accuracies."""
        if isinstance(self.importances, str):
            return []
        return [(each, self._chosen(each.name)) for each in self.importances[:NUM_CHOICES]]

    @cached_property
    def records(self) -> list[RunRecord]:
        """The runs whose folders can be read, for the environment."""
        folders = [rung.folder for trial in self.ranked for rung in trial.rungs]
        folders += [folder for each in self.result.confirmed for folder in each.folders]
        found = []
        for folder in dict.fromkeys(folders):
            try:
                state = RunFolder(folder).read()
            except KilonetError:
                continue  # what it would add is a line about versions
            if state is not None:
                found.append(state.record)
        return found

    @property
    def first_rung(self) -> str:
        """The first rung in words, which every trained trial had: ``2 epochs``; "" before one."""
        if not self.rungs:
            return ""
        epochs, images, _ = self.rungs[0]
        most = max(rung[1] for rung in self.rungs)
        few = f" of {images:,} images" if images < most else ""
        return f"{count(epochs, 'epoch')}{few}"

    @cached_property
    def first_accuracies(self) -> list[float]:
        """The accuracy of each trained trial at the first rung, percent."""
        return [trial.rungs[0].accuracy for trial in self.ranked]

    def _chosen(self, name: str) -> list[Chosen]:
        return [
            Chosen(
                number=trial.number,
                value=parameter(trial.values[name]),
                accuracy=trial.rungs[0].accuracy,
                trained=trial.state is State.COMPLETE,
            )
            for trial in self.ranked
            if name in trial.values
        ]

    def _steps(self, at: Callable[[int, float], float]) -> list[Step]:
        by_number = {trial.number: trial for trial in self.result.trials}
        steps, seconds = [], 0.0
        for point in self.result.course:
            trial = by_number[point.number]
            seconds += trial.seconds
            if trial.accuracy is not None:
                steps.append(
                    Step(
                        number=trial.number,
                        at=at(point.trained, seconds),
                        accuracy=trial.accuracy,
                        trained=trial.state is State.COMPLETE,
                    )
                )
        return steps

    def _best_sentence(self, best: Candidate) -> str:
        within = f" ({self.limits})" if self.limits else ""
        size = f"{count(best.parameters, 'parameter')}{within}"
        accuracy = percent(best.validation_accuracy)
        if best.confirmed is None:
            return (
                f"The best network so far, trial {best.trial.number}, has {size}; its one run has "
                f"a validation accuracy of {accuracy}, which chose it and so is optimistic."
            )
        return (
            f"The best network, trial {best.trial.number}, has {size} and a mean validation "
            f"accuracy of {accuracy}, {_over_seeds(best.confirmed)}."
        )

    def _confirmed_sentence(self) -> str:
        confirmed = self.result.confirmed
        if not confirmed:
            return "No network was confirmed with fresh seeds."
        networks = count(len(confirmed), "network")
        seeds = count(len(confirmed[0].seeds), "fresh seed")
        was = "was" if len(confirmed) == 1 else "were"
        return (
            f"{networks} {was} confirmed: trained again at full length with {seeds} each, which "
            "chose nothing before; the best has the highest mean."
        )

    def _optimism_sentence(self, best: Candidate) -> str:
        """How much the full-length runs that chose the confirmed ones were above their means."""
        chosen = [each for each in self.result.confirmed if each.trial.state is State.COMPLETE]
        if not chosen:
            return ""
        above = [(each.trial.accuracy or 0.0) - each.mean for each in chosen]
        mean = sum(above) / len(above)
        own = ""
        if best.trial.state is State.COMPLETE:
            own = f" (the best's was {percent(best.trial.accuracy or 0.0)})"
        where = "above" if mean >= 0 else "below"
        return (
            f"The single runs that chose them were {points(mean)} points {where} these means on "
            f"average{own}: why a search's own accuracies are not quoted."
        )

    def _unconfirmed_sentence(self) -> str:
        single = [each for each in self.result.front if each.confirmed is None]
        if not single or not self.result.confirmed:
            return ""
        names = listed([str(each.trial.number) for each in single])
        if len(single) == 1:
            return f"Not confirmed: of the front, trial {names}, a single run, so optimistic."
        return f"Not confirmed: of the front, trials {names}, each a single run, so optimistic."


def duration(seconds: float) -> str:
    """``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _over_seeds(confirmed: Confirmed) -> str:
    seeds = count(len(confirmed.seeds), "fresh seed")
    if confirmed.ci95 is None:
        return f"the mean of {seeds}" if len(confirmed.seeds) > 1 else f"of {seeds}"
    return f"95% interval {interval(*confirmed.ci95)} over {seeds}"


def _rejected_sentence(result: SearchResult) -> str:
    """What cost no training."""
    words = {
        State.OVER_BUDGET: "over the budget",
        State.INVALID: "no valid network",
        State.DUPLICATE: "equal to an earlier one",
    }
    numbers = {text: result.counts[state] for state, text in words.items()}
    found = [f"{number} {text}" for text, number in numbers.items() if number]
    if not found:
        return ""
    return f"{count(sum(numbers.values()), 'more candidate')} cost no training: {listed(found)}."
