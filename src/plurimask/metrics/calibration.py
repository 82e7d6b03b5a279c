"""Calibration of the samples' frequency map, and whether it varies where the readers do.

With p(x) = k / S the share of samples that hold voxel x, y(x) in {0, 1} a reader's mask and q(x) the mean of y over
the readers who read, every measure here follows from two tables of exact counts: how many voxels k of the S samples
hold, and how many of those each reader drew.

The uncertainty maps of PHiSeg (Baumgartner et al., MICCAI 2019) are E_s[CE(p, s)] for the samples
and E_s[CE(y, s)] for a reader. A hard sample clipped to [e, 1 - e] has cross-entropy A = -log(e) where it contradicts
a label and B = -log(1 - e) where it agrees, so that with weights p and 1 - p

    E_s[CE(p, s)] = B + (A - B) * 2p(1 - p)        E_s[CE(y, s)] = B + (A - B) * |y - p|

and normalised cross-correlation, which ignores scale and offset, is that of 2p(1 - p) and |y - p| whatever e is.
|y - p| = c everywhere means p is c or 1 - c, hence 2p(1 - p) = 2c(1 - c): a reader's map can be constant only where
the samples' map is, so NCC is undefined for all readers of a case or for none.

Soft Dice cuts the frequency maps of samples and of readers at one level, and averages their Dice over levels.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from plurimask.errors import InputError, SettingsError
from plurimask.metrics.overlap import check_pair, count_overlap, reader_slots


@dataclass(frozen=True)
class Reliability:
    """Sums for a reliability curve; each voxel of each reader who read counts once.

    Args:
        weight: (B, bins) float64, voxels x readers whose p falls into the bin.
        predicted: (B, bins) float64, sum of p over them.
        drawn: (B, bins) float64, how many of them the reader drew.
    """

    weight: Tensor
    predicted: Tensor
    drawn: Tensor

    @property
    def mean_predicted(self) -> Tensor:
        """Mean p of each bin: (B, bins) in [0, 1]; an empty bin: NaN."""
        return self.predicted / self.weight

    @property
    def mean_drawn(self) -> Tensor:
        """Mean q of each bin: (B, bins) in [0, 1]; an empty bin: NaN."""
        return self.drawn / self.weight

    @property
    def error(self) -> Tensor:
        """Expected calibration error, sum of weight share * |mean p - mean q|: (B,) in [0, 1]; no reader: NaN."""
        return (self.predicted - self.drawn).abs().sum(1) / self.weight.sum(1)

    def pooled(self) -> "Reliability":
        """The curve of all cases together, B = 1."""
        return Reliability(*(sums.sum(0, keepdim=True) for sums in (self.weight, self.predicted, self.drawn)))

    def __add__(self, other: "Reliability") -> "Reliability":
        """The curve of all cases of both together, B = 1; so batches of a dataset add up in any order."""
        bins, others = self.weight.shape[1], other.weight.shape[1]
        if bins != others:
            raise InputError("reliability", expected=f"{bins} bins", got=str(others), hint="use one number of bins")
        a, b = self.pooled(), other.pooled()
        return Reliability(a.weight + b.weight, a.predicted + b.predicted, a.drawn + b.drawn)


@dataclass(frozen=True)
class FrequencyTable:
    """Voxels by k, the number of samples that hold them; ncc, Brier score and reliability curve follow from it.

    Args:
        voxels: (B, S + 1) float64, how many voxels k samples hold, k = 0 to S.
        drawn: (B, R, S + 1) float64, those of them that a reader drew.
        read: (B, R) bool, which slots were read.
    """

    voxels: Tensor
    drawn: Tensor
    read: Tensor

    @property
    def frequency(self) -> Tensor:
        """(S + 1,) float64, p = k / S."""
        count = self.voxels.shape[1] - 1
        return torch.arange(count + 1, device=self.voxels.device).double() / count

    @property
    def left(self) -> Tensor:
        """(B, R, S + 1) float64, the voxels that a reader did not draw."""
        return self.voxels[:, None] - self.drawn

    @property
    def ncc(self) -> Tensor:
        """As `ncc`: (B,)."""
        voxels, drawn, left, p = self.voxels, self.drawn, self.left, self.frequency
        spread = 2 * p * (1 - p)
        spread = spread - _mean(voxels, spread)[:, None]
        missed = (left * p + drawn * (1 - p)).sum(2, keepdim=True) / voxels.sum(1)[:, None, None]
        where_left, where_drawn = p - missed, 1 - p - missed
        shared = ((left * where_left + drawn * where_drawn) * spread[:, None]).sum(2)
        squares = (left * where_left**2 + drawn * where_drawn**2).sum(2)
        correlation = shared / ((voxels * spread**2).sum(1)[:, None] * squares).sqrt()
        return _mean(self.read, correlation).masked_fill(_is_constant(voxels), torch.nan)

    @property
    def brier(self) -> Tensor:
        """As `brier_score`: (B,)."""
        squares = (self.left * self.frequency**2 + self.drawn * (1 - self.frequency) ** 2).sum(2)
        return _mean(self.read, squares) / self.voxels.sum(1)

    def reliability(self, bins: int = 10) -> Reliability:
        """As `reliability_curve`."""
        if bins < 1:
            raise SettingsError("bins", expected="1 or more", got=str(bins), hint="10 is the usual number")
        count = self.voxels.shape[1] - 1
        # In whole numbers, so that no p = i / bins is rounded into the bin below.
        places = (torch.arange(count + 1, device=self.voxels.device) * bins // count).clamp(max=bins - 1)
        weight = self.voxels * self.read.sum(1, keepdim=True)
        drawn = (self.drawn * self.read[:, :, None]).sum(1)
        sums = (weight, weight * self.frequency, drawn)
        return Reliability(*(part.new_zeros(len(part), bins).index_add(1, places, part) for part in sums))


def frequency_table(samples: Tensor, readers: Tensor, valid: Tensor | None = None) -> FrequencyTable:
    """Count voxels by how many samples hold them. Arguments and errors as `ncc`."""
    check_pair(samples, readers)
    (cases, slots), count = readers.shape[:2], samples.shape[1]
    # Into int32 a sum of bool is nine times as quick as into int64, the default.
    holders = samples.sum(1, dtype=torch.int32).flatten(1).long()
    voxels = holders.new_zeros(cases, count + 1).scatter_add(1, holders, torch.ones_like(holders))
    each = holders[:, None].expand(-1, slots, -1)
    drawn = holders.new_zeros(cases, slots, count + 1).scatter_add(2, each, readers.flatten(2).long())
    return FrequencyTable(voxels.double(), drawn.double(), reader_slots(readers, valid))


def ncc(samples: Tensor, readers: Tensor, valid: Tensor | None = None) -> Tensor:
    """S_NCC of PHiSeg: mean over readers of the correlation over voxels between 2p(1 - p) and |y - p|.

    PHiSeg takes the network's probabilities as samples; these are masks.

    Args:
        samples: (B, S, H, W[, D]) bool.
        readers: (B, R, H, W[, D]) bool.
        valid: (B, R) bool, which slots were read; None: all.

    Returns:
        (B,) float64 in [-1, 1]. NaN where 2p(1 - p) is the same at every voxel, as with a single sample, or where
        nobody read.

    Raises:
        InputError: masks that are not bool, or of two sizes.
    """
    return frequency_table(samples, readers, valid).ncc


def brier_score(samples: Tensor, readers: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean of (p - y)^2 over voxels and readers: (B,) float64 in [0, 1]; nobody read: NaN. Arguments as `ncc`."""
    return frequency_table(samples, readers, valid).brier


def reliability_curve(samples: Tensor, readers: Tensor, valid: Tensor | None = None, bins: int = 10) -> Reliability:
    """What share of the voxels with p in [i / bins, (i + 1) / bins) the readers drew; the last bin holds p = 1 too.

    Masks and errors as `ncc`.

    Args:
        bins: number of bins of equal width over [0, 1].

    Returns:
        One curve a case; `pooled` and `+` give those of many cases.

    Raises:
        SettingsError: no bin.
    """
    return frequency_table(samples, readers, valid).reliability(bins)


def expected_calibration_error(samples: Tensor, readers: Tensor, valid: Tensor | None = None, bins: int = 10) -> Tensor:
    """Expected calibration error of p, each voxel of each reader a label: (B,) float64 in [0, 1]; nobody read: NaN.

    As torchmetrics' BinaryCalibrationError by the l1 norm, save that the latter keeps p = 1 in a bin of its own: the
    two are equal where no p below 1 reaches the last bin, that is up to S = bins - 1. Arguments and errors as
    `reliability_curve`.
    """
    return reliability_curve(samples, readers, valid, bins).error


def empty_share(masks: Tensor, valid: Tensor | None = None) -> Tensor:
    """Share of empty masks among those read.

    Args:
        masks: (B, n, H, W[, D]) bool, samples or readers.
        valid: (B, n) bool, which slots were read; None: all.

    Returns:
        (B,) float64 in [0, 1]; nobody read: NaN.
    """
    return _mean(reader_slots(masks, valid), (~masks.flatten(2).any(2)).double())


def _is_constant(voxels: Tensor) -> Tensor:
    """(B,) whether k(S - k) is the same at every voxel, decided in whole numbers."""
    k = torch.arange(voxels.shape[1], device=voxels.device)
    spread = (k * k.flip(0)).double()
    return torch.where(voxels > 0, spread, torch.inf).amin(1) == torch.where(voxels > 0, spread, -1.0).amax(1)


def _mean(weights: Tensor, values: Tensor) -> Tensor:
    return (weights * values).sum(1) / weights.sum(1)


# In tenths, so that a share that equals a level is compared exactly.
LEVELS = (1, 3, 5, 7, 9)


def soft_dice(samples: Tensor, readers: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over the levels 0.1, 0.3, 0.5, 0.7, 0.9 of the Dice of the voxels that more than that share drew.

    Source: the QUBIQ challenge (2020); as D-Persona (Wu et al., CVPR 2024) computes it, whose code cuts both maps by >.
    Arguments and errors as `ncc`.

    Returns:
        (B,) float64 in [0, 1]; two maps that are both empty at a level have Dice 1 there. NaN where nobody read.
    """
    check_pair(samples, readers)
    read = reader_slots(readers, valid)
    cut = count_overlap(_cut(samples, reader_slots(samples, None)), _cut(readers, read))
    return cut.dice.diagonal(dim1=1, dim2=2).mean(1).masked_fill(~read.any(1), torch.nan)


def _cut(masks: Tensor, present: Tensor) -> Tensor:
    """(B, n, H, W[, D]) and the masks that are present (B, n) -> (B, levels, 1, H * W[ * D])."""
    # float32 is exact here, and far quicker to add than bool.
    votes = torch.einsum("bnv,bn->bv", masks.flatten(2).float(), present.float())
    return torch.stack([10 * votes > level * present.sum(1, keepdim=True) for level in LEVELS], 1)[:, :, None]
