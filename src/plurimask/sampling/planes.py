"""Which planes of a volume a model is shown. THE rule for it; a model of slices has no say in it."""

import numpy as np

from plurimask.files.locate import Study

_ISOTROPIC = 1.01


def slicing_axis(study: Study) -> int:
    """The axis across which planes lie: 0, 1 or 2.

    DICOM, pictures and arrays have their slices along the third axis. A NIfTI file may store them along any: its planes
    are those of the two axes whose spacings differ least, as acquired; where all three are equal, the axial planes.
    A plane image is one slice of the third axis.
    """
    grid = study.case.grid
    if study.format != "nifti" or grid.affine is None or len(grid.shape) == 2:
        return 2
    spacing = np.linalg.norm(grid.affine[:3, :3], axis=0)
    if spacing.max() <= _ISOTROPIC * spacing.min():
        return grid.axial_axis
    planes = [np.delete(spacing, axis) for axis in range(3)]
    return int(np.argmin([plane.max() / plane.min() for plane in planes]))
