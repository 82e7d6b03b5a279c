"""Pure functions on batches of masks: samples (B, S, H, W[, D]), raters (B, R, H, W[, D]), one value a case."""

from plurimask.metrics.ci_score import (
    ci_harmonic,
    ci_score,
    combined_sensitivity,
    dice_max,
    diversity_agreement,
    mean_of_best,
    range_agreement,
)
from plurimask.metrics.degenerate import DEGENERATE
from plurimask.metrics.ged import (
    calibrated_level,
    energy_distance,
    ged,
    mean_distance,
    rater_diversity,
    sample_diversity,
)
from plurimask.metrics.overlap import count_overlap, pairwise_dice, pairwise_distance, pairwise_iou

__all__ = [
    "DEGENERATE",
    "calibrated_level",
    "ci_harmonic",
    "ci_score",
    "combined_sensitivity",
    "count_overlap",
    "dice_max",
    "diversity_agreement",
    "energy_distance",
    "ged",
    "mean_distance",
    "mean_of_best",
    "pairwise_dice",
    "pairwise_distance",
    "pairwise_iou",
    "range_agreement",
    "rater_diversity",
    "sample_diversity",
]
