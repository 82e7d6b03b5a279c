"""The nouns that stages hand to each other. Each refuses wrong values when it is built; after that nobody checks again.

THE shape legend: B batch, C channels, R readers, S samples, H rows, W columns, D slices.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from plurimask.errors import InputError
from plurimask.geometry import Grid
from plurimask.seeds import content_of

if TYPE_CHECKING:  # whoever reads and writes files alone need not wait two seconds for torch
    import torch
    from torch import Tensor

_PICTURES = "plurimask.show.raster"  # imported when a notebook shows a record: a record itself needs none


@dataclass(frozen=True, eq=False, repr=False)
class Case:
    """One image, what its readers drew, and where it lies.

    Args:
        name: unique within a dataset; also the folder name of its mask set.
        image: (C, H, W[, D]) float32, finite.
        readers: their masks, (R, H, W[, D]) bool. R may be 0 (nobody read it) and may differ from case to case. A mask
            that is all False says that its reader looked and drew nothing.
        grid: the grid of image and masks.
        patient: who it is, for splits; None if unknown.
        padding: (H, W[, D]) bool, voxels that are no measurement and set no scale; None: all are one.
        drawn_by: who each reader is, as the same name in every case says; None where it is unknown.

    Raises:
        InputError: shapes that disagree with the grid, wrong types, an image that is not finite, or not one name a
            mask.
    """

    name: str
    image: np.ndarray
    readers: np.ndarray
    grid: Grid
    patient: str | None = None
    padding: np.ndarray | None = None
    drawn_by: tuple[str | None, ...] | None = None

    def __post_init__(self) -> None:
        if self.drawn_by is not None and len(self.drawn_by) != len(self.readers):
            expected, got = f"{len(self.readers)} names of readers, one a mask", str(len(self.drawn_by))
            raise InputError(self.name, expected=expected, got=got, hint="name each reader, or none")
        if self.padding is not None:
            _check_stack(self.name, "padding", self.padding[None], np.bool_, self.grid)
        _check_stack(self.name, "image", self.image, np.float32, self.grid)
        _check_stack(self.name, "reader masks", self.readers, np.bool_, self.grid)
        object.__setattr__(self, "readers", _zeros_and_ones(self.readers))
        if self.image.shape[0] == 0:
            raise InputError(self.name, expected="at least one image channel", got="none", hint="add an image file")
        if not np.isfinite([self.image.min(), self.image.max()]).all():  # which need no memory beside the image
            raise InputError(
                self.name,
                expected="a finite image",
                got=f"{int((~np.isfinite(self.image)).sum())} NaN or infinite values",
                hint="replace them before use",
            )

    @cached_property
    def content(self) -> bytes:
        """A hash of the image, of which the seeds of its samples are made."""
        return content_of(self.image)

    def __repr__(self) -> str:
        name = public_name(self.name, self.patient, "of a patient who is not named")
        empty = _count_empty(self.readers)
        return f"Case {name}: {_words(self.grid)}, {len(self.readers)} readers, {empty} of whom drew nothing"

    def _repr_html_(self) -> str:
        """What a notebook shows; the patient is not named."""
        return import_module(_PICTURES).case_html(repr(self), self.image[0], self.readers, self.grid)


@dataclass(frozen=True, eq=False, repr=False)
class MaskSet:
    """Samples of one method for one case: a panel.

    Args:
        name: the case's name.
        masks: (S, H, W[, D]) bool, S >= 1, on the case's own grid.
        grid: the case's grid.
        method: name of the method or program that drew them; None if unknown.
        seeds: one integer per sample, or None.
        checkpoint: sha256 of the weights, hex, or None.
        settings: how they were drawn (sampler, steps, ...), plain JSON values.
        weights: of a representative panel, how many masks of its pool each stands for; None: independent draws.

    Raises:
        InputError: shapes that disagree with the grid, masks that are not bool, or not one seed or weight a sample.
    """

    name: str
    masks: np.ndarray
    grid: Grid
    method: str | None = None
    seeds: tuple[int, ...] | None = None
    checkpoint: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    weights: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        _check_stack(self.name, "masks", self.masks, np.bool_, self.grid)
        object.__setattr__(self, "masks", _zeros_and_ones(self.masks))
        if self.masks.shape[0] == 0:
            raise InputError(self.name, expected="at least one mask", got="none", hint="draw at least one sample")
        if self.seeds is not None and len(self.seeds) != self.masks.shape[0]:
            raise InputError(
                self.name,
                expected=f"{self.masks.shape[0]} seeds, one a mask",
                got=str(len(self.seeds)),
                hint="write one seed for each mask, or none at all",
            )
        if self.weights is not None and (len(self.weights) != self.masks.shape[0] or min(self.weights) < 1):
            raise InputError(
                self.name,
                expected=f"{self.masks.shape[0]} weights above 0, one a mask",
                got=", ".join(map(str, self.weights)) or "none",
                hint="write how many masks of its pool each stands for, or no weights at all",
            )

    def __repr__(self) -> str:
        # Without the name: it is the case's, and a panel does not know whether it names a patient.
        values, unit = self.grid.measured(np.count_nonzero(self.masks, axis=tuple(range(1, self.masks.ndim))))
        extent = f"{values.min():.3g} to {values.max():.3g} {unit}, {_count_empty(self.masks)} empty"
        return f"Panel by {self.method or 'an unknown method'}: {_words(self.grid)}, {len(values)} samples of {extent}"

    def _repr_html_(self) -> str:
        """What a notebook shows; neither case nor patient is named."""
        return import_module(_PICTURES).panel_html(repr(self), self.masks, self.grid)

    def first(self, count: int) -> "MaskSet":
        """The panel of its first `count` samples. Raises InputError where it has fewer, or is representative."""
        if count > len(self.masks):
            raise InputError(
                self.name,
                expected=f"at least {count} masks",
                got=str(len(self.masks)),
                hint="draw more, or score fewer",
            )
        if self.weights is not None and count < len(self.masks):
            raise InputError(
                self.name,
                expected=f"all {len(self.masks)} masks of a representative panel",
                got=f"the first {count}",
                hint=f"draw or select a panel of {count}",
            )
        return replace(self, masks=self.masks[:count], seeds=self.seeds and self.seeds[:count])

    @property
    def shares(self) -> np.ndarray | None:
        """(S,) float64: the share of its pool that each mask of a representative panel stands for; else None."""
        return None if self.weights is None else np.array(self.weights) / sum(self.weights)

    @property
    def frequency(self) -> np.ndarray:
        """(H, W[, D]) float32: the share of the samples that contain each voxel."""
        return np.divide(count_votes(self.masks), len(self.masks), dtype=np.float32)


@dataclass(frozen=True)
class Batch:
    """Cases of one size, ready for a network.

    Args:
        image: (B, C, H, W) float32, scaled by `datasets.batches.scale_intensity`; of volumes (B, C, D, H, W).
        readers: (B, R, H, W) bool; slots beyond a case's own readers are False; of volumes (B, R, D, H, W).
        valid: (B, R) bool, which slots were read; at least one a case.
        spacing: of volumes, (B, 3) float32, mm between planes, rows and columns; of planes None.
        who: (B, R) int64, the number of the reader of each slot; -1: none that is known. None: nobody is.
    """

    image: "Tensor"
    readers: "Tensor"
    valid: "Tensor"
    spacing: "Tensor | None" = None
    who: "Tensor | None" = None

    def one_reader(self) -> tuple["Tensor", "Tensor"]:
        """One uniformly drawn reader per image: image (B, C, H, W), mask (B, 1, H, W) bool."""
        slot = self.valid.float().multinomial(1)
        return self.image, self.readers.take_along_dim(slot.reshape(-1, *[1] * (self.image.ndim - 1)), dim=1)

    def all_readers(self) -> tuple["Tensor", "Tensor"]:
        """Every reader of every image: image (n, C, H, W) repeated, mask (n, 1, H, W) bool, n = valid.sum()."""
        case, slot = self.valid.nonzero(as_tuple=True)
        return self.image[case], self.readers[case, slot][:, None]

    def each(self, change: Callable[["Tensor"], "Tensor"]) -> "Batch":
        """The batch with each of its tensors changed."""
        spacing, who = (None if part is None else change(part) for part in (self.spacing, self.who))
        return Batch(change(self.image), change(self.readers), change(self.valid), spacing, who)

    def to(self, device: "torch.device") -> "Batch":
        """The same batch on another device."""
        return self.each(lambda part: part.to(device))


@dataclass(frozen=True)
class LossTerms:
    """What a method's loss returns.

    Args:
        total: scalar with gradient.
        terms: named detached scalars for the log (for CIMD: simple, vlb, amb, ...).
    """

    total: "Tensor"
    terms: Mapping[str, "Tensor"]


def public_name(name: str, patient: str | None, stand_in: str) -> str:
    """The name of a case, or `stand_in` where it gives the patient away."""
    return stand_in if patient and patient.casefold() in name.casefold() else name


def count_votes(masks: np.ndarray) -> np.ndarray:
    """How many of the masks (S, ...) bool hold each voxel: (...), of the smallest unsigned type that can say S."""
    # As uint8, which numpy adds many times faster than it does bool.
    return np.asarray(masks.view(np.uint8).sum(axis=0, dtype=np.min_scalar_type(len(masks))))


def _words(grid: Grid) -> str:
    spacing = "unknown spacing" if grid.spacing_mm is None else f"{'x'.join(f'{v:.3g}' for v in grid.spacing_mm)} mm"
    return f"{grid.size} of {spacing}"


def _count_empty(masks: np.ndarray) -> int:
    return sum(not mask.any() for mask in masks)


def _check_stack(name: str, what: str, array: np.ndarray, dtype: type, grid: Grid) -> None:
    if not isinstance(array, np.ndarray) or array.dtype != dtype:
        raise InputError(
            name,
            expected=f"{what} of type {np.dtype(dtype)}",
            got=str(getattr(array, "dtype", type(array).__name__)),
            hint="convert before building the record",
        )
    if array.shape[1:] != grid.shape:
        got = "x".join(map(str, array.shape[1:])) or "no size"
        hint = "bring image and masks to one grid"
        raise InputError(name, expected=f"{what} of size {grid.size}", got=got, hint=hint)


def _zeros_and_ones(masks: np.ndarray) -> np.ndarray:
    """The same masks whose bytes are 0 and 1, which all who count bytes rely on; Pillow's booleans are 0 and 255."""
    stored = masks.view(np.uint8)
    return masks if stored.max(initial=0) <= 1 else stored != 0
