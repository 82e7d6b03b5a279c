"""Recipes: everything that defines a run, typed, validated, read from TOML and saved with the run."""

import tomllib
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from plurimask.datasets.batches import Symmetries
from plurimask.datasets.intensity import Intensity
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import SettingsError
from plurimask.methods.method import AnySettings, parse_settings
from plurimask.settings import Natural, Positive, Rate, Seed, Settings, Share, Shipped, Weight, parse, wrong

_RECIPES = Shipped("recipe", renamed={"panel-lidc": "flow-lidc", "panel-phantom": "flow-phantom"})


class TrainingSettings(Settings):
    """The loop's own settings.

    Args:
        start: a model whose weights training starts from: a built-in name, a checkpoint or a run folder.
        steps: optimiser steps in all.
        batch_size: images per step, over all processes.
        learning_rate: of AdamW.
        weight_decay: of AdamW; with 0 it is Adam.
        warmup: steps over which the learning rate rises from 0.
        decay: of the learning rate: `constant`, or `cosine` down to 0 at the last step.
        crop: pixels a side of the square crops near the middle that the first steps see.
        crop_steps: how many of the first steps see crops; the others see whole images.
        crop_shift: how many pixels a crop may lie off the middle. With `images` of `any-place` the first steps see
            smaller fields instead, wherever they lie.
        planes: of a volume that a step sees, around its middle one.
        drawn: with `images` of `any-place`, the share of the fields that hold something drawn; the others lie anywhere.
        symmetries: how images are flipped and turned by right angles: `all` eight ways, `flips` (rows and columns),
            `flip-rows`, `flip-columns`, `turns` (right angles alone) or `none`. A model that is to know left from right
            needs `flip-rows` or `none`.
        intensity: how much contrast and brightness of the images vary, in [-1, 1] (Batches).
        gamma: brightness between the least and the greatest is raised to a power up to 1 + gamma, or to its inverse.
        warp: share of the images that are turned by any angle and scaled, beside flips and right angles.
        turn: degrees that these are turned by at most.
        zoom: how far off 1 the factor is that these are scaled by, at most.
        clip: largest norm of the gradient.
        ema: decay of the exponential moving average of the weights, which samples are drawn from.
        seed: of everything random in the training.
        devices: processes, one per device; each takes an equal share of the batch.
        precision: Fabric's `32-true` or `bf16-mixed`; `auto` takes the second where a GPU has it, or a processor AMX.
        validate_every: steps from one validation to the next.
        validation_cases: validation cases whose masks are drawn and scored.
        validation_samples: masks that are drawn of each.
        checkpoint_every: steps from one checkpoint to the next; a run is resumed from the last.
    """

    start: str | None = None
    steps: Positive = 100_000
    batch_size: Positive = 8
    learning_rate: Rate = 1e-4
    weight_decay: Weight = 0.0
    warmup: Natural = 0
    decay: Literal["constant", "cosine"] = "constant"
    crop: Positive = 64
    crop_steps: Natural = 0
    crop_shift: Natural = 16
    planes: Annotated[Positive, Field(exclude_if=lambda planes: planes == 16)] = 16
    drawn: Annotated[float, Field(ge=0, le=1)] = 0.75
    symmetries: Symmetries = "all"
    intensity: Share = 0.0
    gamma: Weight = 0.0
    warp: Annotated[float, Field(ge=0, le=1)] = 0.0
    turn: Annotated[float, Field(ge=0, le=180)] = 0.0
    zoom: Share = 0.0
    clip: Rate = 1.0
    ema: Share = 0.9999
    seed: Seed = 0
    devices: Positive = 1
    precision: Literal["auto", "32-true", "bf16-mixed"] = "32-true"
    validate_every: Positive = 5000
    validation_cases: Positive = 24
    validation_samples: Annotated[int, Field(ge=2)] = 8
    checkpoint_every: Positive = 1000


class Recipe(Settings):
    """A run: the method, how it is trained, how it is sampled from by default, and what images it is meant for.

    A method without a diffusion process has no sampler.

    Args:
        image_size: pixels per side of the model's field: of the training images, or of the fields cut from them.
        images: what the training images are: `lesion-crops`, all of the field's size, or `any-place`, pictures of any
            sizes that fields are cut from. A model of crops outlines something everywhere, so it asks for a region in
            larger images.
        spacing_mm: the usual distance of two pixels of the training images; training finds it, and sampling brings
            studies near it. None where it is unknown.
        intensity: how the training images were clipped; training finds it, and sampling clips what it is given alike.
    """

    also: ClassVar[tuple[str, ...]] = ("base",)

    image_size: Positive
    # Left out where it is the default, so that recipes of earlier runs, and what is compared with them, stay the same.
    images: Annotated[
        Literal["lesion-crops", "any-place"], Field(exclude_if=lambda images: images == "lesion-crops")
    ] = "lesion-crops"
    spacing_mm: Annotated[Rate | None, Field(exclude_if=lambda spacing: spacing is None)] = None
    intensity: Annotated[Intensity | None, Field(exclude_if=lambda intensity: intensity is None)] = None
    method: AnySettings = Field(default_factory=lambda: parse_settings({}))
    training: TrainingSettings = TrainingSettings()
    sampler: Annotated[SamplerSettings | None, Field(validate_default=True)] = None

    @field_validator("sampler")
    @classmethod
    def _sampler_fits(cls, sampler: SamplerSettings | None, info: ValidationInfo) -> SamplerSettings | None:
        method = info.data.get("method")
        if method is None:  # refused already, with an error of its own
            return sampler
        if method.timesteps is not None:
            sampler = sampler or SamplerSettings()
            sampler.times(method.timesteps)
        elif sampler is not None:
            raise wrong(f"no sampler, since {method.name} draws a mask in one evaluation", got="one")
        return sampler

    @model_validator(mode="after")
    def _sizes_fit(self) -> "Recipe":
        multiple = self.method.multiple
        sizes = {"image_size": self.image_size}
        if self.training.crop_steps:
            sizes["training.crop"] = self.training.crop
        for name, size in sizes.items():
            if size % multiple:
                least = max(size // multiple, 1) * multiple
                near = f"for instance {least} or {least + multiple}"
                raise wrong(f"{name} a multiple of {multiple} (patch and levels), {near}", got=size)
            if size > self.image_size:
                raise wrong(f"{name} at most image_size, {self.image_size}", got=size)
        if self.method.volumes and self.images == "any-place":
            raise wrong(f"images lesion-crops, since {self.method.name} sees one lesion in the middle", got=self.images)
        settings = self.training
        if self.method.orientations > 1 and settings.symmetries != "all":
            got = f"training.symmetries {settings.symmetries}"
            raise wrong("method.orientations 1, where training does not show images in all eight", got=got)
        if settings.batch_size % settings.devices:
            raise wrong("training.batch_size in multiples of training.devices", got=settings.batch_size)
        if self.method.normalises_batches and settings.batch_size == settings.devices and multiple in sizes.values():
            raise wrong(
                f"training.batch_size of at least {2 * settings.devices} for images of {multiple} pixels, since batch "
                "normalisation leaves nothing of a single 1x1 map",
                got=settings.batch_size,
            )
        return self


def recipe_names() -> list[str]:
    """Recipes that ship with the package."""
    return _RECIPES.names


def load_recipe(source: str, changes: tuple[str, ...] = ()) -> Recipe:
    """A recipe by name or by path, with `key=value` changes (dotted keys, TOML values; bare words are strings).

    `base` names a shipped recipe that gives whatever is not said.

    Raises:
        SettingsError: an unknown recipe or key (the nearest right one is named), a value out of range, or broken TOML.
    """
    tree = _RECIPES.read(source)
    for change in changes:
        _change(tree, change)
    return recipe_on_base(tree, source)


def recipe_on_base(tree: dict[str, Any], source: str) -> Recipe:
    """A recipe from plain values as a file has them, `base` among them; raises as `load_recipe`."""
    return parse_recipe(_on_base(tree, source), source)


def parse_recipe(tree: dict[str, Any], source: str) -> Recipe:
    """A recipe from plain values. Raises SettingsError naming the first key that is wrong."""
    return parse(Recipe, tree, source)


def _on_base(tree: dict[str, Any], source: str) -> dict[str, Any]:
    if "base" not in tree:
        return tree
    base = tree.pop("base")
    if base not in [*_RECIPES.names, *_RECIPES.renamed]:
        got = base if isinstance(base, str) else "no name"
        raise SettingsError(f"{source}: base", expected="a shipped recipe", got=got, hint=_RECIPES.known)
    return _filled(tree, _on_base(_RECIPES.read(base), base))


def _filled(tree: dict[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """The tree, and of the base what it does not say, table by table."""
    both = {
        key: _filled(tree[key], base[key])
        for key in tree.keys() & base.keys()
        if isinstance(tree[key], dict) and isinstance(base[key], dict)
    }
    return base | tree | both


def _change(tree: dict[str, Any], change: str) -> None:
    key, equals, value = change.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not all([*parents, last]):
        raise SettingsError("--set", expected="key=value", got=change, hint="for instance training.steps=200")
    for parent in parents:
        inner = tree.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise SettingsError("--set", expected=f"{parent} to be a table", got=change, hint="shorten the key")
        tree = inner
    try:
        tree[last] = tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):
        tree[last] = value.strip()
