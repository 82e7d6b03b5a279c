"""Makes the golden masks and groups: what `pylidc` itself rasterises, and how it groups annotations into nodules.

`pylidc` 0.2.3 needs NumPy older than 1.24, so this runs once, in an environment of its own (Python 3.11):

    python3.11 -m venv old
    old/bin/pip install "pylidc==0.2.3" "numpy<1.24" "scipy<1.11" "matplotlib<3.8" "scikit-image<0.21" \
        "sqlalchemy<2" "setuptools<70"
    old/bin/python tests/golden/make_boolean_masks.py

It writes two files beside itself. boolean_masks.npz, one entry an annotation: `annotation` its id, `first` (n, 3) the
(row, column, slice) of its volume's first voxel, `shape` (n, 3), and `bits`, all volumes one after another in C order,
eight voxels a byte. nodule_groups.npz: `annotation` every id, `group` a number that annotations of one nodule share.
"""

from pathlib import Path

import numpy as np
import pylidc

HERE = Path(__file__).parent
SEED = 0
PLAIN, WITH_HOLES = 28, 12


def main() -> None:
    masks = [(a.id, a.bbox_matrix()[:, 0], a.boolean_mask()) for a in sampled_annotations()]
    np.savez_compressed(
        HERE / "boolean_masks.npz",
        annotation=np.array([m[0] for m in masks], dtype=np.int32),
        first=np.array([m[1] for m in masks], dtype=np.int32),
        shape=np.array([m[2].shape for m in masks], dtype=np.int32),
        bits=np.packbits(np.concatenate([m[2].ravel() for m in masks])),
    )
    pairs = sorted(numbered_groups())
    np.savez_compressed(
        HERE / "nodule_groups.npz",
        annotation=np.array([p[0] for p in pairs], dtype=np.int32),
        group=np.array([p[1] for p in pairs], dtype=np.int32),
    )


def sampled_annotations():
    """A fixed sample: annotations whose contours are all inclusions, then some that have exclusion contours."""
    random = np.random.RandomState(SEED)
    holes = {c.annotation_id for c in pylidc.query(pylidc.Contour).filter(pylidc.Contour.inclusion == False)}  # noqa: E712
    every = {row[0] for row in pylidc.query(pylidc.Annotation.id)}
    chosen = [*random.choice(sorted(every - holes), PLAIN, False), *random.choice(sorted(holes), WITH_HOLES, False)]
    return [pylidc.query(pylidc.Annotation).filter(pylidc.Annotation.id == int(i)).one() for i in sorted(chosen)]


def numbered_groups():
    """(annotation id, number of its nodule) for every annotation of every scan."""
    number = 0
    for scan in pylidc.query(pylidc.Scan):
        for nodule in scan.cluster_annotations(verbose=False):
            yield from ((annotation.id, number) for annotation in nodule)
            number += 1


if __name__ == "__main__":
    main()
