"""What the user states: Net, Data, Train, Run, Study. Frozen, validated, hashed, TOML both ways."""

from kilonet.spec.base import InvalidSpecError, Spec
from kilonet.spec.data import (
    Affine,
    Augmentation,
    ColorJitter,
    Crop,
    Data,
    Erasing,
    Rotation,
)
from kilonet.spec.files import (
    bundled_names,
    is_folder,
    load_net,
    load_net_and_budget,
    load_run,
    load_study,
    parse_setting,
    to_toml,
)
from kilonet.spec.net import Net
from kilonet.spec.study import Budget, Run, Rung, Study, StudyStep
from kilonet.spec.train import (
    EMA,
    SGD,
    Adam,
    AdamW,
    Constant,
    Cosine,
    MultiStep,
    OneCycle,
    Plateau,
    Step,
    Train,
)

__all__ = [
    "EMA",
    "SGD",
    "Adam",
    "AdamW",
    "Affine",
    "Augmentation",
    "Budget",
    "ColorJitter",
    "Constant",
    "Cosine",
    "Crop",
    "Data",
    "Erasing",
    "InvalidSpecError",
    "MultiStep",
    "Net",
    "OneCycle",
    "Plateau",
    "Rotation",
    "Run",
    "Rung",
    "Spec",
    "Step",
    "Study",
    "StudyStep",
    "Train",
    "bundled_names",
    "is_folder",
    "load_net",
    "load_net_and_budget",
    "load_run",
    "load_study",
    "parse_setting",
    "to_toml",
]
