"""Whole studies: slices, fields and regions, their noise, the time that is left, and what is refused."""

import math
import os

import numpy as np
import pytest
import torch
from tiny import SMALL, image, recipe, small

from plurimask.diffusion.samplers import Noise
from plurimask.errors import InputError, SettingsError, duration
from plurimask.files.locate import Study
from plurimask.geometry import Grid
from plurimask.records import Case
from plurimask.sampling import Model, TimeLeft, needs_region, parse_region, sample_study, study
from plurimask.training.checkpoint import Checkpoint

PLANAR = [name for name in SMALL if name != "one-pass-volume"]


def model(name="cimd", **changed):
    """Weights that nobody trained, moved away from their start."""
    method = small(name, 0.1)
    sampler = {"name": "ddim", "steps": 3} if method.process else None
    made = recipe(method=method.settings.model_dump(), sampler=sampler, **changed)
    return Model("tiny", Checkpoint(method.eval(), made, 0, "", "0" * 64), torch.device("cpu"))


@pytest.fixture(scope="module")
def cimd():
    return model()


def volume(shape, seed=0):
    return np.random.default_rng(seed).normal(size=(1, *shape)).astype(np.float32)


def of(pixels, format="npy", affine=None):
    grid = Grid(pixels.shape[1:], affine)
    return Study(Case("scan", pixels, np.zeros((0, *grid.shape), dtype=bool), grid), format, ())


def near(first, second):
    """Equal up to float rounding at the threshold."""
    return (first != second).mean() < 0.002


@pytest.mark.parametrize("name", PLANAR)
def test_one_field_is_drawn_as_a_plain_image(name):
    made = model(name)
    assert np.array_equal(sample_study(made, of(image()), 3).masks, made.sample(image(), 3).masks)


@pytest.mark.parametrize("name", PLANAR)
def test_slices_that_are_equal_get_equal_masks(name):
    """Of 21 x 40 pixels each, so that several fields are blended."""
    repeated = np.repeat(volume((21, 40, 1)), 2, axis=3)
    masks = sample_study(model(name), of(repeated), 2, whole=True).masks
    assert masks.shape == (2, 21, 40, 2)
    assert np.array_equal(masks[..., 0], masks[..., 1])
    assert 0 < masks.mean() < 1


@pytest.mark.parametrize("name", PLANAR)
def test_a_seed_gives_its_mask_whatever_else_is_in_work_and_no_other_seed_does(name, monkeypatch):
    """But for the control, which draws one mask at every seed."""
    made, scan = model(name), of(volume((21, 40)))
    together = sample_study(made, scan, 4, whole=True).masks
    monkeypatch.setattr(study, "SAMPLES_IN_WORK", 3)
    assert near(together, sample_study(made, scan, 4, whole=True).masks)
    assert np.array_equal(together[0], together[1]) == (name == "unet")


def test_noise_is_that_of_the_plane_in_every_field(cimd):
    """The first noisy masks that the network is shown are parts of one plane, whose generator is the sample's own."""
    seen, scan = [], of(volume((40, 48)))
    with cimd.method.denoiser.register_forward_pre_hook(lambda module, given: seen.append(given[0])):
        panel = sample_study(cimd, scan, 2, region=parse_region("5:35,20:28"))
    plane = Noise(torch.tensor(panel.seeds), torch.device("cpu"))((1, 40, 48))
    tops = [4, 12, 20]  # 32 rows around row 20, fields of 16 that overlap by half
    for top, x in zip(tops, seen, strict=False):
        assert torch.equal(x, plane[..., top : top + 16, 16:32])


def test_predictions_are_blended_at_every_step(cimd):
    """What the network is shown of two fields agrees where they overlap, at the last step as at the first."""
    seen = []
    with cimd.method.denoiser.register_forward_pre_hook(lambda module, given: seen.append(given[0])):
        sample_study(cimd, of(volume((24, 16))), 2, whole=True)
    assert len(seen) == 6  # three steps of two fields
    for first, second in zip(seen[::2], seen[1::2], strict=True):
        assert torch.equal(first[..., 8:, :], second[..., :8, :])
    assert not torch.equal(seen[0], seen[4])


def test_nothing_is_drawn_outside_of_the_region(cimd):
    panel = sample_study(cimd, of(volume((40, 48, 5))), 3, region="5:35,20:28,1:3")
    outside = panel.masks.copy()
    outside[:, 5:35, 20:28, 1:3] = False
    assert not outside.any()
    assert panel.masks[:, 5:35, 20:28, 1:3].any()
    assert panel.settings["region"] == [[5, 35], [20, 28], [1, 3]]


def test_samples_that_follow_are_those_of_one_longer_draw(cimd):
    scan = of(volume((21, 40)))
    longer = sample_study(cimd, scan, 5, whole=True)
    rest = sample_study(cimd, scan, 3, whole=True, skip=2)
    assert rest.seeds == longer.seeds[2:]
    assert near(rest.masks, longer.masks[2:])


def test_planes_lie_across_the_slicing_axis():
    made = model("unet")  # whose masks do not depend on the seeds, and so not on the order of the voxels
    pixels = volume((20, 16, 3))
    upright = sample_study(made, of(pixels), 1, whole=True).masks
    stored = np.moveaxis(pixels, 3, 1)
    panel = sample_study(made, of(stored, "nifti", np.diag([4.0, 1.0, 1.0, 1.0])), 1, whole=True)
    assert panel.masks.shape == (1, 3, 20, 16)
    assert np.array_equal(panel.masks, np.moveaxis(upright, 3, 1))


@pytest.mark.parametrize("shape", [(9, 13), (16, 5, 2), (16, 16, 2)])
def test_an_image_up_to_a_field_is_its_own_region(cimd, shape):
    assert sample_study(cimd, of(volume(shape)), 2).masks.shape == (2, *shape)


def test_progress_counts_the_looks_at_fields(cimd, monkeypatch):
    monkeypatch.setattr(study, "SAMPLES_IN_WORK", 2)
    told = []
    sample_study(cimd, of(volume((24, 16, 2))), 3, whole=True, progress=lambda *at: told.append(at))
    total = 2 * 2 * 2 * 3  # slices, chunks, fields, steps
    assert told == [(done, total) for done in range(1, total + 1)]


def test_a_model_of_crops_needs_a_region_of_a_larger_image(cimd):
    said = (
        r"scan: expected a region \(--roi\), or an image of 16x16 pixels: tiny saw crops of lesions alone, "
        r"got 16x17x2; plurimask sample: give --roi with a study, for instance --roi 8,8,1 \(row, column, slice\), "
        r"or --whole"
    )
    with pytest.raises(SettingsError, match=said):
        sample_study(cimd, of(volume((16, 17, 2))))


def test_a_model_of_any_place_needs_none():
    made = model(images="any-place")
    assert not needs_region(made, of(volume((16, 17))))
    assert sample_study(made, of(volume((16, 17))), 1).masks.shape == (1, 16, 17)


def test_a_region_and_the_whole_are_refused(cimd):
    with pytest.raises(SettingsError, match="--roi: expected a region or --whole, got both"):
        sample_study(cimd, of(volume((40, 48))), region=parse_region("20,20"), whole=True)


def test_planes_too_large_to_draw_at_once_are_refused(cimd):
    giant = of(np.zeros((1, 2100, 2100), dtype=np.float32))
    with pytest.raises(InputError, match="expected at most 4194304 pixels of a plane to draw at once, got 2100x2100"):
        sample_study(cimd, giant, whole=True)


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="memory is read as Linux tells it")
def test_masks_take_memory_for_the_slices_of_the_region_alone(cimd):
    scan = of(np.zeros((1, 300, 300, 400), dtype=np.float32))
    before = resident_bytes()
    panel = sample_study(cimd, scan, 16, region=parse_region("100,100,150:152"))
    assert panel.masks.nbytes == 16 * math.prod((300, 300, 400))  # 576 MB of addresses
    assert resident_bytes() - before < 0.25 * panel.masks.nbytes


def run(total, slow_first=5.0, each=2.0):
    """What is said, and all progress: the first look takes longer than the others."""
    now, said, passed = [0.0], [], []
    left = TimeLeft(lambda text: said.append((len(passed), text)), lambda *at: passed.append(at), lambda: now[0])
    for done in range(1, total + 1):
        now[0] += slow_first if done == 1 else each
        left(done, total)
    return said, passed


def test_the_time_left_follows_from_the_first_looks_without_the_very_first():
    said, passed = run(1000)
    assert said == [(8, "33 min")]
    assert passed == [(done, 1000) for done in range(1, 1001)]
    assert run(2)[0] == [(1, "0 s")]  # a short study is told of too


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (95, "2 min"), (3580, "1 h 0 min"), (12_000, "3 h 20 min")]
)
def test_durations_are_told_in_two_units(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("tiny", of(image())), r"model: expected a Model, got str; give pm\.load\(name\)"),
        ((model("unet"), image()), r"study: expected a Study, got ndarray; give pm\.open_study\(path\)"),
        ((model("unet"), of(image()).case), "study: expected a Study, got Case"),
    ],
)
def test_what_is_no_model_or_no_study_is_refused(given, said):
    with pytest.raises(InputError, match=said):
        sample_study(*given)
