"""Pure functions on batches of masks: samples (B, S, H, W[, D]), readers (B, R, H, W[, D]), one value a case.

`metrics.running` (classes for training loops, on torchmetrics) is imported by name, since torchmetrics takes seconds to
import.
"""

from plurimask.metrics.bootstrap import Interval, patient_bootstrap, patient_correlation
from plurimask.metrics.calibration import (
    FrequencyTable,
    Reliability,
    brier_score,
    empty_share,
    expected_calibration_error,
    frequency_table,
    ncc,
    reliability_curve,
    soft_dice,
)
from plurimask.metrics.ci_score import (
    ci_harmonic,
    ci_score,
    collective_insight,
    combined_sensitivity,
    dice_max,
    diversity_agreement,
    mean_of_best,
    range_agreement,
)
from plurimask.metrics.conventions import CONVENTIONS, Convention, convention_scores, convention_values
from plurimask.metrics.degenerate import DEGENERATE, LeaveOneOut, leave_one_out
from plurimask.metrics.ged import (
    calibrated_level,
    energy_distance,
    ged,
    hm_iou,
    matched_mean,
    mean_distance,
    reader_diversity,
    sample_diversity,
)
from plurimask.metrics.lesion import crps, curvas_crps, one_body, size_crps
from plurimask.metrics.overlap import (
    Overlap,
    Pairs,
    count_overlap,
    count_pairs,
    pairwise_dice,
    pairwise_distance,
    pairwise_iou,
)

__all__ = [
    "CONVENTIONS",
    "DEGENERATE",
    "Convention",
    "FrequencyTable",
    "Interval",
    "LeaveOneOut",
    "Overlap",
    "Pairs",
    "Reliability",
    "brier_score",
    "calibrated_level",
    "ci_harmonic",
    "ci_score",
    "collective_insight",
    "combined_sensitivity",
    "convention_scores",
    "convention_values",
    "count_overlap",
    "count_pairs",
    "crps",
    "curvas_crps",
    "dice_max",
    "diversity_agreement",
    "empty_share",
    "energy_distance",
    "expected_calibration_error",
    "frequency_table",
    "ged",
    "hm_iou",
    "leave_one_out",
    "matched_mean",
    "mean_distance",
    "mean_of_best",
    "ncc",
    "one_body",
    "pairwise_dice",
    "pairwise_distance",
    "pairwise_iou",
    "patient_bootstrap",
    "patient_correlation",
    "range_agreement",
    "reader_diversity",
    "reliability_curve",
    "sample_diversity",
    "size_crps",
    "soft_dice",
]
