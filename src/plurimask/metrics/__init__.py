"""Pure functions on batches of masks: samples (B, S, H, W[, D]), raters (B, R, H, W[, D]), one value a case."""

from plurimask.metrics.ci_score import ci_harmonic, ci_score, combined_sensitivity, dice_max, diversity_agreement
from plurimask.metrics.degenerate import DEGENERATE
from plurimask.metrics.ged import calibrated_level, ged, rater_diversity, sample_diversity
from plurimask.metrics.overlap import intersections, pairwise_dice, pairwise_distance, pairwise_iou

__all__ = [
    "DEGENERATE",
    "calibrated_level",
    "ci_harmonic",
    "ci_score",
    "combined_sensitivity",
    "dice_max",
    "diversity_agreement",
    "ged",
    "intersections",
    "pairwise_dice",
    "pairwise_distance",
    "pairwise_iou",
    "rater_diversity",
    "sample_diversity",
]
