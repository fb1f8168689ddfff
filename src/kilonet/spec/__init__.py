"""Specs: Net, Data, Train, Run, Study. Frozen, validated, hashed, read from and written to TOML."""

from kilonet.spec.averages import EMA, SWA
from kilonet.spec.base import InvalidSpecError, Spec
from kilonet.spec.data import (
    Affine,
    Augmentation,
    ColorJitter,
    Crop,
    Data,
    Elastic,
    Erasing,
    Rotation,
)
from kilonet.spec.data_paths import DATASET_NAMES, data_path, is_name, with_absolute_data
from kilonet.spec.files import (
    bundled_names,
    is_canonical,
    is_folder,
    load_net,
    load_net_and_budget,
    load_run,
    load_run_and_seeds,
    load_spec,
    load_study,
    parse_run,
    parse_setting,
    to_toml,
)
from kilonet.spec.lineage import Init, Teacher
from kilonet.spec.module import Module
from kilonet.spec.net import Net
from kilonet.spec.optimizers import SGD, Adam, AdamW, Muon
from kilonet.spec.schedules import Constant, Cosine, MultiStep, OneCycle, Plateau, Step
from kilonet.spec.settings import with_options
from kilonet.spec.show import bundled_specs, spec_data, spec_toml
from kilonet.spec.stopping import EarlyStopping
from kilonet.spec.study import Budget, ResolvedStage, Run, Stage, Study
from kilonet.spec.train import BatchSchedule, Train

__all__ = [
    "DATASET_NAMES",
    "EMA",
    "SGD",
    "SWA",
    "Adam",
    "AdamW",
    "Affine",
    "Augmentation",
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
    "InvalidSpecError",
    "Module",
    "MultiStep",
    "Muon",
    "Net",
    "OneCycle",
    "Plateau",
    "ResolvedStage",
    "Rotation",
    "Run",
    "Spec",
    "Stage",
    "Step",
    "Study",
    "Teacher",
    "Train",
    "bundled_names",
    "bundled_specs",
    "data_path",
    "is_canonical",
    "is_folder",
    "is_name",
    "load_net",
    "load_net_and_budget",
    "load_run",
    "load_run_and_seeds",
    "load_spec",
    "load_study",
    "parse_run",
    "parse_setting",
    "spec_data",
    "spec_toml",
    "to_toml",
    "with_absolute_data",
    "with_options",
]
