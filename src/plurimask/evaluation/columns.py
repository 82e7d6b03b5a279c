"""Every value of a scored case: its name in tables, the convention by which it is counted, and which way is better."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal


@dataclass(frozen=True)
class Column:
    """One value of a scored case.

    Args:
        label: as tables print it.
        convention: how it is counted, in one line.
        better: which way is better; None for what only describes.
        headline: shown for the degenerate predictors too.
        independent: an estimate that independent draws alone give; representative panels have none.
    """

    label: str
    convention: str
    better: Literal["lower", "higher"] | None = None
    headline: bool = False
    independent: bool = False


COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        "ged_v": Column(
            "V-GED", "squared, d = 1 - IoU, self pairs counted (V-statistic); depends on N", "lower", headline=True
        ),
        "ged_u": Column(
            "U-GED",
            "squared, d = 1 - IoU, distinct pairs only (U-statistic); undefined under two samples or readers",
            "lower",
            headline=True,
            independent=True,
        ),
        "hm_iou": Column(
            "HM-IoU",
            "mean IoU of matched pairs, samples and readers repeated to their least common multiple; depends on N",
            "higher",
            headline=True,
        ),
        "dice_max": Column(
            "D_max", "mean over readers of the best sample's Dice; grows with N", "higher", headline=True
        ),
        "sensitivity": Column(
            "S_c",
            "share of the readers' union that the samples' union covers; 1 where no reader drew",
            "higher",
            headline=True,
        ),
        "agreement": Column(
            "D_a",
            "variance of a pair: disagreeing voxels / (4 * voxels), distinct pairs only, 0 for one mask",
            "higher",
            headline=True,
        ),
        "ci": Column("CI", "Eq. 17 as printed: 3abc / (a + b + c), 0/0 is 0", "higher", headline=True),
        "ci_harmonic": Column("CI (harmonic)", "harmonic mean: 3abc / (ab + bc + ca), 0/0 is 0", "higher"),
        "soft_dice": Column(
            "soft Dice", "Dice of the two frequency maps, each cut at 0.1, 0.3, 0.5, 0.7 and 0.9, averaged", "higher"
        ),
        "d_ss": Column(
            "d_SS",
            "mean d of distinct pairs of samples; ged_v = ged_u + d_ss / N + d_yy / M",
            headline=True,
            independent=True,
        ),
        "d_yy": Column("d_YY", "mean d of distinct pairs of readers", headline=True),
        "ncc": Column(
            "NCC",
            "correlation of the samples' uncertainty map with a reader's error map, mean over readers; undefined where "
            "a map is constant",
            "higher",
        ),
        "ece": Column(
            "ECE", "expected calibration error of the frequency map, 10 bins, every voxel of every reader", "lower"
        ),
        "brier": Column("Brier", "squared error of the frequency map against each reader, every voxel", "lower"),
        "empty_samples": Column("empty samples", "share of samples without a voxel"),
        "empty_readers": Column("empty readers", "share of readers who drew nothing"),
        "size_crps": Column(
            "size CRPS", "continuous ranked probability score of the samples' sizes against each reader's", "lower"
        ),
        "size_crps_curvas": Column(
            "size CRPS (CURVAS)",
            "the other way: a normal distribution of the readers' sizes, scored at the samples' mean size; undefined "
            "where all readers have one size",
            "lower",
        ),
        "surface": Column(
            "HD95",
            "95% Hausdorff distance between a reader's mask and the sample of highest Dice, of several the "
            "nearest; mean over readers; undefined where one of the two is empty",
            "lower",
        ),
        "one_body": Column(
            "one body",
            "share of samples, of those that hold something, that are connected, by corners too; undefined where a "
            "reader drew several bodies",
            "higher",
        ),
    }
)

LATER = ("size_crps_curvas", "one_body")
"""What scores of earlier versions do not have."""

INDEPENDENT = tuple(key for key, column in COLUMNS.items() if column.independent)
"""What representative panels have no value of."""

HEADLINE: Mapping[str, Column] = {key: column for key, column in COLUMNS.items() if column.headline}

GENERAL_CONVENTIONS: Mapping[str, str] = MappingProxyType(
    {
        "empty masks": "two empty masks: IoU 1, Dice 1, d = 0, HD95 0",
        "N": "U-GED, d_SS, d_YY and the shares of empty masks have one expectation at every N; no other value has",
        "mean": "a value for each case, then the mean over the cases where it is defined",
        "interval": "patients resampled with replacement, percentiles of the mean",
        "r of empties": "correlation over cases of the shares of empty samples and of empty readers",
        "size": "size CRPS and HD95 in mm where the first case has a known spacing, else in voxels",
        "representative": "masks count equally; no U-GED and no d_SS, which estimate from independent draws alone",
        "calibrated": "expected of samples drawn from the readers' own distribution: U-GED 0, V-GED d_yy (1/N + 1/M)",
        "raters resampled": "an oracle that draws from the scored readers themselves, so its U-GED is negative",
        "five thresholds": "N = 5: what lies above (or else below) levels evenly spaced over the image's values, "
        "whichever is smaller",
        "reader left out": "each reader against the others: D_max of the best, HM-IoU the mean IoU; others undefined",
    }
)
