"""A few masks of many that represent them: of a pool that a model draws, and of anybody's mask set."""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from plurimask.errors import InputError, SettingsError
from plurimask.metrics.representative import pool_distances, select
from plurimask.records import MaskSet

PanelKind = Literal["independent", "representative"]
"""Draws that know nothing of each other, or those of a pool that represent it."""
POOL, POOL_OF_STEPS = 256, 64
"""Masks of a pool, of methods that draw one in a single evaluation and in several."""


def represent(pool: MaskSet, count: int) -> MaskSet:
    """The `count` masks that represent a mask set, with how many of its masks each stands for; see metrics.md.

    Raises:
        InputError: fewer masks than that, or a set that represents another.
    """
    if pool.weights is not None:
        raise InputError(
            pool.name,
            expected="independent masks to choose from",
            got="a representative panel",
            hint="choose from the masks that it was chosen from",
        )
    if not 1 <= count <= len(pool.masks):
        raise InputError(
            pool.name,
            expected=f"at least {max(count, 1)} masks to choose from",
            got=str(len(pool.masks)),
            hint="draw more, or choose fewer",
        )
    chosen = select(pool_distances([pack(pool.masks)]), count)
    return replace(
        pool,
        masks=pool.masks[chosen.indices],
        seeds=pool.seeds and tuple(pool.seeds[index] for index in chosen.indices),
        settings={**pool.settings, "panel": "representative", "pool": len(pool.masks)},
        weights=tuple(chosen.weights.tolist()),
    )


def pool_size(panel: PanelKind, pool: int | None, count: int, steps: bool) -> int | None:
    """Masks of the pool that `count` are chosen from; None for independent draws.

    Args:
        panel: what is asked for.
        pool: how many; None: as many as the method's cost suggests.
        count: masks of the panel.
        steps: whether a mask takes several evaluations.

    Raises:
        SettingsError: another kind of panel, a pool of independent draws, or one of fewer masks than the panel.
    """
    if panel not in get_args(PanelKind):
        raise SettingsError("panel", expected=" or ".join(get_args(PanelKind)), got=panel, hint="choose one of these")
    if panel == "independent":
        if pool is not None:
            raise SettingsError(
                "pool", expected="none for independent draws", got=str(pool), hint="add --panel representative"
            )
        return None
    size = (POOL_OF_STEPS if steps else POOL) if pool is None else pool
    if size < count:
        raise SettingsError(
            "pool", expected=f"at least {count} masks to choose from", got=str(size), hint="give a larger --pool"
        )
    return size


def pack(masks: np.ndarray) -> np.ndarray:
    """Masks (n, ...) bool as bits, (n, bytes) uint8."""
    return np.packbits(masks.reshape(len(masks), -1), axis=1)


def unpack(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Masks (n, *shape) bool from their bits (n, bytes)."""
    bits = np.unpackbits(packed, axis=1, count=int(np.prod(shape)))
    return bits.view(np.bool_).reshape(len(packed), *shape)
