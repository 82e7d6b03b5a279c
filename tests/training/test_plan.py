"""A planned recipe: what is read from the data, what follows from it, and that it trains as it is."""

import tomllib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from tiny import SMALL, TREE, recipe, write_cases

from plurimask.datasets.open import open_dataset
from plurimask.datasets.store import open_store
from plurimask.errors import DatasetError
from plurimask.geometry import Grid
from plurimask.methods.one_pass import OnePass
from plurimask.records import Case
from plurimask.training.plan import Cost, Facts, choose, look, measure, plan
from plurimask.training.recipe import recipe_on_base


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PLURIMASK_CACHE", str(tmp_path / "cache"))


class Strips:
    """Ten patients; readers draw strips of 60 x 12 pixels and, in every second image, a dot; the last one nothing."""

    root, digest, sides, split_by = "strips", "5" * 64, {"p8": "val", "p9": "test"}, "list"

    def __init__(self, drawn=True):
        self.names, self.patients, self.drawn = [f"case-{i}" for i in range(10)], [f"p{i}" for i in range(10)], drawn
        self.sides = dict.fromkeys(self.patients, "train") | self.sides

    def __len__(self):
        return 10

    def __getitem__(self, index):
        shape = (200, 140) if index % 2 else (120, 140)
        readers = np.zeros((4, *shape), dtype=bool)
        if self.drawn:
            readers[:3, 50:62, 20:80] = True
            readers[0, 100, 130] = index % 2
        return Case(self.names[index], np.ones((2, *shape), np.float32), readers, Grid(shape), self.patients[index])


def test_facts_are_those_of_the_train_side():
    facts = look(Strips(), open_store(Strips()))
    assert facts.sizes == {(120, 140): 5, (200, 140): 5}
    assert (facts.channels, facts.readers, facts.empty) == (2, (4, 4), 0.25)
    assert facts.cases == facts.patients == {"train": 8, "val": 1, "test": 1}
    assert (facts.object, facts.spans) == (60, (111, 111, 111))
    assert facts.thickness == pytest.approx(12, rel=0.15)
    assert facts.drawn == pytest.approx(0.75 * 720 * (1 / 120 + 1 / 200) / 2 / 140, rel=0.01)
    assert facts.reach == 61
    assert facts.disagreement == pytest.approx((3 / 6 + (3 + 2 * 1 / 721) / 6) / 2)


def test_a_dataset_where_nothing_is_drawn_is_refused():
    with pytest.raises(DatasetError, match="strips: expected something drawn, got empty masks alone; check the labels"):
        look(Strips(drawn=False), open_store(Strips(drawn=False)))


def facts(**changed):
    usual = {
        "sizes": {(256, 256): 100},
        "channels": 1,
        "readers": (5, 5),
        "cases": {"train": 80, "val": 10, "test": 10},
        "patients": {"train": 80, "val": 10, "test": 10},
        "empty": 0.0,
        "drawn": 0.05,
        "object": 100.0,
        "thickness": 30.0,
        "spans": (100, 170, 210),
        "disagreement": 0.5,
        "reach": 120,
        "masks": {},
    }
    return Facts(**(usual | changed))


def settings(**changed):
    return {choice.key: choice.value for choice in choose(facts(**changed))}


def test_large_objects_are_seen_in_whole_images_through_coarse_places():
    made = settings()
    assert (made["image_size"], made["method.encoder.patch"]) == (256, 8)
    assert made["method.windows"] == [128, 192]  # in steps of four places
    assert not {"training.drawn", "method.lift"} & made.keys()


def test_small_objects_are_seen_in_fields_of_the_images():
    made = settings(sizes={(1024, 1344): 9, (1038, 1376): 4}, object=20.0, thickness=11.0, spans=(900, 1300, 1344))
    assert (made["image_size"], made["method.windows"], made["method.encoder.patch"]) == (96, [96], 2)
    assert 0 < made["training.drawn"] < 1
    assert made["method.lift"] < 0


def test_images_of_no_multiple_of_the_nets_are_padded_to_one():
    assert settings(sizes={(100, 70): 9}, thickness=8.0)["image_size"] == 112


def test_lesions_in_the_middle_of_small_images_go_on_from_those_of_lidc():
    made = settings(sizes={(128, 128): 50}, spans=(15, 30, 40), reach=25)
    assert (made["base"], made["images"], made["image_size"]) == ("one-pass-lidc", "lesion-crops", 128)
    assert made["training.start"] == "lidc-one-pass"
    assert "training.start" not in settings(sizes={(128, 128): 50}, spans=(15, 30, 40), reach=25, channels=3)
    assert settings(sizes={(128, 128): 50}, reach=64)["images"] == "any-place"


def test_readers_of_several_masks_are_learned_by_name_and_one_of_a_single_mask_is_told():
    masks = {"reader 2": 12, "reader 10": 9, "guest": 1}
    assert settings(masks=masks)["method.readers"] == ["reader 2", "reader 10"]
    assert facts(masks=masks).lines()[-1] == "guest: too few masks to be learned as a reader"
    assert "method.readers" not in settings(masks={"guest": 1})


@pytest.fixture
def cost(monkeypatch):
    made = []

    def measured(recipe, dataset):
        made.append(recipe)
        return Cost(0.5 if recipe.training.precision == "bf16-mixed" else 0.6, 0.25, 0.1, 1.24)

    monkeypatch.setattr("plurimask.training.plan.measure", measured)
    return made


def test_steps_fill_the_time_and_the_rest_follows_from_them(cost):
    text = plan(Strips(), 10)
    tree = tomllib.loads(text)
    # 95% of 600 s, less 8 validations of one case of 0.1 s; 0.4 of the steps are of the mean mask alone.
    assert tree["training"]["steps"] == int((570 - 0.8) / (0.4 * 0.25 + 0.6 * 0.5)) == 1423
    assert tree["method"]["start"] == int(0.4 * 1423)
    assert tree["training"]["validate_every"] == 178
    assert "1423 steps of 0.40 s, 8 validations of 0.1 s: about 10 min" in text.replace("\n# ", " ")
    assert "1.2 GiB" in text
    assert [recipe.training.precision for recipe in cost] == ["32-true", "bf16-mixed"]
    assert tree["training"]["precision"] == "bf16-mixed"
    assert recipe_on_base(tree, "plan").method.image_channels == 2


def test_where_readers_agree_the_mean_mask_is_learned_longer_and_by_overlap(cost):
    assert settings(disagreement=0.3)["method.region_weight"] == 1
    assert "method.region_weight" not in settings(disagreement=0.5)

    class Alike(Strips):
        def __getitem__(self, index):
            case = super().__getitem__(index)
            return replace(case, readers=case.readers[:3])

    tree = tomllib.loads(plan(Alike(), 10))
    assert tree["method"]["start"] == int(0.5 * tree["training"]["steps"])


def test_every_setting_that_is_no_matter_of_course_has_its_reason(cost):
    lines = plan(Strips(), 1).splitlines()
    bare = [line.split(" ")[0] for before, line in pairwise(lines) if "=" in line and before[:1] != "#"]
    assert set(bare) <= {"zoom", "intensity", "validation_cases", "crop_shift"}


def test_a_plan_trains_as_it_is(tmp_path):
    """Timed in earnest, for six seconds."""
    text = plan(open_dataset(write_cases(tmp_path / "cases")), 0.1)
    assert recipe_on_base(tomllib.loads(text), "plan").training.steps >= 20
    assert "images of 16 x 16 (40) pixels" in text


@pytest.mark.parametrize(("start", "whole"), [("lidc-one-pass", 2), (None, 3)])
def test_of_the_full_steps_that_are_timed_as_many_see_whole_images_as_in_the_run(tmp_path, monkeypatch, start, whole):
    sizes, loss = [], OnePass.loss
    monkeypatch.setattr(OnePass, "loss", lambda self, batch: sizes.append(batch.image.shape[-1]) or loss(self, batch))
    training = TREE["training"] | {"crop": 8, "crop_steps": 3, "start": start}
    made = recipe(method={"name": "one-pass"} | SMALL["one-pass"], sampler=None, training=training)
    measure(made, open_dataset(write_cases(tmp_path / "cases")))
    assert len(sizes) == 25
    assert sizes[-10:].count(16) == whole
    assert set(sizes[:15]) == {8}
