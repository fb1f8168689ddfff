"""Finished runs that a run builds on: teachers, and the weights that it starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from kilonet.spec.base import Spec
from kilonet.spec.invalid import LEFT_OUT
from kilonet.spec.ranges import Rate

TEACHER, INIT = "train.teacher", "train.init"
"""Dotted paths of the two, in a run."""


class Source(Spec):
    """A finished run of kilonet's, identified by what it trained, not by its folder.

    Attributes:
        folder: of the run; a relative path starts as every path of a spec.
        sha256: digest of its network, normalization and final weights, in hex, see
            :class:`kilonet.storage.trained.TrainedNetwork`. Left out: that of the folder, which a
            training fills in. The content hash covers it in place of the folder.
    """

    shorthand: ClassVar[str] = "folder"
    belonging: ClassVar[Mapping[str, tuple[str, ...]]] = {"folder": ("sha256",)}

    folder: str = Field(min_length=1)
    sha256: str = Field(default="", pattern="^([0-9a-f]{64})?$")

    def _identity(self) -> Any:
        found = super()._identity()
        if self.sha256:
            del found["folder"]
        return found

    def __eq__(self, other: object) -> bool:
        """Whether it is the same run: by its digest, where both state it."""
        if type(other) is not type(self):
            return NotImplemented
        known = self.sha256 and getattr(other, "sha256", "")
        left_out = {"folder"} if known else {"sha256"}
        return self.model_dump(exclude=left_out) == other.model_dump(exclude=left_out)

    def __hash__(self) -> int:
        return hash(type(self))  # equal ones may state different folders, or no digest


def _as_folder(value: Any) -> Any:
    return {"folder": value} if isinstance(value, str) else value


class Teacher(Spec):
    """Knowledge distillation: what the network is to learn from trained ones, besides the labels.

    The loss is (1 − weight) · CE + weight · T² · KL(p ‖ softmax(logits / T)): CE is the
    cross-entropy with the labels, smoothed as the run says; p is the mean of the teachers'
    softmax(logits / T). Source: Hinton, Vinyals and Dean, "Distilling the knowledge in a neural
    network", 2015, section 2. The teachers see the very image that the network sees, augmented by
    the same draw: "consistent teaching" of Beyer et al., "Knowledge distillation: a good teacher is
    patient and consistent", CVPR 2022.

    Attributes:
        runs: the teachers, finished runs on images of the same shape and classes.
        weight: share of the teachers in the loss; with 1 the labels are not used.
        temperature: T, which softens both sides.
    """

    shorthand: ClassVar[str] = "runs"

    runs: Annotated[
        tuple[Annotated[Source, BeforeValidator(_as_folder)], ...],
        Field(min_length=1),
        BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    ]
    weight: Annotated[float, Field(gt=0, le=1)] = 0.9
    temperature: Rate = 4.0


class Init(Source):
    """The run whose final weights a training starts from, in place of random ones.

    Attributes:
        folder, sha256: as of :class:`Source`.
        strict: whether all weights must have the names and shapes of the network's; else those that
            have are taken, and the others are drawn as without ``init``.
    """

    strict: bool = True


def _teaching(value: Any) -> Any:
    if value == LEFT_OUT:
        return None
    return {"runs": value} if isinstance(value, str | list | tuple) else value


def _starting(value: Any) -> Any:
    return None if value == LEFT_OUT else _as_folder(value)


Teaching = Annotated[Teacher | None, BeforeValidator(_teaching)]
Starting = Annotated[Init | None, BeforeValidator(_starting)]


def sources(train: Any) -> list[tuple[str, Source]]:
    """All runs that a training builds on, each with its dotted path in the run."""
    found: list[tuple[str, Source]] = []
    if train.init is not None:
        found.append((INIT, train.init))
    if train.teacher is not None:
        found += [(TEACHER, source) for source in train.teacher.runs]
    return found


Change = Callable[[str, dict[str, Any]], Mapping[str, Any]]
"""Dotted path and plain data of a source → its new plain data."""


def with_sources(data: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """Plain data of a run or a study with each source changed, in stages too; not yet validated.

    What is no source, such as ``none`` or a value of a wrong type, is kept.
    """
    found = dict(data)
    if isinstance(found.get("train"), Mapping):
        found["train"] = {
            key: _changed(f"train.{key}", value, change) for key, value in found["train"].items()
        }
    for stages in ("stage", "step"):  # the name of stages up to version 0.1
        if isinstance(found.get(stages), list):
            found[stages] = [_changed_stage(stage, change) for stage in found[stages]]
    return found


def _changed_stage(stage: Any, change: Change) -> Any:
    if not isinstance(stage, Mapping) or not isinstance(stage.get("change"), Mapping):
        return stage
    changed: dict[str, Any] = {}
    for path, value in stage["change"].items():
        above, _, last = path.rpartition(".")
        kind = next((kind for kind in (TEACHER, INIT) if f"{path}.".startswith(f"{kind}.")), "")
        if kind and last == "folder" and isinstance(value, str):
            for key, part in _source(kind, {"folder": value}, change).items():
                changed[f"{above}.{key}"] = part
        else:
            changed[path] = _changed(path, value, change)
    return {**stage, "change": changed}


def _changed(path: str, value: Any, change: Change) -> Any:
    """The value of a dotted path, which may be a teacher, its runs, one of these, or an init."""
    if value == LEFT_OUT:
        return value
    if path == INIT:
        return _source(INIT, value, change)
    if path == TEACHER:
        if not isinstance(value, Mapping):
            return {"runs": _runs(value, change)} if isinstance(value, str | list) else value
        if "runs" in value:
            return {**value, "runs": _runs(value["runs"], change)}
    if path == f"{TEACHER}.runs":
        return _runs(value, change)
    if path.removeprefix(f"{TEACHER}.runs.").isdecimal():
        return _source(TEACHER, value, change)
    return value


def _runs(value: Any, change: Change) -> Any:
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return value
    return [_source(TEACHER, run, change) for run in value]


def _source(kind: str, value: Any, change: Change) -> Any:
    value = _as_folder(value)
    if not isinstance(value, Mapping) or not isinstance(value.get("folder"), str):
        return value
    # An empty path is an error of the spec.
    return dict(change(kind, dict(value))) if value["folder"] else dict(value)
