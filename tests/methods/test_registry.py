"""Methods by name: every name builds its own class, and settings say what a recipe needs to know."""

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from plurimask.methods.cimd import CimdSettings
from plurimask.methods.method import Method
from plurimask.methods.registry import METHODS, SETTINGS, AnySettings, build

ADAPTER = TypeAdapter(AnySettings)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_name_gives_its_settings(name):
    settings = ADAPTER.validate_python({"name": name})
    assert type(settings) is SETTINGS[name]
    assert settings.name == name


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_come_back_from_json(name):
    settings = SETTINGS[name](image_channels=3)
    assert ADAPTER.validate_json(settings.model_dump_json()) == settings


@pytest.mark.parametrize("name", SETTINGS)
def test_settings_build_their_method(name):
    with torch.device("meta"):  # the published sizes, without their memory
        made = build(SETTINGS[name](image_channels=4))
    assert isinstance(made, Method)
    assert type(made) is METHODS[SETTINGS[name]]
    assert made.image_channels == 4


@pytest.mark.parametrize("name", SETTINGS)
def test_every_method_says_what_images_and_which_process_it_has(name):
    settings = SETTINGS[name]()
    assert settings.multiple >= 1
    assert settings.timesteps is None or settings.timesteps > 1


def test_without_a_name_settings_are_those_of_cimd():
    assert ADAPTER.validate_python({"vlb_weight": 0.5}) == CimdSettings(vlb_weight=0.5)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValidationError, match=r"'probunet' found using 'name' does not match .* 'cimd'"):
        ADAPTER.validate_python({"name": "probunet"})
