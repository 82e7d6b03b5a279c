"""Clipped images: by a window or by their own percentiles, from prepare through recipe and weights to sampling."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import recipe, small, write_cases

from plurimask.datasets.changed import split_by_rule
from plurimask.datasets.intensity import Intensity, parse_intensity
from plurimask.datasets.open import open_dataset
from plurimask.datasets.splits import SplitRule
from plurimask.errors import DatasetError, SettingsError
from plurimask.geometry import Grid
from plurimask.prepare.folder import FolderSettings, prepare_folder
from plurimask.records import Case
from plurimask.sampling.model import Model
from plurimask.training.checkpoint import Checkpoint, load_weights
from plurimask.training.loop import train


def case(values, **more):
    image = np.array(values, dtype=np.float32)
    return Case("case", image, np.zeros((0, *image.shape[1:]), dtype=bool), Grid(image.shape[1:]), **more)


def test_a_window_clips_every_channel_at_its_ends():
    clipped = Intensity(window=(-10, 20)).clip(case([[[-50, 0, 20]], [[5, 21, -10]]]))
    assert clipped.image.tolist() == [[[-10, 0, 20]], [[5, 20, -10]]]
    assert clipped.image.dtype == np.float32


def test_percentiles_are_those_of_each_channel_without_its_padding():
    image = np.stack([np.arange(101.0), 2 * np.arange(101.0)])[:, None]
    rule = Intensity(percentiles=(5, 90))
    clipped = rule.clip(case(image)).image
    assert (clipped.min((1, 2)).tolist(), clipped.max((1, 2)).tolist()) == ([5, 10], [90, 180])
    padding = np.arange(101)[None] >= 51
    assert rule.clip(case(image, padding=padding)).image.max((1, 2)).tolist() == [45, 90]


@pytest.mark.parametrize(
    ("window", "percentiles", "said"),
    [
        ("40,-10", None, "expected two numbers, the lower one first, got 40,-10; for instance"),
        ("nan,3", None, "the lower one first, got nan,3"),
        (None, "0.5,101", "expected percentiles from 0 to 100, got 0.5,101; for instance 0.5,99.5"),
        ("0,1", "0,1", "expected a window or percentiles, got both; give one of them"),
        ("low", None, "--window: expected low,high, got low; for instance -1000,400"),
    ],
)
def test_bounds_that_are_none_are_refused(window, percentiles, said):
    with pytest.raises(SettingsError, match=said):
        parse_intensity(window, percentiles)


def test_a_window_goes_from_prepare_into_the_weights_and_is_applied_in_sampling(tmp_path, monkeypatch):
    monkeypatch.setenv("PLURIMASK_CACHE", str(tmp_path / "cache"))
    raw = write_cases(tmp_path / "raw", count=12)
    settings = FolderSettings(
        ["{case}/image.png"], ["{case}/label{reader}.png"], intensity=parse_intensity("60,180", None)
    )
    prepare_folder(str(raw), str(tmp_path / "made"), settings)
    assert json.loads((tmp_path / "made" / "intensity.json").read_text()) == {"window": [60, 180]}
    whole = open_dataset(tmp_path / "made")
    assert (whole[0].image.min(), whole[0].image.max()) == (60, 180)
    dataset = split_by_rule(whole, SplitRule("rank", 0.2, 0.2))
    steps = {"steps": 1, "validation_cases": 1}
    train(recipe(training=steps | {"batch_size": 2, "validation_samples": 2}), dataset, tmp_path / "run")
    trained = load_weights(tmp_path / "run" / "best.safetensors").recipe
    assert trained.intensity == Intensity(window=(60, 180))

    model = Model("tiny", Checkpoint(small("ssn").eval(), replace_method(trained), 0, "", ""), "cpu")
    unclipped, clipped = (open_dataset(tmp_path / folder)[0] for folder in ("raw", "made"))
    assert unclipped.image.max() > 180
    assert np.array_equal(drawn(model, unclipped), drawn(model, replace(clipped, image=clipped.image)))
    other = trained.model_copy(update={"intensity": Intensity(window=(0, 1))})
    with pytest.raises(DatasetError, match=r'clipped as the recipe says, {"window":\[0.0,1.0\]}, got {"window":\[60'):
        train(other, dataset, tmp_path / "other")


def replace_method(trained):
    return trained.model_copy(update={"method": small("ssn").settings, "sampler": None})


def drawn(model, shown):
    """With the noise of an image of zeros, since noise follows from the image."""
    found = []
    model.panel = lambda case, count, seed, sampler, draw, *more: found.extend(draw((1, 2), None, None))
    model.sample(shown, 2)
    return found[0]


def test_a_file_of_another_form_is_refused(tmp_path):
    root = write_cases(tmp_path / "cases", count=2)
    (root / "intensity.json").write_text('{"window": [3, 1]}')
    with pytest.raises(DatasetError, match="expected two numbers, the lower one first, got 3,1"):
        open_dataset(root)
