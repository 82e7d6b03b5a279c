"""Situations of other people's bug reports: each command gives the right result or the right refusal.

The folder ../shared/field is no part of the project; its READMEs say what each situation is and what is right.
"""

import os
import runpy
import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from said import command

from plurimask.errors import PlurimaskError
from plurimask.evaluation import read_scores
from plurimask.files.locate import open_study
from plurimask.files.mask_sets import read_mask_set
from plurimask.viewer.library import open_library

FIELD = Path(os.environ.get("PLURIMASK_FIELD", Path(__file__).parents[2] / "shared/field"))
pytestmark = pytest.mark.skipif(not FIELD.is_dir(), reason=f"the situations of the field are not at {FIELD}")
SMALL = (
    *("--set", "method.denoiser.channels=[32]", "--set", "method.denoiser.attention=[false]"),
    *("--set", "method.ambiguity.encoder.widths=[4, 8]", "--set", "training.batch_size=2"),
    *("--set", "training.validation_cases=1", "--set", "training.validation_samples=2", "--set", "sampler.steps=2"),
)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command in the folder of a situation."""
    monkeypatch.setenv("PLURIMASK_CACHE", str(tmp_path / "cache"))

    def call(situation, *arguments):
        monkeypatch.chdir(FIELD / situation)
        return command(monkeypatch, capsys, *arguments)

    return call


def message_of(call):
    """What an error says, or nothing."""
    try:
        call()
    except (PlurimaskError, TypeError) as error:
        return str(error)
    return ""


SMOOTHED = ("--root", ".", "--image", "{patient}/image.png", "--reader", "{patient}/label{reader}.png")


def test_05_the_dry_run_offers_to_cut_smoothed_masks_at_half(run):
    said = run("05-smoothed-png-masks", "prepare", "folder", *SMOOTHED, "--dry-run")
    assert "half" in said.out + said.err
    assert "Dice" in said.out + said.err


def test_05_smoothed_masks_are_cut_at_half_on_request(run, out):
    assert run("05-smoothed-png-masks", "prepare", "folder", *SMOOTHED, "--label", "half", "--out", out).code == 0
    for patient in ("P0", "P1", "P2"):
        truth = np.asarray(Image.open(FIELD / f"05-smoothed-png-masks/truth-{patient}.png")) > 0
        readers = open_study(out / patient).case.readers
        dice = 2 * (readers & truth).sum(axis=(1, 2)) / (readers.sum(axis=(1, 2)) + truth.sum())
        assert (dice > 0.99).all()


def test_06_a_mosaic_is_its_slices_or_refused(run, out):
    said = run("06-mosaic", "sample", "lidc", "series", "--roi", "128,128", "--count", 3, "--out", out)
    assert said.refused("IM0000.dcm") or read_mask_set(out / "series").masks.shape[-1] == 13


def test_06_a_mosaic_is_not_shown_as_one_plane():
    message = message_of(lambda: open_library(FIELD / "06-mosaic/series", None, drawing=False))
    assert "IM0000.dcm: expected one slice a file, got a mosaic" in message


def test_07_masks_with_exchanged_axes_are_right_or_asked_about(run, out, tmp_path):
    scored = ("--data", "data", "--split", "all", "--out")
    assert run("07-masks-with-axes-exchanged", "evaluate", "by-nibabel", *scored, tmp_path / "nibabel").code == 0
    said = run("07-masks-with-axes-exchanged", "evaluate", "by-simpleitk", *scored, out)
    assert read_scores(tmp_path / "nibabel").mean["ged_v"] == 0
    assert "swapped axes" in said.out + said.err or read_scores(out).mean["ged_v"] == 0


ROUNDED = ("--root", ".", "--image", "{patient}/t2.nii.gz", "--reader", "{patient}/reader_{reader}.nii.gz", "--dry-run")


def test_08_rounded_headers_are_refused_with_the_amount_and_a_way_on(run):
    said = run("08-affine-rounded-on-export", "prepare", "folder", *ROUNDED)
    assert " mm" in said.out + said.err
    assert "--" in said.out + said.err
    assert "correct the header" not in said.out + said.err


def test_10_a_dataset_of_links_is_shown_on_request(tmp_path):
    shutil.copytree(FIELD / "10-dataset-of-links", tmp_path / "links", symlinks=True)
    for path in (tmp_path / "links/data").glob("P*/*.png"):
        path.parent.chmod(0o700)
        if not path.is_symlink():  # where links were copied as texts
            target = path.read_text()
            path.unlink()
            path.symlink_to(target)
    library = open_library(tmp_path / "links/data", None, drawing=False, follow_links=True)
    assert {len(library.case(next(iter(library.sources)), name).readers) for name in ("P0", "P1")} == {2}


def test_11_the_hint_names_what_train_takes(run, out):
    small = ("--set", "image_size=64", "--set", "training.steps=1")
    said = run("11-hint-of-another-command", "train", "cimd-small", "--data", "data", "--out", out, *small)
    assert said.refused("split.csv")
    assert "--split " not in said.err


def test_12_resume_says_what_differs_and_changes_nothing(run, out):
    steps = ("--set", "image_size=64", "--set", "training.steps=6", "--set", "training.checkpoint_every=3")
    train = partial(run, "12-resume-changed", "train", "cimd-small", "--data", "data", "--out", out, *SMALL)
    assert train(*steps).code == 0
    before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert train(*steps, "--set", "training.batch_size=4", "--resume").refused("training.batch_size", "2", "4")
    assert train(*steps, "--set", "training.steps=3", "--resume").refused("training.steps", "6", "3")
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_13_a_recipe_with_a_byte_order_mark_is_read(run, out):
    data = "../12-resume-changed/data"
    said = run("13-toml-with-byte-order-mark", "train", "recipe.toml", "--data", data, "--out", out, *SMALL)
    assert (said.code, said.err) == (0, "")


def test_14_readers_in_one_file_are_read_or_hinted_at_as_labels(run):
    files = ("--image", "{patient}/t1.nii.gz", "--reader", "{patient}/readers.nii.gz")
    said = run("14-readers-in-one-file", "prepare", "folder", "--root", ".", *files, "--dry-run")
    assert "image0" not in said.out + said.err
    assert "reader" in said.out + said.err


def test_15_numpy_masks_are_scored_or_the_message_says_what_to_do(capsys):
    message = message_of(lambda: runpy.run_path(str(FIELD / "15-numpy-masks-to-metrics/run.py")))
    assert not message or "torch.from_numpy" in message
    assert capsys.readouterr().out.startswith("bool bool\n")
