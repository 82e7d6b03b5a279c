"""How many of several masks hold a voxel."""

import numpy as np


def count_held(masks: np.ndarray) -> np.ndarray:
    """How many of the masks (S, ...) bool hold each voxel: (...), of the smallest unsigned type that can say S."""
    # As uint8, which numpy adds many times faster than it does bool.
    return np.asarray(masks.view(np.uint8).sum(axis=0, dtype=np.min_scalar_type(len(masks))))
