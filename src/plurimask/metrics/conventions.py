"""How others count GED and HM-IoU on several readers, by name, so that a published figure meets ours on equal terms.

A convention is a set of choices in one formula. With c(A, B) the mean IoU of two masks over its classes, d = 1 - c,

    ged    = 2 E[d(S, Y)] - E[d(S, S')] - E[d(Y, Y')]     over all pairs ("v"), distinct pairs ("u"), or
                                                          all of them in one order ("once")
    hm_iou = mean of c over the pairs of a sample and a reader that a matching of largest sum picks

All squared, as published; none takes a square root. What a choice rests on, paper or code, is named in `source`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from plurimask.metrics.ged import Estimator, Matching, energy_distance, matched_mean
from plurimask.metrics.overlap import Overlap, Pairs, chosen, count_pairs

Classes = Literal["foreground", "both"]


@dataclass(frozen=True)
class Convention:
    """One way to count.

    Args:
        name: its key in `CONVENTIONS`.
        source: paper and public code that it follows.
        differs: how its figures differ from ours on the same masks.
        estimator: of GED, as in `ged`.
        classes: whose IoU is averaged: "foreground" alone, or "both" foreground and background. A class that neither
            mask holds may as well be left out of the mean: the other one then fills both masks and has IoU 1.
        absent: IoU of a class that neither mask holds, as the foreground of two empty masks.
        matching: of HM-IoU: masks "repeat"ed to a common number, or "rectangular", which leaves out the masks that the
            longer side has too many; None: the source reports no HM-IoU.
        pooled: whether c of E[d(S, Y)], E[d(S, S')] and E[d(Y, Y')] is the Dice of the voxels of all pairs counted
            together, 0 where none is drawn, in place of a mean over pairs.
    """

    name: str
    source: str
    differs: str
    estimator: Estimator = "v"
    classes: Classes = "foreground"
    absent: float = 1.0
    matching: Matching | None = None
    pooled: bool = False


def convention_scores(name: str, samples: Tensor, readers: Tensor, valid: Tensor | None = None) -> dict[str, Tensor]:
    """GED, and HM-IoU where the source reports it, as the convention `name` counts them. Masks as in `ged`.

    Args:
        name: a key of `CONVENTIONS`.

    Returns:
        "ged" and, where it is reported, "hm_iou": (B,) float64 each; NaN where it is undefined, as in `ged`, `hm_iou`.

    Raises:
        SettingsError: an unknown name.
    """
    return convention_values(chosen("convention", name, CONVENTIONS), count_pairs(samples, readers, valid))


def convention_values(convention: Convention, pairs: Pairs) -> dict[str, Tensor]:
    """`convention_scores` from the counts of all pairs, so that several conventions share one count."""
    if convention.pooled:
        return {"ged": _pooled_ged(pairs)}
    sy, ss, yy = (_agreement(convention, overlap) for overlap in (pairs.sy, pairs.ss, pairs.yy))
    values = {"ged": energy_distance(1 - sy, 1 - ss, 1 - yy, pairs.read, convention.estimator)}
    if convention.matching is not None:
        values["hm_iou"] = matched_mean(sy, pairs.read, convention.matching)
    return values


def _pooled_ged(pairs: Pairs) -> Tensor:
    """GED of Dice over all pairs together, (B,); NaN where nobody read."""
    read, drawn = pairs.read, pairs.read.new_ones(pairs.ss.added.shape[:2])
    blocks = ((pairs.sy, drawn, read, 2), (pairs.ss, drawn, drawn, -1), (pairs.yy, read, read, -1))
    total = torch.zeros(len(read), dtype=torch.float64, device=read.device)
    for overlap, rows, columns, sign in blocks:
        present = rows[:, :, None] & columns[:, None, :]
        shared, added = ((part * present).sum((1, 2)) for part in (overlap.shared, overlap.added))
        total += sign * (1 - 2 * shared / added.clamp(min=1))
    return total.masked_fill(~read.any(1), torch.nan)


def _agreement(convention: Convention, overlap: Overlap) -> Tensor:
    """Mean IoU of each pair over the classes that count, (B, n, m)."""
    counted = [overlap] if convention.classes == "foreground" else [overlap, _background(overlap)]
    return torch.stack([one.iou.masked_fill(one.added == 0, convention.absent) for one in counted]).mean(0)


def _background(overlap: Overlap) -> Overlap:
    """The overlap of the complements of two masks."""
    neither = overlap.voxels - overlap.added + overlap.shared
    return replace(overlap, shared=neither, added=2 * overlap.voxels - overlap.added)


CONVENTIONS: Mapping[str, Convention] = MappingProxyType(
    {
        convention.name: convention
        for convention in (
            Convention(
                "plurimask",
                source="this package",
                differs="Ours: all pairs, foreground only, two empty masks agree, HM-IoU leaves no sample out.",
                matching="repeat",
            ),
            Convention(
                "kohl",
                source="Kohl et al., NeurIPS 2018, Appendix B; the LIDC evaluation was not published as code",
                differs="The same GED; HM-IoU came with a later paper.",
            ),
            Convention(
                "kohl-classes",
                source="Kohl et al., NeurIPS 2018; SimonKohl/probabilistic_unet, evaluation/eval_cityscapes.py, given "
                "the background as a class too",
                differs="IoU is the mean over foreground and background, so that a missed lesion has distance of about "
                "1/2 in place of 1; no HM-IoU.",
                classes="both",
            ),
            Convention(
                "phiseg",
                source="Baumgartner et al., MICCAI 2019; baumgach/PHiSeg-code, utils.py",
                differs="The same GED; no HM-IoU.",
            ),
            Convention(
                "ccdm",
                source="Zbinden et al., ICCV 2023; LarsDoorenbos/ccdm-stochastic-segmentation, "
                "evaluation/evaluate_lidc_uncertainty.py",
                differs="The same GED and the same HM-IoU.",
                matching="repeat",
            ),
            Convention(
                "flowssn",
                source="Ribeiro et al., ICCV 2025; biomedia-mira/flow-ssn, flowssn/eval/metrics.py",
                differs="The same GED; HM-IoU takes only the samples that suit the readers best, as many as there are "
                "readers, so that it grows with the number of samples.",
                matching="rectangular",
            ),
            Convention(
                "d-persona",
                source="Wu et al., CVPR 2024; ycwu1997/D-Persona, lib/metrics_set.py, as evaluate_dp.py calls it",
                differs="Two empty masks have IoU 0, so that an empty mask has distance 1 even to itself; no HM-IoU.",
                absent=0.0,
            ),
            Convention(
                "d-persona-u",
                source="Wu et al., CVPR 2024; ycwu1997/D-Persona, lib/metrics_set.py, another GED, which "
                "evaluate_dp.py does not call",
                differs="Distinct pairs only, as our U-GED; no HM-IoU.",
                estimator="u",
            ),
            Convention(
                "ambdiffseg",
                source="Christensen et al., SCIA 2025; JakobLC/AmbDiffSeg, src/amb_diff_seg/utils.py",
                differs="Each pair in one order, so that those of a mask with itself weigh twice as much; no HM-IoU.",
                estimator="once",
            ),
            Convention(
                "values",
                source="Kahl et al., ICLR 2024; IML-DKFZ/values, uncertainty_modeling/test_3D.py, calculate_ged",
                differs="Dice in place of IoU, of the voxels of all pairs counted together: large masks count more, an "
                "empty one only where all are empty; no HM-IoU.",
                pooled=True,
            ),
        )
    }
)
