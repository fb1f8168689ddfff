"""kilonet: a workbench for image classifiers of a few thousand parameters.

    import kilonet as kn

    lines = ["conv 8", "maxpool 2", "conv 16", "gap", "pointwise 10 bare"]
    net = kn.Net(input=(1, 28, 28), layers=lines)
    print(kn.summarise(net))                        # layers, parameters, receptive fields
    with kn.Live() as live:
        record = kn.train(kn.Run(net=net, train=kn.Train(epochs=1)), observer=live)
    print(record.log_table)                         # in a notebook, record shows itself

    with kn.Climb(kn.load_study("mnist-8k")) as climb:
        kn.run_study(climb.study, observer=climb)   # the ladder, and its report.md

What is stated is in :mod:`kilonet.spec`; studies, analysis and reports have rooms of their own.
"""

from importlib import import_module as _import_module
from importlib.metadata import version as _version
from importlib.util import find_spec as _find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kilonet.data import Dataset, describe, load_dataset
    from kilonet.errors import KilonetError
    from kilonet.record import RunRecord
    from kilonet.report.climb import Climb
    from kilonet.report.live import Live
    from kilonet.run import train
    from kilonet.spec import (
        Budget,
        Data,
        Net,
        Run,
        Study,
        StudyStep,
        Train,
        load_net,
        load_run,
        load_study,
    )
    from kilonet.store import RunFolder
    from kilonet.study import StudyResult, run_study
    from kilonet.summary import Summary, summarise
    from kilonet.table import Table

__version__ = _version("kilonet")

__all__ = [
    "Budget",
    "Climb",
    "Data",
    "Dataset",
    "KilonetError",
    "Live",
    "Net",
    "Run",
    "RunFolder",
    "RunRecord",
    "Study",
    "StudyResult",
    "StudyStep",
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
    "summarise",
    "train",
]


# Where each name comes from. It is imported once it is asked for: a process that trains needs none
# of what shows results, and saves 0.05 s and 5 MiB.
_ROOMS = {
    "kilonet.data": ("Dataset", "describe", "load_dataset"),
    "kilonet.errors": ("KilonetError",),
    "kilonet.record": ("RunRecord",),
    "kilonet.report.climb": ("Climb",),
    "kilonet.report.live": ("Live",),
    "kilonet.run": ("train",),
    "kilonet.spec": (
        "Budget",
        "Data",
        "Net",
        "Run",
        "Study",
        "StudyStep",
        "Train",
        "load_net",
        "load_run",
        "load_study",
    ),
    "kilonet.store": ("RunFolder",),
    "kilonet.study": ("StudyResult", "run_study"),
    "kilonet.summary": ("Summary", "summarise"),
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
