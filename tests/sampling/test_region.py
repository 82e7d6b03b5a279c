"""A region in voxels or in mm, the voxels that it holds, and the axis across which a volume is sliced."""

import numpy as np
import pytest

from plurimask.errors import SettingsError
from plurimask.files.locate import Study
from plurimask.geometry import Grid
from plurimask.records import Case
from plurimask.sampling.region import find_box, parse_region, reaching_edges, slicing_axis

SHAPE = (512, 480, 60)
FIELD = 128


def affine(spacing=(0.5, 0.5, 2.5), origin=(100.0, -120.0, -300.0), turn=None):
    """Rows run to the back, columns to the left, slices up, unless turned."""
    axes = np.array([[0, -1, 0], [-1, 0, 0], [0, 0, 1]], dtype=float)
    made = np.eye(4)
    made[:3, :3] = (axes if turn is None else turn @ axes) * spacing
    made[:3, 3] = origin
    return made


GRID = Grid(SHAPE, affine())


def box(text, grid=GRID, slicing=2, field=FIELD):
    return [(span.start, span.stop) for span in find_box(parse_region(text), grid, slicing, field)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("200:328,210:338,20:40", [(200, 328), (210, 338), (20, 40)]),
        ("240,260,31", [(176, 304), (196, 324), (31, 32)]),
        ("240,260,20:40", [(176, 304), (196, 324), (20, 40)]),
        ("3,470,0", [(0, 128), (352, 480), (0, 1)]),
        ("0:512,0:480,0:60", [(0, 512), (0, 480), (0, 60)]),
        (" 240 , 260 , 31 ", [(176, 304), (196, 324), (31, 32)]),
    ],
)
def test_voxels(text, found):
    assert box(text) == found


def test_a_place_stands_for_a_field_along_both_axes_of_the_plane():
    assert box("31,240,26", slicing=0) == [(31, 32), (176, 304), (0, 60)]


def test_a_plane_has_two_axes():
    assert box("30,40", Grid((64, 200))) == [(0, 64), (0, 128), (0, 1)]


@pytest.mark.parametrize("index", [(240, 260, 31), (0, 0, 0), (511, 479, 59)])
def test_a_point_in_mm_is_its_voxel(index):
    place = GRID.affine @ (*index, 1)
    said = "mm:" + ",".join(f"{value + 0.1:.2f}" for value in place[:3])
    assert box(said, field=1) == [(value, value + 1) for value in index]


def test_a_box_in_mm_holds_the_voxels_whose_centres_it_holds():
    # x = 100 - 0.5 column, y = -120 - 0.5 row, z = -300 + 2.5 slice
    assert box("mm:50:60,-150:-140.3,-290:-280") == [(41, 61), (80, 101), (4, 9)]


def test_mm_follow_the_grid_however_its_axes_lie():
    """The same box of the same body, stored flipped and with axes exchanged, holds the same number of voxels."""
    flipped = affine() @ np.array([[-1, 0, 0, 511], [0, 1, 0, 0], [0, 0, -1, 59], [0, 0, 0, 1.0]])
    stored = Grid((60, 480, 512), flipped[:, [2, 1, 0, 3]])
    assert box("mm:50:60,-150:-140.3,-290:-280", stored, slicing=0) == [(51, 56), (80, 101), (451, 471)]


def test_on_an_oblique_grid_a_box_is_the_smallest_along_its_axes():
    cos, sin = np.cos(0.3), np.sin(0.3)
    turn = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    turned = Grid((128, 120, 6), affine((2.0, 2.0, 25.0), turn=turn))
    low, high = np.array([-10.0, -190.0, -305.0]), np.array([15.0, -160.0, -245.0])
    index = np.stack(np.meshgrid(*map(np.arange, turned.shape), indexing="ij"), axis=-1)
    world = index @ turned.affine[:3, :3].T + turned.affine[:3, 3]
    held = ((world >= low) & (world <= high)).all(-1)
    tight = [(int(at.min()), int(at.max()) + 1) for at in np.nonzero(held)]
    spans = box("mm:-10:15,-190:-160,-305:-245", turned)
    for (first, last), (tight_first, tight_last) in zip(spans, tight, strict=True):
        assert 0 <= tight_first - first <= 1
        assert 0 <= last - tight_last <= 1


@pytest.mark.parametrize(
    "text",
    ["", "240", "1,2,3,4", "a,b,c", "1.5,2,3", "-1,2,3", "1:2:3,4,5", "1:,2,3", "mm:1,2", "mm:nan,1,2", "1e3,2,3"],
)
def test_other_text_is_refused(text):
    with pytest.raises(SettingsError, match=r"expected a point or a box, in voxels or in mm.*write 240,260,31 or 200:"):
        parse_region(text)


@pytest.mark.parametrize("text", ["20:20,0:5,0:5", "30:20,0:5,0:5", "mm:5:5,0:1,0:1", "mm:-5:-10,0:1,0:1"])
def test_a_region_of_no_size_is_refused(text):
    with pytest.raises(SettingsError, match=f"expected ranges that begin below their end, got {text}"):
        parse_region(text)


@pytest.mark.parametrize("text", ["512,0,0", "0:513,0:10,0:10", "0,0,60", "600:700,0:10,0:10"])
def test_voxels_outside_the_image_are_refused(text):
    said = f"--roi: expected a region inside the image, 0:512,0:480,0:60, got {text}; move or shrink it"
    with pytest.raises(SettingsError, match=f"^{said}$"):
        box(text)


EXTENT = "mm:-139.8:100.2,-375.8:-119.8,-301.2:-151.2"


@pytest.mark.parametrize(
    ("text", "grid", "said"),
    [
        ("mm:101,-200,-200", GRID, f"a region inside the image, {EXTENT}, got mm:101,-200,-200"),
        ("mm:-500:0,-200:-150,-290:-200", GRID, f"a region inside the image, {EXTENT}, got mm:-500:0,"),
        ("mm:50:60,-150:-140,-289.9:-288", GRID, "a box that holds the centre of a voxel, got mm:50:60"),
        ("mm:1,2,-10:10", GRID, "three places or three ranges in mm"),
        ("mm:1,2,3", Grid((64, 64)), "voxels, since this image has no spacing, got mm:1,2,3"),
        ("1,2", GRID, "3 axes, as the image has, got 1,2"),
        ("1,2,3", Grid((64, 64)), "2 axes, as the image has, got 1,2,3"),
    ],
)
def test_other_regions_that_do_not_fit_are_refused(text, grid, said):
    with pytest.raises(SettingsError, match=f"expected {said}"):
        box(text, grid)


def study(spacing, format="nifti", order=(0, 1, 2), shape=(4, 5, 6)):
    """A volume whose array axes run along the world's axes `order`."""
    affine = np.zeros((4, 4))
    for axis, (along, step) in enumerate(zip(order, spacing, strict=True)):
        affine[along, axis] = step
    affine[3, 3] = 1
    grid = Grid(shape, affine)
    return Study(Case("one", np.zeros((1, *shape), np.float32), np.zeros((0, *shape), bool), grid), format, ())


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [
        ((0.7, 0.7, 2.5), 2),
        ((5.0, 0.9, 0.9), 0),
        ((0.9, 6.0, 0.9), 1),
        ((0.9, 0.9, 1.0), 2),
        ((0.8, 0.7, 3.0), 2),
        ((1.0, 0.5, 0.5), 0),
    ],
)
def test_nifti_planes_have_the_spacings_that_differ_least(spacing, axis):
    assert slicing_axis(study(spacing)) == axis


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_of_equal_spacings_the_planes_are_axial(order):
    assert slicing_axis(study((1.0, 1.0, 1.005), order=order)) == order.index(2)


@pytest.mark.parametrize("format", ["dicom", "npy", "picture"])
def test_other_formats_have_slices_along_the_third_axis(format):
    assert slicing_axis(study((5.0, 0.9, 0.9), format)) == 2


def test_a_plane_is_one_slice_of_the_third_axis():
    assert slicing_axis(study((3.0, 0.5, 0.5), shape=(4, 5))) == 2


def test_samples_on_an_inner_face_of_the_region_are_counted():
    """The box reaches the image's end along columns, and holds one plane: neither face cuts."""
    masks = np.zeros((5, 8, 9, 4), dtype=bool)
    for number, place in enumerate([(3, 4, 2), (5, 4, 2), (4, 8, 2), (4, 3, 2)]):
        masks[number, *place] = True
    assert reaching_edges(masks, [(3, 6), (3, 9), (2, 3)]) == 3
    assert reaching_edges(masks[..., 2], [(3, 6), (0, 9), (0, 1)]) == 2
