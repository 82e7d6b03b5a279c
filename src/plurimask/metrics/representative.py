"""A few masks that represent a pool of many: those whose energy distance to the pool is least.

Independent draws carry a Monte Carlo noise that nobody asked for. Of a pool of n masks with distances d, N are chosen
such that, each counted equally,

    2 / (N n) sum over chosen s and all p of d(s, p)  -  1 / N^2 sum over chosen s, s' of d(s, s')             (1)

is least: the V-statistic of the energy distance to the pool but for a constant. The choice is greedy, one mask after
the other, and then single masks are exchanged as long as that lowers (1); the best of a few such choices, each with
another first mask, is taken. With 1 - IoU the share of empty masks is kept too, since empty masks are at distance 1
from all others and 0 from each other.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from plurimask.errors import InputError

_LEAST = 1e-9
"""An exchange that gains no more than so much is rounding."""
_STARTS = 8
"""First masks that are tried."""
_BYTES_AT_ONCE = 2**13
"""Of each mask: float32 counts their bits exactly, and a pool of 256 takes 64 MiB."""


class Representatives(NamedTuple):
    """A choice.

    Args:
        indices: (N,) int64, positions in the pool; the one that stands for most comes first.
        weights: (N,) int64, how many of the pool each stands for: those that it is nearest to. They sum to n.
    """

    indices: np.ndarray
    weights: np.ndarray


def pool_distances(parts: Iterable[np.ndarray]) -> np.ndarray:
    """1 - IoU of all pairs of a pool, (n, n) float64.

    Args:
        parts: of the image, such as planes: of each all masks as bits, (n, bytes) uint8, as `numpy.packbits` has them.
    """
    shared: np.ndarray = np.zeros(())
    for part in parts:
        held = part[:, np.bitwise_or.reduce(part, axis=0) > 0]
        for start in range(0, max(held.shape[1], 1), _BYTES_AT_ONCE):
            x = np.unpackbits(held[:, start : start + _BYTES_AT_ONCE], axis=1).astype(np.float32)
            shared = shared + (x @ x.T).astype(np.float64)
    sizes = shared.diagonal()
    union = sizes[:, None] + sizes - shared
    # Of two empty masks 0, as `overlap` has it, which needs more than NumPy and so cannot go with exported models.
    return np.where(union > 0, 1 - shared / np.maximum(union, 1), 0.0)


def select(distances: np.ndarray, count: int) -> Representatives:
    """Choose `count` of a pool by (1).

    The choice does not depend on the order of the pool, except among masks that distances cannot tell apart.

    Args:
        distances: (n, n), symmetric, 0 on the diagonal, finite.
        count: N, at least 1 and at most n.

    Raises:
        InputError: a count that the pool does not have, or distances that are none.
    """
    pool = len(distances)
    if distances.shape != (pool, pool) or not np.isfinite(distances).all() or (distances != distances.T).any():
        raise InputError(
            "distances", expected="a symmetric finite matrix", got=str(distances.shape), hint="give one of all pairs"
        )
    if not 1 <= count <= pool:
        raise InputError("pool", expected=f"at least {max(count, 1)} masks", got=str(pool), hint="draw a larger pool")
    order = _order(distances)
    d = np.asarray(distances, dtype=np.float64)[np.ix_(order, order)]
    starts = np.argsort(d.mean(1), kind="stable")[:_STARTS].tolist()
    chosen = min((_exchanged(d, _greedy(d, count, first)) for first in starts), key=lambda one: energy(d, one))
    weights = np.bincount(_nearest(d[:, chosen]), minlength=count)
    ranked = np.lexsort((chosen, -weights))
    return Representatives(order[chosen[ranked]], weights[ranked])


def energy(distances: np.ndarray, chosen: np.ndarray) -> float:
    """(1) of a choice, (N,) positions in the pool."""
    return float(2 * distances[chosen].mean() - distances[np.ix_(chosen, chosen)].mean())


def _order(distances: np.ndarray) -> np.ndarray:
    """The pool in an order that its own order does not change: by the sorted distances of each mask to all."""
    rows = np.sort(distances, axis=1)
    return np.lexsort(rows.T[::-1])


def _greedy(d: np.ndarray, count: int, first: int) -> np.ndarray:
    """One after the other, each the best beside those that are there."""
    to_pool, to_chosen, chosen = d.mean(1), d[first].copy(), [first]
    for size in range(2, count + 1):
        # What of (1) depends on the next one, times `size`.
        costs = 2 * to_pool - 2 * to_chosen / size
        costs[chosen] = np.inf
        best = int(np.flatnonzero(costs <= costs.min() + _LEAST)[0])
        chosen.append(best)
        to_chosen += d[best]
    return np.array(chosen)


def _exchanged(d: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The best exchange of one mask for another, again and again while (1) falls."""
    count, to_pool = len(chosen), d.mean(1)
    while True:
        to_chosen = d[:, chosen].sum(1)
        # Change of (1), rows are those that leave and columns those that come.
        pool = 2 / count * (to_pool - to_pool[chosen, None])
        inner = 2 / count**2 * (to_chosen - d[chosen] - to_chosen[chosen, None])
        change = pool - inner
        change[:, chosen] = np.inf
        if change.min() > -_LEAST:
            return chosen
        leaves, comes = np.unravel_index(np.flatnonzero(change <= change.min() + _LEAST)[0], change.shape)
        chosen[leaves] = comes


def _nearest(to_chosen: np.ndarray) -> np.ndarray:
    """Which of the chosen (n, N) each of the pool is nearest to: those it is equally near to take turns."""
    places, taken = np.empty(len(to_chosen), dtype=np.int64), np.zeros(to_chosen.shape[1], dtype=np.int64)
    for row, nearest in enumerate(to_chosen.min(1)):
        near = np.flatnonzero(to_chosen[row] <= nearest + _LEAST)
        places[row] = near[taken[near].argmin()]
        taken[places[row]] += 1
    return places
