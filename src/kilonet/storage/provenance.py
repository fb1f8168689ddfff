"""Provenance of a result: engine, data, versions, machine and source; stored with every run."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from kilonet.storage.environment import cpu_name, package_versions, source_revision


@dataclass(frozen=True, kw_only=True)
class EngineInfo:
    """The engine that trained.

    Attributes:
        name: ``native``, ``torch``, or the name of the user's own engine.
        description: one line: engine, version, device, threads.
        version: of the engine.
        device: ``cpu``, ``cuda:0``, …
        instruction_set: of the native engine; "" for others.
        threads: if the bits depend on their number, else None.
    """

    name: str = ""
    description: str = ""
    version: str = ""
    device: str = ""
    instruction_set: str = ""
    threads: int | None = None

    @property
    def setting(self) -> EngineInfo:
        """The fields that the bits depend on: all but the description."""
        return replace(self, description="")


@dataclass(frozen=True, kw_only=True)
class DataInfo:
    """The images that a run was trained and tested on.

    Attributes:
        name: of the data set.
        sha256: its fingerprint, in hex; "" if unknown.
        train_images, test_images: counts; None if unknown, and of test images that are not used.
        classes: the classes' names, in the order of the labels; () if unknown.
        path: absolute, that the images were read from; "" if they were not read from a path.
    """

    name: str = ""
    sha256: str = ""
    train_images: int | None = None
    test_images: int | None = None
    classes: tuple[str, ...] = ()
    path: str = ""


@dataclass(frozen=True, kw_only=True)
class Normalization:
    """What the pixels, scaled to [0, 1], are normalized with: (pixel − mean) / std.

    Attributes:
        mean, std: of each channel, or one for all; () if unknown.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()

    def __str__(self) -> str:
        mean, std = (", ".join(f"{v:.6g}" for v in values) for values in (self.mean, self.std))
        return f"mean {mean}, standard deviation {std}"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The computer.

    Attributes:
        cpu: name of the processor.
        cores: logical processors; None if unknown.
        system: operating system and architecture.
    """

    cpu: str = ""
    cores: int | None = None
    system: str = ""


@dataclass(frozen=True, kw_only=True)
class Source:
    """The code that ran.

    Attributes:
        sha256: digest of the package's files.
        commit: of a git checkout, else "".
        modified: whether the checkout had changes; None without one.
    """

    sha256: str = ""
    commit: str = ""
    modified: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """A finished run that a run builds on.

    Attributes:
        role: dotted path in the spec that names it, ``train.teacher`` or ``train.init``; or
            ``extended``: the run began with its last checkpoint.
        path: absolute, of its folder at that time.
        run: its content hash, in hex.
        sha256: digest of its network and weights, see
            :class:`kilonet.storage.trained.TrainedNetwork`; of an extended run "".
        epochs: that it trained; None if unknown.
    """

    role: str = ""
    path: str = ""
    run: str = ""
    sha256: str = ""
    epochs: int | None = None


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """How and where a run, or a part of it, was trained.

    Attributes:
        engine, data, normalization, machine, source: see their classes; versions before 0.2 did
            not record the normalization.
        versions: package → version, including Python.
        lineage: the runs that it builds on.
        started: ISO 8601, UTC.
        after_epoch: of a resumption, the last epoch finished before it; else None.
        resumed: resumptions in a changed environment, in order.
    """

    engine: EngineInfo = EngineInfo()
    data: DataInfo = DataInfo()
    normalization: Normalization = Normalization()
    machine: Machine = Machine()
    source: Source = Source()
    versions: Mapping[str, str] = field(default_factory=dict)
    lineage: tuple[Ancestor, ...] = ()
    started: str = ""
    after_epoch: int | None = None
    resumed: tuple[Provenance, ...] = ()

    @classmethod
    def of_now(
        cls, *, engine: EngineInfo, data: DataInfo, normalization: Normalization
    ) -> Provenance:
        """The provenance of a run that this process starts now."""
        return cls(
            engine=engine,
            data=data,
            normalization=normalization,
            machine=Machine(
                cpu=cpu_name(),
                cores=os.cpu_count(),
                system=f"{platform.system()} {platform.machine()}",
            ),
            source=Source(**source_revision()),
            versions=package_versions(),
            started=datetime.now(UTC).isoformat(timespec="seconds"),
        )

    @property
    def engines(self) -> tuple[EngineInfo, ...]:
        """The settings of the engines that trained its epochs, each once, in order."""
        resumed = [part.engine.setting for part in self.resumed if part.engine.name]
        return tuple(dict.fromkeys([self.engine.setting, *resumed]))

    @property
    def last_engine(self) -> EngineInfo:
        """The engine that trained the most recent epoch."""
        return next((r.engine for r in reversed(self.resumed) if r.engine.name), self.engine)

    def differences(self, other: Provenance) -> list[str]:
        """Names of the fields that differ: engine, machine, source, versions.

        Data are not compared, because a study may change them between stages.
        """
        same = {
            "engine": self.engine.setting == other.engine.setting,
            "machine": self.machine == other.machine,
            "source": self.source == other.source,
            "versions": dict(self.versions) == dict(other.versions),
        }
        return [name for name, equal in same.items() if not equal]

    def to_json(self) -> dict[str, Any]:
        """The content of ``environment.json``, without unknown values."""
        packages = {name: found for name, found in self.versions.items() if name != "python"}
        content = {
            "after_epoch": self.after_epoch,
            "started": self.started,
            "engine": _known(vars(self.engine)),
            "data": _known(vars(self.data)),
            "normalization": _known(vars(self.normalization)),
            "packages": packages,
            "python": self.versions.get("python", ""),
            "system": self.machine.system,
            "cpu": self.machine.cpu,
            "cores": self.machine.cores,
            "source": _known(vars(self.source)),
            "lineage": [_known(vars(ancestor)) for ancestor in self.lineage],
            "resumed": [resumption.to_json() for resumption in self.resumed],
        }
        return _known(content) | {"engine": content["engine"], "data": content["data"]}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Provenance:
        """The inverse of :meth:`to_json`; keys that older files lack are unknown values."""
        packages = _table(content, "packages")
        versions = {"python": content.get("python"), **packages}
        resumed, lineage = content.get("resumed", []), content.get("lineage", [])
        return cls(
            engine=EngineInfo(**_fields(EngineInfo, _table(content, "engine"))),
            data=DataInfo(**_fields(DataInfo, _table(content, "data"))),
            normalization=Normalization(**_fields(Normalization, _table(content, "normalization"))),
            machine=Machine(**_fields(Machine, content)),
            source=Source(**_fields(Source, _table(content, "source"))),
            versions={name: str(version) for name, version in versions.items() if version},
            lineage=tuple(
                Ancestor(**_fields(Ancestor, each))
                for each in (lineage if isinstance(lineage, list) else [])
                if isinstance(each, Mapping)
            ),
            started=str(content.get("started", "")),
            after_epoch=content.get("after_epoch"),
            resumed=tuple(cls.from_json(each) for each in resumed if isinstance(each, Mapping)),
        )


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value not in (None, "", (), [], {})}


def _table(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = content.get(key)
    return found if isinstance(found, Mapping) else {}


def _fields(kind: type[Any], content: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a dataclass's fields, without those of a wrong type."""
    defaults = vars(kind())
    values = {name: content[name] for name in defaults if name in content}
    # JSON has no tuples.
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return {
        name: value
        for name, value in values.items()
        if isinstance(value, int if defaults[name] is None else type(defaults[name]))
    }
