"""kilonet: a workbench for image classifiers of a few thousand parameters.

import kilonet as kn

lines = ["conv 8", "maxpool 2", "conv 16", "gap", "pointwise 10 bare"]
net = kn.Net(input=(1, 28, 28), layers=lines)
print(kn.summarize(net))                        # layers, parameters, receptive fields
with kn.RunProgress() as progress:
    record = kn.train(kn.Run(net=net, train=kn.Train(epochs=1)), observer=progress)
print(record.log_table)                         # in a notebook, record displays as a table
model = record.model()                          # or kn.load(folder)
print(model.evaluate(images, labels))           # images (n, 28, 28) uint8

study = kn.load_study("mnist-8k")
with kn.StudyProgress(study) as progress:
    kn.run_study(study, observer=progress)      # trains every stage, writes the reports
"""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kilonet.data import Dataset, describe, load_dataset
    from kilonet.data.preprocess import Preprocess
    from kilonet.errors import KilonetError
    from kilonet.report.comparison import compare
    from kilonet.report.figures import plot
    from kilonet.report.rebuild import analyze_records as analyze
    from kilonet.report.terminal.run_progress import RunProgress
    from kilonet.report.terminal.search_progress import SearchProgress
    from kilonet.report.terminal.study_progress import StudyProgress
    from kilonet.search import (
        SearchObserver,
        SearchResult,
        Space,
        load_space,
        read_search,
        suggest,
    )
    from kilonet.spec import (
        EMA,
        SGD,
        SWA,
        Adam,
        AdamW,
        Affine,
        BatchSchedule,
        Budget,
        ColorJitter,
        Constant,
        Cosine,
        Crop,
        Data,
        EarlyStopping,
        Elastic,
        Erasing,
        Init,
        MultiStep,
        Muon,
        Net,
        OneCycle,
        Plateau,
        Rotation,
        Run,
        Stage,
        Step,
        Study,
        Teacher,
        Train,
        load_net,
        load_run,
        load_study,
    )
    from kilonet.storage.record import EpochRow, RunRecord
    from kilonet.storage.run_folder import RunFolder
    from kilonet.study import StudyObserver, StudyResult, Trial, read_study, run_study
    from kilonet.summary import Summary, summarize
    from kilonet.table import Table
    from kilonet.training.loop import train
    from kilonet.training.model import Evaluation, Model, load
    from kilonet.training.observer import Observer
    from kilonet.training.range_test import RangeTest, find_lr

__version__ = _version("kilonet")

__all__ = [
    "EMA",
    "SGD",
    "SWA",
    "Adam",
    "AdamW",
    "Affine",
    "BatchSchedule",
    "Budget",
    "ColorJitter",
    "Constant",
    "Cosine",
    "Crop",
    "Data",
    "Dataset",
    "EarlyStopping",
    "Elastic",
    "EpochRow",
    "Erasing",
    "Evaluation",
    "Init",
    "KilonetError",
    "Model",
    "MultiStep",
    "Muon",
    "Net",
    "Observer",
    "OneCycle",
    "Plateau",
    "Preprocess",
    "RangeTest",
    "Rotation",
    "Run",
    "RunFolder",
    "RunProgress",
    "RunRecord",
    "SearchObserver",
    "SearchProgress",
    "SearchResult",
    "Space",
    "Stage",
    "Step",
    "Study",
    "StudyObserver",
    "StudyProgress",
    "StudyResult",
    "Summary",
    "Table",
    "Teacher",
    "Train",
    "Trial",
    "__version__",
    "analyze",
    "compare",
    "describe",
    "find_lr",
    "load",
    "load_dataset",
    "load_net",
    "load_run",
    "load_space",
    "load_study",
    "plot",
    "read_search",
    "read_study",
    "run_study",
    "search",
    "suggest",
    "summarize",
    "train",
]


# Where each name comes from. It is imported when it is first used: a process that only trains does
# not load the report, which saves 0.05 s and 5 MiB.
_ROOMS = {
    "kilonet.data": (
        "Dataset",
        "describe",
        "load_dataset",
    ),
    "kilonet.data.preprocess": ("Preprocess",),
    "kilonet.errors": ("KilonetError",),
    "kilonet.report.comparison": ("compare",),
    "kilonet.report.terminal.run_progress": ("RunProgress",),
    "kilonet.report.terminal.search_progress": ("SearchProgress",),
    "kilonet.report.terminal.study_progress": ("StudyProgress",),
    "kilonet.search": (
        "SearchObserver",
        "SearchResult",
        "Space",
        "load_space",
        "read_search",
        "suggest",
    ),
    "kilonet.spec": (
        "EMA",
        "SGD",
        "SWA",
        "Adam",
        "AdamW",
        "Affine",
        "BatchSchedule",
        "Budget",
        "ColorJitter",
        "Constant",
        "Cosine",
        "Crop",
        "Data",
        "EarlyStopping",
        "Elastic",
        "Erasing",
        "Init",
        "MultiStep",
        "Muon",
        "Net",
        "OneCycle",
        "Plateau",
        "Rotation",
        "Run",
        "Stage",
        "Step",
        "Study",
        "Teacher",
        "Train",
        "load_net",
        "load_run",
        "load_study",
    ),
    "kilonet.storage.record": (
        "EpochRow",
        "RunRecord",
    ),
    "kilonet.storage.run_folder": ("RunFolder",),
    "kilonet.study": (
        "StudyObserver",
        "StudyResult",
        "Trial",
        "read_study",
        "run_study",
    ),
    "kilonet.summary": (
        "Summary",
        "summarize",
    ),
    "kilonet.table": ("Table",),
    "kilonet.training.loop": ("train",),
    "kilonet.training.model": (
        "Evaluation",
        "Model",
        "load",
    ),
    "kilonet.training.observer": ("Observer",),
    "kilonet.training.range_test": (
        "RangeTest",
        "find_lr",
    ),
}
_ROOM_OF = {name: (room, name) for room, names in _ROOMS.items() for name in names}
_ROOM_OF["analyze"] = ("kilonet.report.rebuild", "analyze_records")

_MODULES = {
    "plot": "kilonet.report.figures.plot",
    "search": "kilonet.search",  # a room that can be called, see there
}


def __getattr__(name: str) -> Any:
    if name in _ROOM_OF:
        room, own_name = _ROOM_OF[name]
        value = getattr(_import_module(room), own_name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return _import_module(_MODULES[name])
    if name.startswith("_") or _find_spec(f"kilonet.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _import_module(f"kilonet.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
