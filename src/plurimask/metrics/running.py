"""The measures as torchmetrics classes, for training loops: update batch by batch, sync over processes, compute.

Each is the mean over cases of a pure function of this package; its settings are those of the function, by name:

    metric = GeneralizedEnergyDistance(estimator="u")
    metric.update(samples, readers, valid)        samples (B, S, H, W[, D]) bool, readers (B, R, H, W[, D]) bool,
    metric.compute()                             valid (B, R) bool or None -> () float64

A case where the measure is undefined (NaN) is left out of the mean and counted in `undefined`.
"""

from collections.abc import Callable
from inspect import signature
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric

from plurimask.metrics.calibration import brier_score, expected_calibration_error, ncc, soft_dice
from plurimask.metrics.ci_score import collective_insight, combined_sensitivity, dice_max, diversity_agreement
from plurimask.metrics.ged import ged, hm_iou, reader_diversity, sample_diversity
from plurimask.metrics.lesion import size_crps


class CaseMean(Metric):
    """Mean over the cases where `measure` is defined. Subclasses name the measure.

    Args:
        settings: those of `measure` by name, and those of torchmetrics.Metric.

    Raises:
        ValueError: a setting that neither of the two knows.
    """

    measure: ClassVar[Callable[..., Tensor]]  # of samples, readers and valid, what it names -> (B,), NaN: undefined
    is_differentiable = False
    full_state_update = False

    def __init__(self, **settings: Any) -> None:
        own = {name: settings.pop(name) for name in signature(self.measure).parameters if name in settings}
        super().__init__(**settings)
        self.settings = own
        # MetricCollection takes metrics whose states have the same names and, after the first batch, the same values
        # for one and the same. Two measures may well agree on a batch, so their states differ by name.
        self.state = "_".join(["tally", type(self).__name__, *(f"{name}_{value}" for name, value in own.items())])
        self.add_state(self.state, torch.zeros(3, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, samples: Tensor, readers: Tensor, valid: Tensor | None = None) -> None:
        """Add a batch of cases; arguments and errors as the measure's."""
        given = {"samples": samples, "readers": readers, "valid": valid}
        named = signature(self.measure).parameters
        values = type(self).measure(**{key: part for key, part in given.items() if key in named}, **self.settings)
        undefined = values.isnan()
        tally = torch.stack([values[~undefined].sum(), (~undefined).sum().double(), undefined.sum().double()])
        setattr(self, self.state, getattr(self, self.state) + tally)

    def compute(self) -> Tensor:
        """Mean over the cases where the measure is defined, () float64; none: NaN."""
        return self.total / self.defined

    @property
    def total(self) -> Tensor:
        """Sum of the defined values, of this process's cases until the metric is synced: () float64."""
        return getattr(self, self.state)[0]

    @property
    def defined(self) -> Tensor:
        """Number of cases where the measure is defined, as `total`: () float64."""
        return getattr(self, self.state)[1]

    @property
    def undefined(self) -> Tensor:
        """Number of cases where the measure is undefined, as `total`: () float64."""
        return getattr(self, self.state)[2]


class GeneralizedEnergyDistance(CaseMean):
    """Squared generalised energy distance, `ged`: estimator "v", "u" or "once", distance "iou" or "dice"."""

    measure = staticmethod(ged)
    higher_is_better = False


class HungarianMatchedIoU(CaseMean):
    """IoU of samples and readers matched one to one, `hm_iou`: matching "repeat" or "rectangular"."""

    measure = staticmethod(hm_iou)
    higher_is_better = True


class SoftDice(CaseMean):
    """Dice of the two frequency maps over thresholds, `soft_dice`."""

    measure = staticmethod(soft_dice)
    higher_is_better = True


class BestDice(CaseMean):
    """D_max, the best sample's Dice averaged over readers, `dice_max`."""

    measure = staticmethod(dice_max)
    higher_is_better = True


class CombinedSensitivity(CaseMean):
    """S_c, the covered share of the readers' union, `combined_sensitivity`: strict."""

    measure = staticmethod(combined_sensitivity)
    higher_is_better = True


class DiversityAgreement(CaseMean):
    """D_a, `diversity_agreement`: variance "pixel" or "iou"."""

    measure = staticmethod(diversity_agreement)
    higher_is_better = True


class CollectiveInsight(CaseMean):
    """CI, `collective_insight`: mean "printed" or "harmonic", variance, strict."""

    measure = staticmethod(collective_insight)
    higher_is_better = True


class SampleDiversity(CaseMean):
    """d_SS, the mean distance of two samples, `sample_diversity`: distance "iou" or "dice"."""

    measure = staticmethod(sample_diversity)


class ReaderDiversity(CaseMean):
    """d_YY, the mean distance of two readers, `reader_diversity`: distance "iou" or "dice"."""

    measure = staticmethod(reader_diversity)


class NormalizedCrossCorrelation(CaseMean):
    """S_NCC, correlation of the uncertainty maps, `ncc`."""

    measure = staticmethod(ncc)
    higher_is_better = True


class BrierScore(CaseMean):
    """Squared error of the frequency map, `brier_score`."""

    measure = staticmethod(brier_score)
    higher_is_better = False


class ExpectedCalibrationError(CaseMean):
    """Calibration error of each case's frequency map, `expected_calibration_error`: bins."""

    measure = staticmethod(expected_calibration_error)
    higher_is_better = False


class SizeCRPS(CaseMean):
    """CRPS of the samples' sizes, `size_crps`: voxel_size, one for all cases."""

    measure = staticmethod(size_crps)
    higher_is_better = False
