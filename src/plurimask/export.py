"""A trained model -> a folder of ONNX files with a program that draws from them, checked against PyTorch."""

import contextlib
import inspect
import io
import json
import logging
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from plurimask import errors, seeds
from plurimask.datasets.batches import scale_intensity
from plurimask.errors import PlurimaskError, SettingsError, need
from plurimask.files.atomic import atomic_folder
from plurimask.methods import onnx_model
from plurimask.methods.flow import FlowMatching
from plurimask.methods.one_pass import OnePass, OnePassSettings
from plurimask.methods.onnx_model import CARD, DENOISER, ENCODER, FORMAT, GENERATOR, VISIBLE, Card, OnnxModel
from plurimask.metrics import representative
from plurimask.nets.mask_denoiser import ImageFeatures
from plurimask.sampling import Model

PROGRAM = "draw.py"
TOLERANCE = 0.002
"""Largest share of pixels in which masks may differ: float rounding at the threshold."""
_CHECKED = 4


class ExportError(PlurimaskError):
    """An export that does not draw what its model draws."""


def export_onnx(model: Model, out: Path) -> float:
    """Write a model's nets as ONNX, what else `OnnxModel` needs, and `draw.py` into the folder `out`.

    Returns:
        The share of pixels in which 4 masks of one image of noise differ from those of PyTorch.

    Raises:
        SettingsError: a method that cannot be exported, or an `out` that is in use.
        ExportError: that share is above `TOLERANCE`; nothing is written.
        MissingPackageError: the packages of the extra `onnx` are not installed.
    """
    method = model.method
    if not isinstance(method, FlowMatching | OnePass) or method.volumes:
        raise SettingsError(
            f"export of {model.name}",
            expected="a model of the method one-pass or flow",
            got=model.recipe.method.name,
            hint="of the other methods none is exported; draw from them with plurimask sample",
        )
    need("onnxscript", "onnx")
    ours = (CARD, ENCODER, DENOISER, GENERATOR, PROGRAM)
    with atomic_folder(out, ours.__contains__, "that of an export") as folder:
        write = _write_one_pass if isinstance(method, OnePass) else _write
        write(method.cpu().eval(), model.recipe.image_size, folder)
        (folder / CARD).write_text(json.dumps(asdict(_card(model, method)), indent=1) + "\n", encoding="utf-8")
        (folder / PROGRAM).write_text(_program(), encoding="utf-8")
        differing = _difference(model, OnnxModel(folder))
        if differing > TOLERANCE:
            raise ExportError(
                out,
                expected=f"masks that differ from PyTorch's in at most {TOLERANCE:.1%} of the pixels",
                got=f"{differing:.1%}",
                hint="report it, with the versions of torch, onnx and onnxruntime",
            )
    return differing


class _Encoder(nn.Module):
    """image (1, C, H, W) in any unit -> shares (1, 1, H, W), share of empty masks (1,), basis, maps."""

    def __init__(self, method: FlowMatching) -> None:
        super().__init__()
        self.method = method

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features = self.method.encoder(scale_intensity(image))
        given = self.method.denoiser.features(features)
        return *self.method.expected(features), given.basis, *given.maps


class _Denoiser(nn.Module):
    """x (n, 1, H, W), time and rank (n,), basis and maps of one image -> 2 D - 1, (n, 1, H, W)."""

    def __init__(self, method: FlowMatching) -> None:
        super().__init__()
        self.denoiser = method.denoiser

    def forward(self, x: Tensor, time: Tensor, rank: Tensor, basis: Tensor, maps: Sequence[Tensor]) -> Tensor:
        return torch.tanh(self.denoiser(x, ImageFeatures(list(maps), basis), time, rank) / 2)


class _OnePassEncoder(nn.Module):
    """image (1, C, H, W) in any unit -> shares (1, 1, H, W), share of empty masks (1,), maps."""

    def __init__(self, method: OnePass) -> None:
        super().__init__()
        self.method = method

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        features = self.method.encoder(scale_intensity(image))
        return *self.method.expected(features), *self.method.maps(features)


class _Generator(nn.Module):
    """z (n, latent) and maps of one image -> 2 x - 1, (n, 1, H, W)."""

    def __init__(self, method: OnePass) -> None:
        super().__init__()
        self.method = method

    def forward(self, z: Tensor, maps: list[Tensor]) -> Tensor:
        return self.method.generate(maps, z)


def _write_one_pass(method: Any, size: int, folder: Path) -> None:
    """The encoder takes images of the model's own size alone, the generator windows of any."""
    settings = method.settings
    image, encoder = torch.zeros((1, settings.image_channels, size, size)), _OnePassEncoder(method)
    _export((encoder, (image,), folder / ENCODER), inputs=["image"], dynamic=({},))
    scales = [2**level for level in reversed(range(len(settings.generator.widths)))]
    # A window of two sides, so that the exporter does not take them for one.
    maps = [level[..., : 3 * scale, : 2 * scale] for level, scale in zip(encoder(image)[2:], scales, strict=True)]
    count, rows, columns = (torch.export.Dim(name, min=1, max=4096) for name in ("samples", "rows", "columns"))
    _export(
        (_Generator(method), (torch.zeros((3, settings.generator.latent)), maps), folder / GENERATOR),
        inputs=["z", *(f"map{level}" for level in range(len(maps)))],
        dynamic=({0: count}, [{2: scale * rows, 3: scale * columns} for scale in scales]),
    )


def _write(method: Any, size: int, folder: Path) -> None:
    settings = method.settings
    rows, columns = (torch.export.Dim(name, min=2, max=512) for name in ("rows", "columns"))
    image = torch.zeros((1, settings.image_channels, 3 * settings.multiple, 4 * settings.multiple))
    encoder = _Encoder(method)
    _export(
        (encoder, (image,), folder / ENCODER),
        inputs=["image"],
        dynamic=({2: settings.multiple * rows, 3: settings.multiple * columns},),
    )
    _, _, basis, *maps = encoder(image)
    count = torch.export.Dim("samples", min=1, max=4096)
    cell, patch = settings.denoiser.multiple, settings.denoiser.patch
    scales = [cell // patch // 2**level for level in range(len(maps))]
    # Two tensors: the exporter takes one that is given twice for one input.
    x, time, rank = torch.zeros((3, 1, *image.shape[2:])), torch.zeros(3), torch.zeros(3)
    _export(
        (_Denoiser(method), (x, time, rank, basis, maps), folder / DENOISER),
        inputs=["x", "time", "rank", "basis", *(f"map{level}" for level in range(len(maps)))],
        dynamic=(
            {0: count, 2: cell * rows, 3: cell * columns},
            {0: count},
            {0: count},
            {3: scales[0] * rows, 4: scales[0] * columns},
            [{2: scale * rows, 3: scale * columns} for scale in scales],
        ),
    )


def _export(what: tuple[nn.Module, tuple[Any, ...], Path], inputs: Sequence[str], dynamic: Any) -> None:
    net, example, path = what
    with torch.inference_mode(False), torch.no_grad(), _quiet():
        program = torch.onnx.export(
            net.eval(), example, input_names=inputs, dynamic_shapes=dynamic, dynamo=True, verbose=False
        )
        assert program is not None
        program.save(path)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter speaks of its stages, of packages that it can do without, and of names of axes."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _program() -> str:
    """`methods.onnx_model` as one file, which begins with the modules of this package that it imports."""
    used = [inspect.getsource(module) for module in (errors, seeds, representative)]
    alone = [re.sub(r'\A""".*?"""\n', "", text, flags=re.DOTALL) for text in [*used, inspect.getsource(onnx_model)]]
    code = re.sub(r"^from plurimask\.\S+ import .*\n", "", "\n".join(alone), flags=re.MULTILINE)
    return f'"""{onnx_model.__doc__}"""\n{code}'


def _card(model: Model, method: FlowMatching | OnePass) -> Card:
    settings, sampler = method.settings, model.recipe.sampler
    if isinstance(settings, OnePassSettings):
        patch, cell, latent, visible = (
            settings.encoder.patch,
            settings.cell,
            settings.generator.latent,
            settings.visible,
        )
    else:
        patch, cell, latent, visible = settings.denoiser.patch, settings.denoiser.multiple, 0, VISIBLE
    return Card(
        format=FORMAT,
        weights=model.checkpoint.digest,
        image_channels=settings.image_channels,
        image_size=model.recipe.image_size,
        patch=patch,
        cell=cell,
        least=min(settings.windows) // cell,
        visible=visible,
        steps=model.evaluations(sampler),
        latent=latent,
        recipe=model.recipe.model_dump(mode="json"),
        gamma=() if method.process is None else tuple(method.process.gamma.tolist()),
    )


def _difference(model: Model, exported: OnnxModel) -> float:
    size = model.recipe.image_size
    image = np.random.default_rng(0).standard_normal((model.method.image_channels, size, size), dtype=np.float32)
    sampler = None if model.method.process is None else model.sampler("ddim", exported.card.steps)
    mine = model.sample(image, _CHECKED, sampler=sampler).masks
    return float((mine != exported.masks(image, _CHECKED)).mean())
