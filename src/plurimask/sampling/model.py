"""Checkpoint + image -> MaskSet on the image's own grid."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count as counter
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import CheckpointError, InputError, SettingsError
from plurimask.files.atomic import read_together
from plurimask.files.stored import one_form
from plurimask.geometry import Grid
from plurimask.methods.draw import draw_masks, tile
from plurimask.methods.flow import ExportedFlow, FlowSettings
from plurimask.methods.one_pass import ExportedOnePass, OnePassSettings
from plurimask.methods.onnx_model import CARD, OnnxModel
from plurimask.metrics.representative import pool_distances, select
from plurimask.records import Case, MaskSet
from plurimask.sampling.represent import PanelKind, pack, pool_size, unpack
from plurimask.seeds import pool_ranks, sample_seeds
from plurimask.training.checkpoint import Checkpoint, find_weights, load_weights
from plurimask.training.recipe import parse_recipe

Progress = Callable[[int, int], object]
"""Takes the number of predictions of a field so far, and of all."""
Draw = Callable[[tuple[int, ...], SamplerSettings | None, np.ndarray | None], list[np.ndarray]]
"""Takes seeds, sampler and, of a pool, the quantiles that `methods.draw.draw_area` takes as ranks."""
SAMPLES_IN_WORK = 16
"""Samples that are drawn at once."""


class Model:
    """A trained method, ready to draw.

    Args:
        name: for the record.
        checkpoint: weights and recipe.
        device: where to compute.
    """

    def __init__(self, name: str, checkpoint: Checkpoint, device: torch.device) -> None:
        self.name, self.checkpoint, self.recipe = name, checkpoint, checkpoint.recipe
        self.method = checkpoint.method.to(device)

    def as_reader(self, name: str) -> "Model":
        """The same model, drawing as one of the readers it was trained on. Raises SettingsError for another reader."""
        return Model(
            self.name, replace(self.checkpoint, method=self.method.as_reader(one_form(name))), self.method.device
        )

    def sample(
        self,
        image: np.ndarray | Case,
        count: int = 16,
        seed: int = 0,
        sampler: SamplerSettings | None = None,
        panel: PanelKind = "independent",
        pool: int | None = None,
        progress: Progress = lambda done, total: None,
    ) -> MaskSet:
        """Draw a panel.

        Args:
            image: a Case, or (H, W) or (C, H, W) numbers in any unit; the model scales them as in training. A model of
                pictures of any place takes those of any size.
            count: masks to draw, S.
            seed: the same image, seed and model give the same noise, and so the same masks up to float rounding,
                whatever the count and whatever else is drawn.
            sampler: another than the recipe's own.
            panel: `independent` draws, which statistics rest on; or the `representative` ones of a pool, for people who
                look at a few masks. Their `weights` say how many of the pool each stands for.
            pool: masks of the pool; None: 256 of a method that draws a mask in one evaluation, 64 of others.
            progress: called after each prediction.

        Raises:
            InputError: an image of another size or channel count than the model's, not finite, or no numbers.
            SettingsError: fewer than one mask, more steps than the process has, a sampler for a method without one, or
                a pool of fewer masks than the panel.
        """
        case = image if isinstance(image, Case) else _as_case(image)
        if not self.takes(case):
            raise self._other_size(case)

        shown, field, (rows, columns) = self.clipped(case), self.recipe.image_size, case.image.shape[1:3]
        tiling = tile((slice(0, rows), slice(0, columns)), (rows, columns), field, self.recipe.method.multiple)

        def draw(seeds: tuple[int, ...], own: SamplerSettings | None, ranks: np.ndarray | None) -> list[np.ndarray]:
            chunks, done = -(-len(seeds) // SAMPLES_IN_WORK), counter(1)
            total = chunks * len(tiling.starts) * self.evaluations(own)

            def tell() -> None:
                progress(next(done), total)

            drawn = draw_masks(self.method, shown.image, seeds, own, field, SAMPLES_IN_WORK, tell, ranks, case.padding)
            return [pack(drawn)]

        def unpacked(planes: list[np.ndarray]) -> np.ndarray:
            return unpack(planes[0], case.grid.shape)

        return self.panel(case, count, seed, sampler, draw, unpacked, panel, pool)

    def clipped(self, case: Case) -> Case:
        """The case as the model is shown it: clipped as the images that it was trained on."""
        return case if self.recipe.intensity is None else self.recipe.intensity.clip(case)

    def takes(self, case: Case) -> bool:
        """Whether `sample` draws it: an image of the model's size, or, of a model of pictures of any place, of any."""
        anywhere = self.recipe.images == "any-place" and len(case.grid.shape) == 2 + self.method.volumes
        return anywhere or self.fits(case)

    def fits(self, case: Case) -> bool:
        """Whether the image's planes, one or, of a model of volumes, several, have the size that it was trained on."""
        size = self.recipe.image_size
        return len(case.grid.shape) == 2 + self.method.volumes and case.grid.shape[:2] == (size, size)

    def panel(
        self,
        case: Case,
        count: int,
        seed: int,
        sampler: SamplerSettings | None,
        draw: Draw,
        unpacked: Callable[[list[np.ndarray]], np.ndarray],
        kind: PanelKind = "independent",
        pool: int | None = None,
        skip: int = 0,
        **more: Any,
    ) -> MaskSet:
        """The panel of a case and how it was drawn, to which `more` is added. Raises as `sample`, but for the size.

        Args:
            case, count, seed, sampler: as for `sample`.
            draw: gives the masks of each plane as bits, as `pool_distances` takes them.
            unpacked: makes masks (S, H, W[, D]) bool of these.
            kind, pool: as `panel` and `pool` of `sample`.
            skip: samples that independent draws follow.
            more: further settings.
        """
        count, seed = whole_number("count", count), whole_number("seed", seed)
        if count < 1:
            raise SettingsError("count", expected="at least one mask", got=str(count), hint="give 1 or more")
        if not isinstance(sampler, SamplerSettings | None):
            hint = "give model.sampler(name, steps), or leave it out"
            raise SettingsError("sampler", expected="SamplerSettings", got=repr(sampler), hint=hint)
        self.check_channels(case)
        size = self.pool(kind, pool, count)
        sampler, settings = self.settings(seed, sampler, size)
        seeds = sample_seeds(case.content, seed, size or skip + count)[0 if size else skip :]
        ranks = pool_ranks(case.content, seed, size) if size and self.method.hurdled else None
        planes, weights = draw(seeds, sampler, ranks), None
        if size:
            chosen = select(pool_distances(planes), count)
            planes = [plane[chosen.indices] for plane in planes]
            seeds, weights = tuple(seeds[index] for index in chosen.indices), tuple(chosen.weights.tolist())
        name, weight_digest = self.recipe.method.name, self.checkpoint.digest
        return MaskSet(case.name, unpacked(planes), case.grid, name, seeds, weight_digest, settings | more, weights)

    def settings(
        self, seed: int, sampler: SamplerSettings | None, pool: int | None
    ) -> tuple[SamplerSettings | None, dict[str, Any]]:
        """The sampler in use, and what a panel says of how it was drawn.

        Args:
            seed, sampler: as for `sample`.
            pool: masks of the pool that a panel was chosen from, or None.
        """
        sampler = self.recipe.sampler if sampler is None else self._accept(sampler.model_dump())
        steps = {} if sampler is None else sampler.model_dump() | {"steps": self.evaluations(sampler)}
        pooled = {} if pool is None else {"panel": "representative", "pool": pool}
        reader = {} if self.method.reader is None else {"reader": self.method.readers[self.method.reader]}
        return sampler, steps | {"model": self.name, "seed": seed} | pooled | reader

    def pool(self, panel: PanelKind, pool: int | None, count: int) -> int | None:
        """Masks of the pool that a panel of `count` is chosen from, as `sample` takes them; None for independent draws.

        Raises:
            SettingsError: as `pool_size`.
        """
        return pool_size(panel, pool, count, self.recipe.method.timesteps is not None)

    def evaluations(self, sampler: SamplerSettings | None) -> int:
        """How often a mask asks the network: once a step, or once."""
        timesteps = self.recipe.method.timesteps
        return 1 if sampler is None or timesteps is None else len(sampler.times(timesteps)) - 1

    def sampler(self, name: str | None = None, steps: int | None = None) -> SamplerSettings | None:
        """The recipe's own sampler, or another one, or either at another number of steps; None where there is none.

        Raises:
            SettingsError: an unknown name, steps that the sampler or the process does not take, or either for a method
                that draws in one evaluation.
        """
        if name is None and steps is None:
            return self.recipe.sampler
        own = self.recipe.sampler.model_dump() if self.recipe.sampler else {}
        chosen = own if name in (None, own.get("name")) else {"name": name}
        return self._accept(chosen if steps is None else chosen | {"steps": steps})

    def _accept(self, sampler: dict[str, Any]) -> SamplerSettings | None:
        return parse_recipe(self.recipe.model_dump() | {"sampler": sampler}, self.name).sampler

    def _other_size(self, case: Case) -> InputError:
        size, channels = self.recipe.image_size, self.method.image_channels
        expected, got = f"an image of {size}x{size} pixels", "x".join(map(str, case.image.shape[1:]))
        if case.image.shape[-1] in (3, 4) and len(case.grid.shape) == 2:
            expected, got = f"({channels}, {size}, {size}), channels first", str(case.image.shape)
            hint = "move the last axis to the front, or make the picture grey"
        elif self.method.volumes:
            expected = f"a volume with planes of {size}x{size} pixels"
            hint = "give a volume, and a region of that size where it is larger (pm.sample_study)"
        elif len(case.grid.shape) == 3:
            hint = "it is a volume: draw it as a study (pm.sample_study)"
        else:
            hint = f"cut {size}x{size} pixels, without rescaling, or give a region (pm.sample_study)"
        return InputError(case.name, expected=f"{expected}, as {self.name} was trained on", got=got, hint=hint)

    def check_channels(self, case: Case) -> None:
        """Raises InputError for an image of other channels than the model's."""
        if case.image.shape[0] != self.method.image_channels:
            raise InputError(
                case.name,
                expected=f"{self.method.image_channels} image channel(s), as {self.name} was trained on",
                got=str(case.image.shape[0]),
                hint="give the channels of the training data in their order, grey images as one channel",
            )


def load(
    model: str | Path,
    device: str = "auto",
    runtime: Literal["torch", "onnx"] = "torch",
    reader: str | None = None,
) -> Model:
    """A model by built-in name, by checkpoint (.safetensors) or by run folder (its best weights).

    `device` is `auto` (a GPU if there is one), `cpu`, `cuda`, `cuda:1`, `mps`. Nothing is unpickled. The runtime `onnx`
    takes a folder of `plurimask export` and draws on the CPU. A `reader` is one whom the model is to draw as.

    Raises:
        CheckpointError: no such model, or weights that cannot be read.
        SettingsError: a device that is not there, or a reader whom the model was not trained on.
        MissingPackageError: the packages of the extra `onnx` are not installed.
    """
    if reader is not None:
        return load(model, device, runtime).as_reader(reader)
    if runtime == "onnx":
        return _load_exported(Path(model))
    if (Path(model) / CARD).is_file():
        raise CheckpointError(model, expected="weights", got="an exported model", hint="add --runtime onnx")
    name, path = find_weights(str(model))
    return Model(name, load_weights(path), _device(device))


def _load_exported(folder: Path) -> Model:
    nets = read_together(folder, partial(OnnxModel, folder))
    recipe = parse_recipe(nets.card.recipe, str(folder))
    method: ExportedOnePass | ExportedFlow
    if isinstance(recipe.method, OnePassSettings):
        method = ExportedOnePass(recipe.method, nets)
    elif isinstance(recipe.method, FlowSettings):
        method = ExportedFlow(recipe.method, nets)
    else:
        name, hint = recipe.method.name, "run plurimask export MODEL --out DIR"
        raise CheckpointError(folder, expected="an exported model", got=f"a recipe of {name}", hint=hint)
    checkpoint = Checkpoint(method, recipe, step=0, data="", digest=nets.card.weights)
    return Model(folder.resolve().name, checkpoint, torch.device("cpu"))


def whole_number(name: str, value: object) -> int:
    """It as an int. Raises SettingsError for what is none."""
    if not isinstance(value, Integral):
        raise SettingsError(name, expected="a whole number", got=repr(value), hint="give an int")
    return int(value)


def _as_case(image: np.ndarray) -> Case:
    try:
        values = np.asarray(image).astype(np.float32, casting="same_kind", copy=False)
    except (ValueError, TypeError, RuntimeError) as error:  # the last of a tensor that wants its gradient
        kind = getattr(image, "dtype", None)
        got = f"{type(image).__name__}{f' of {kind}' if kind else ''}"
        hint = "open a file with pm.open_study, and draw with pm.sample_study"
        raise InputError("image", expected="an array of numbers", got=got, hint=hint) from error
    stacked = values[None] if values.ndim == 2 else values
    shape = stacked.shape[1:]
    return Case("image", stacked, np.zeros((0, *shape), dtype=bool), Grid(shape))


def _device(name: str) -> torch.device:
    if name == "auto":
        found = torch.accelerator.current_accelerator(check_available=True)
        return found or torch.device("cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()
    except (RuntimeError, AssertionError) as error:
        raise SettingsError("device", expected="a device of this machine", got=name, hint="use auto or cpu") from error
    return device
