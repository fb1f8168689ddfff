"""kilonet: a workbench for image classifiers of a few thousand parameters.

import kilonet as kn

lines = ["conv 8", "maxpool 2", "conv 16", "gap", "pointwise 10 bare"]
net = kn.Net(input=(1, 28, 28), layers=lines)
print(kn.summarize(net))                        # layers, parameters, receptive fields
with kn.RunProgress() as progress:
record = kn.train(kn.Run(net=net, train=kn.Train(epochs=1)), observer=progress)
print(record.log_table)                         # in a notebook, record displays as a table

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
    from kilonet.errors import KilonetError
    from kilonet.report.terminal.run_progress import RunProgress
    from kilonet.report.terminal.study_progress import StudyProgress
    from kilonet.spec import (
        Budget,
        Data,
        Net,
        Run,
        Stage,
        Study,
        Train,
        load_net,
        load_run,
        load_study,
    )
    from kilonet.storage.record import RunRecord
    from kilonet.storage.run_folder import RunFolder
    from kilonet.study import StudyResult, run_study
    from kilonet.summary import Summary, summarize
    from kilonet.table import Table
    from kilonet.training.loop import train

__version__ = _version("kilonet")

__all__ = [
    "Budget",
    "Data",
    "Dataset",
    "KilonetError",
    "Net",
    "Run",
    "RunFolder",
    "RunProgress",
    "RunRecord",
    "Stage",
    "Study",
    "StudyProgress",
    "StudyResult",
    "Summary",
    "Table",
    "Train",
    "__version__",
    "describe",
    "load_dataset",
    "load_net",
    "load_run",
    "load_study",
    "run_study",
    "summarize",
    "train",
]


# Where each name comes from. It is imported when it is first used: a process that only trains does
# not load the report, which saves 0.05 s and 5 MiB.
_ROOMS = {
    "kilonet.data": ("Dataset", "describe", "load_dataset"),
    "kilonet.errors": ("KilonetError",),
    "kilonet.storage.record": ("RunRecord",),
    "kilonet.report.terminal.study_progress": ("StudyProgress",),
    "kilonet.report.terminal.run_progress": ("RunProgress",),
    "kilonet.training.loop": ("train",),
    "kilonet.spec": (
        "Budget",
        "Data",
        "Net",
        "Run",
        "Study",
        "Stage",
        "Train",
        "load_net",
        "load_run",
        "load_study",
    ),
    "kilonet.storage.run_folder": ("RunFolder",),
    "kilonet.study": ("StudyResult", "run_study"),
    "kilonet.summary": ("Summary", "summarize"),
    "kilonet.table": ("Table",),
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}


def __getattr__(name: str) -> Any:
    if name in _ROOM_OF:
        value = getattr(_import_module(_ROOM_OF[name]), name)
        globals()[name] = value
        return value
    if name.startswith("_") or _find_spec(f"kilonet.{name}") is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _import_module(f"kilonet.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
