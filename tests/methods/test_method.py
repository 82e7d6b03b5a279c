"""Whose masks a method learns, and the methods by name: this package's own, and those of other packages."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from plurimask.errors import SettingsError
from plurimask.methods.draw import draw_masks
from plurimask.methods.mask_diffusion import CimdSettings
from plurimask.methods.method import (
    BUILT_IN,
    AnySettings,
    Method,
    MethodSettings,
    build,
    method_class,
    method_names,
    reader_masks,
)
from plurimask.records import Batch

ADAPTER = TypeAdapter(AnySettings)
EVERY = pytest.mark.parametrize("name", BUILT_IN)


def batch():
    """Two images of three pixels; readers 2 of 3 and 1 of 2 agree; an unread slot holds rubbish."""
    readers = torch.tensor([[[1, 1, 0], [1, 0, 0], [0, 1, 0]], [[1, 0, 0], [0, 0, 0], [1, 1, 1]]]).bool()
    valid = torch.tensor([[True, True, True], [True, True, False]])
    return Batch(torch.arange(6.0).reshape(2, 1, 1, 3), readers[:, :, None], valid)


def test_the_mean_is_the_share_of_an_images_own_readers():
    image, mask = reader_masks(batch(), "mean")
    torch.testing.assert_close(mask[:, 0, 0], torch.tensor([[2 / 3, 2 / 3, 0], [0.5, 0, 0]]))
    assert torch.equal(image, batch().image)


def test_the_majority_is_more_than_half_of_an_images_own_readers():
    _, mask = reader_masks(batch(), "majority")
    assert mask[:, 0, 0].tolist() == [[1, 1, 0], [0, 0, 0]]


def test_all_readers_are_every_read_slot_with_its_image():
    image, mask = reader_masks(batch(), "all")
    assert mask[:, 0, 0].tolist() == [[1, 1, 0], [1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert image[:, 0, 0, 0].tolist() == [0, 0, 0, 3, 3]


def test_one_reader_is_a_read_slot_drawn_anew():
    torch.manual_seed(0)
    drawn = {tuple(reader_masks(batch(), "one")[1][1, 0, 0].tolist()) for _ in range(40)}
    assert drawn == {(1, 0, 0), (0, 0, 0)}


@pytest.mark.parametrize("choice", ["one", "mean"])
def test_with_one_reader_every_choice_is_that_reader(choice):
    alone = batch()
    alone = Batch(alone.image, alone.readers[:, :1], alone.valid[:, :1])
    assert torch.equal(reader_masks(alone, choice)[1].bool(), alone.readers)


@EVERY
def test_a_name_gives_settings_that_come_back_from_json(name):
    settings = ADAPTER.validate_python({"name": name, "image_channels": 3})
    assert type(settings) is method_class(name).Settings
    assert (settings.name, settings.image_channels) == (name, 3)
    assert ADAPTER.validate_json(settings.model_dump_json()) == settings
    assert ADAPTER.dump_python(settings) == settings.model_dump()


@EVERY
def test_settings_build_their_method(name):
    with torch.device("meta"):  # the published sizes, without their memory
        made = build(method_class(name).Settings(image_channels=4))
    assert type(made) is method_class(name)
    assert isinstance(made, Method)
    assert made.image_channels == 4
    assert (made.process is None) == (made.settings.timesteps is None)


def test_names_of_earlier_versions_are_read():
    assert ADAPTER.validate_python({"name": "panel", "windows": [32]}).name == "flow"
    assert MethodSettings.variant({"name": "panel"}) is method_class("flow").Settings


def test_without_a_name_settings_are_those_of_cimd():
    assert ADAPTER.validate_python({"vlb_weight": 0.5}) == CimdSettings(vlb_weight=0.5)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValidationError, match=r"name one of cimd, .*, not probunet"):
        ADAPTER.validate_python({"name": "probunet"})
    with pytest.raises(SettingsError, match=r"method: expected one of cimd, .*, got probunet"):
        method_class("probunet")


def test_the_modules_of_other_methods_are_not_imported():
    """MONAI is needed by two methods, and its import takes longer than that of torch."""
    code = """
import sys
from plurimask.methods.method import method_class
print(method_class("flow").__name__)
others = ("monai", "plurimask.methods.mask_diffusion", "plurimask.methods.ssn")
print([name for name in others if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["FlowMatching", "[]"]


THEIRS = '''
"""A method of another package: it learns nothing, and draws what is brighter than a random level."""

from typing import Literal

from plurimask.methods.method import Method, MethodSettings
from plurimask.records import LossTerms


class LevelSettings(MethodSettings):
    name: Literal["level"] = "level"
    scale: float = 1.0

    @property
    def multiple(self):
        return 1


class Level(Method):
    Settings = LevelSettings
    noise = ((1, 0),)

    def loss(self, batch):
        return LossTerms(batch.image.sum() * 0, {})

    def predict(self, encoded, noise):
        return encoded[:, :1] - self.settings.scale * noise[0][:, :, None, None]
'''


@pytest.fixture
def register(tmp_path, monkeypatch):
    """Install a package whose entry point names what a value says, as `pip install` would."""

    def install(value, name="level"):
        (tmp_path / "their_module.py").write_text(THEIRS)
        info = tmp_path / "their_package-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-package\nVersion: 1.0\n")
        # In their pyproject.toml: [project.entry-points."plurimask.methods"] level = "their_module:Level"
        (info / "entry_points.txt").write_text(f"[plurimask.methods]\n{name} = {value}\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "their_module", raising=False)

    return install


def test_another_package_registers_a_method_by_an_entry_point(register):
    register("their_module:Level")
    assert method_names() == [*BUILT_IN, "level"]
    settings = ADAPTER.validate_python({"name": "level", "scale": 0.5})
    made = build(settings)
    image = np.random.default_rng(0).normal(size=(1, 16, 16)).astype(np.float32)
    masks = draw_masks(made, image, range(40), None, 16)
    assert masks.shape == (40, 16, 16)
    assert 0.2 < masks.mean() < 0.8
    with pytest.raises(ValidationError, match="scala"):
        ADAPTER.validate_python({"name": "level", "scala": 0.5})


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("no_such_module:Level", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("their_module:Nothing", "AttributeError: .*'Nothing'"),
        ("their_module:LevelSettings", "another name or no method"),
        ("their_module:Level", "another name or no method"),
    ],
)
def test_an_entry_point_that_gives_no_method_of_its_name_is_refused(register, value, problem):
    register(value, name="other")
    with pytest.raises(SettingsError, match=rf"method other: expected a Method .* at {value}, got {problem}; mend"):
        method_class("other")


def test_a_name_of_this_package_is_not_replaced(register):
    register("their_module:Level", name="unet")
    assert method_class("unet").__name__ == "Unet"
