"""Checkpoint + image, or whole study -> MaskSet on the image's own grid."""

from plurimask.sampling.case_drawer import CaseDrawer
from plurimask.sampling.inputs import Inputs, inputs_at
from plurimask.sampling.model import Model, load
from plurimask.sampling.region import Region, parse_region
from plurimask.sampling.represent import PanelKind, represent
from plurimask.sampling.study import TimeLeft, case_study, check_study, needs_region, sample_case, sample_study

__all__ = [
    "CaseDrawer",
    "Inputs",
    "Model",
    "PanelKind",
    "Region",
    "TimeLeft",
    "case_study",
    "check_study",
    "inputs_at",
    "load",
    "needs_region",
    "parse_region",
    "represent",
    "sample_case",
    "sample_study",
]
