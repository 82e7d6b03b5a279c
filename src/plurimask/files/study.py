"""One image or volume as found on disk, in whichever format."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from plurimask.records import Case

Format = Literal["dicom", "nifti", "picture", "npy"]


@dataclass(frozen=True, eq=False)
class Study:
    """A case and where it came from.

    Args:
        case: image and grid; raters (0, ...) unless a case folder has labels. Its name comes from the path.
        format: of the file, or of the first image file of a case folder.
        sources: the files that it was read from, in the order of the slices for DICOM.
    """

    case: Case
    format: Format
    sources: tuple[Path, ...]
