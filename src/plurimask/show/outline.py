"""The outlines of a mask as polygons along voxel edges, so that they hold exactly the voxels of the mask.

In the frame of `plurimask.show`.
"""

from itertools import pairwise

import numpy as np

# The four edges of a voxel, clockwise from the top: the (row, column) of the neighbour behind it, the corner where it
# starts, and the step to the next corner.
_BEHIND = ((-1, 0), (0, 1), (1, 0), (0, -1))
_CORNER = np.array(((0, 0), (0, 1), (1, 1), (1, 0)))
_STEP = np.array(((0, 1), (1, 0), (0, -1), (-1, 0)))


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """The closed polygons that run along the voxel edges of a mask (H, W).

    Each is (n, 2) int, the (x, y) of its corners, clockwise round voxels and anticlockwise round holes. Voxels that
    touch at a corner only are apart. Filled by the even-odd rule, the polygons give the mask back exactly.
    """
    edges = _edges(mask)
    following = _following(edges, mask.shape)
    side = edges[:, 2]
    corner = np.empty(len(edges), dtype=bool)
    corner[following] = side[following] != side
    loops = _loops(following.tolist(), corner.tolist())
    points = edges[:, 1::-1]
    return [points[loop] for loop in loops]


def svg_path(mask: np.ndarray) -> str:
    """The outlines of a mask (H, W) as the `d` of an SVG path, in whole voxels; empty for an empty mask."""
    parts = []
    for polygon in outlines(mask):
        (x, y), corners = polygon[0].tolist(), polygon.tolist()
        steps = (f"h{x1 - x0}" if y0 == y1 else f"v{y1 - y0}" for (x0, y0), (x1, y1) in pairwise(corners))
        parts.append(f"M{x} {y}{''.join(steps)}z")
    return "".join(parts)


def _edges(mask: np.ndarray) -> np.ndarray:
    """Edges between a voxel of the mask and one outside it, (n, 3) int: row and column of the start, and the side."""
    padded = np.pad(mask, 1)
    found = []
    for side, (down, right) in enumerate(_BEHIND):
        behind = np.roll(padded, (-down, -right), (0, 1))[1:-1, 1:-1]
        voxels = np.argwhere(mask & ~behind)
        found.append(np.column_stack((voxels + _CORNER[side], np.full(len(voxels), side))))
    return np.concatenate(found)


def _following(edges: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(n,) the index of the edge that each edge leads to."""
    row, column, side = edges.T
    index = np.full((shape[0] + 1, shape[1] + 1, 4), -1)
    index[row, column, side] = np.arange(len(edges))
    row, column = row + _STEP[side, 0], column + _STEP[side, 1]
    right, ahead, left = (index[row, column, (side + turn) % 4] for turn in (1, 0, 3))
    # Turning right before going straight stays with the same voxel where two voxels touch at a corner.
    return np.where(right >= 0, right, np.where(ahead >= 0, ahead, left))


def _loops(following: list[int], corner: list[bool]) -> list[list[int]]:
    """The closed loops of edges, each the indices of those edges that start at a corner."""
    loops = []
    walked = [False] * len(following)
    for edge in range(len(following)):
        loop = []
        while not walked[edge]:
            walked[edge] = True
            if corner[edge]:
                loop.append(edge)
            edge = following[edge]
        if loop:
            loops.append(loop)
    return loops
