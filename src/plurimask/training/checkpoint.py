"""Weights on disk: safetensors whose header carries the recipe, so that a file alone says how to build its method."""

import json
import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn
from torch.overrides import TorchFunctionMode

from plurimask.errors import CheckpointError
from plurimask.files.atomic import write_bytes
from plurimask.files.stored import digest_file, readable
from plurimask.methods.method import Method, build
from plurimask.training.recipe import Recipe, parse_recipe

FORMAT = "plurimask-1"
BEST, LAST = "best.safetensors", "last.safetensors"
"""The weights in a run folder."""
HUB = "model.safetensors"
"""The weights in a folder of a model hub."""
BUILT_IN = Path(__file__).parents[1] / "weights"
ALIASES = {"lidc": "lidc-one-pass"}
RETIRED = {"lidc-panel": "lidc"}
"""Built-in names of earlier versions, and what replaces them."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A trained method and what it came from.

    Args:
        method: in evaluation mode, single precision.
        recipe: of its run.
        step: optimiser steps taken.
        data: digest of the training dataset.
        digest: sha256 of the file.
    """

    method: Method
    recipe: Recipe
    step: int
    data: str
    digest: str


def save_weights(
    path: Path, method: nn.Module, recipe: Recipe, step: int, data: str, dtype: torch.dtype = torch.float32
) -> None:
    """Write a method's weights and recipe, whole or not at all; `dtype` may be half precision to ship them.

    A tensor with a value that is too large for `dtype`, such as a running variance, stays as it is.
    """
    start = recipe.training.start
    # Of a path its last part: the rest says where its author's files lie, and nobody else has them there.
    training = recipe.training.model_copy(update={"start": start and Path(start).name})
    told = recipe.model_copy(update={"training": training})
    header = {"format": FORMAT, "recipe": told.model_dump_json(), "step": str(step), "data": data}
    whole = {name: value.detach().cpu() for name, value in method.state_dict().items()}
    narrow = {name: value.to(dtype) for name, value in whole.items()}
    tensors = {name: (one if one.isfinite().all() else whole[name]).contiguous() for name, one in narrow.items()}
    # Not by safetensors' own writer: on a full disk it raises its own error and not the system's.
    write_bytes(path, save(tensors, metadata=header))


def load_weights(path: Path) -> Checkpoint:
    """Read what `save_weights` wrote. Nothing is unpickled.

    Raises:
        CheckpointError: no such file, another format, or weights that do not fit their recipe.
    """
    if not path.is_file():
        raise CheckpointError(path, expected="a checkpoint", got="no such file", hint="check the path")
    hint = "give best.safetensors of a run folder"
    with readable(path, "a safetensors file", hint, CheckpointError), safe_open(path, framework="pt") as file:
        header = file.metadata() or {}
        parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        stored = {name: (part.get_dtype(), tuple(part.get_shape())) for name, part in parts.items()}
    if header.get("format") != FORMAT:
        raise CheckpointError(
            path, expected=f"format {FORMAT}", got=header.get("format", "another program's weights"), hint=_TRAIN
        )
    with _fitting(path):
        recipe = parse_recipe(json.loads(header["recipe"]), str(path))
        step, data = int(header["step"]), header["data"]
    # Compared without memory: a header may claim a net of any size.
    with _fitting(path), torch.random.fork_rng(devices=[]), torch.device("meta"), _Unfilled():
        _compare(stored, build(recipe.method).state_dict())
    with _fitting(path), torch.random.fork_rng(devices=[]), safe_open(path, framework="pt") as file:
        method = build(recipe.method)
        method.load_state_dict({name: file.get_tensor(name).float() for name in stored})
    return Checkpoint(method.eval(), recipe, step, data, digest_file(path))


class _Unfilled(TorchFunctionMode):
    """Weights are not filled with normal numbers: on the device meta that imports PyTorch's compiler, for nothing."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__.endswith("normal_"):
            return next(iter([*args, *(kwargs or {}).values()]))
        return func(*args, **(kwargs or {}))


@contextmanager
def _fitting(path: Path) -> Iterator[None]:
    """Whatever is wrong with a header, or with weights beside it, as one error."""
    try:
        yield
    except (MemoryError, OSError):
        raise
    except Exception as error:
        got = textwrap.shorten(f"no {error}" if isinstance(error, KeyError) else str(error), 300)
        raise CheckpointError(path, expected="weights that fit their recipe", got=got, hint=_TRAIN) from error


def _compare(stored: Mapping[str, tuple[str, tuple[int, ...]]], wanted: Mapping[str, torch.Tensor]) -> None:
    """Raises ValueError for the first tensor, of the names, types and shapes in a file, that a method has not so."""
    for name, tensor in wanted.items():
        if name not in stored:
            raise ValueError(f"no tensor {name}")
        kind, shape = stored[name]
        if kind not in _TYPES:
            raise ValueError(f"{name} of type {kind}, not one of {', '.join(_TYPES)}")
        if shape != tuple(tensor.shape):
            raise ValueError(f"size {shape} of {name}, not {tuple(tensor.shape)}")
    foreign = next((name for name in stored if name not in wanted), None)
    if foreign is not None:
        raise ValueError(f"a tensor {foreign}, which the method has not")


def find_weights(model: str) -> tuple[str, Path]:
    """Name and file of a model given by built-in name, by checkpoint (.safetensors) or by run folder (its best).

    A folder of a model hub is taken as a run folder is.

    Raises:
        CheckpointError: none of these; the message lists the built-in names.
    """
    name, path = ALIASES.get(model, model), Path(model)
    if name in built_in_names():
        return name, BUILT_IN / f"{name}.safetensors"
    if path.is_dir():
        return path.resolve().name, next((path / name for name in (BEST, HUB) if (path / name).exists()), path / LAST)
    if path.is_file():
        return path.stem, path
    if model in RETIRED:
        raise CheckpointError(
            model, expected="weights that ship", got="those of an earlier version", hint=f"use {RETIRED[model]}"
        )
    known = ", ".join([*ALIASES, *built_in_names()])
    raise CheckpointError(
        model, expected="a built-in name, a .safetensors file or a run folder", got="neither", hint=f"built in: {known}"
    )


def built_in_names() -> list[str]:
    """Weights that ship with the package."""
    return sorted(path.stem for path in BUILT_IN.glob("*.safetensors"))


def start_from(method: Method, model: str) -> None:
    """Take the weights of another model as the first ones. Raises CheckpointError where their shapes differ."""
    name, path = find_weights(model)
    loaded = load_weights(path).method
    if type(loaded) is not type(method):
        own, other = method.settings.name, loaded.settings.name
        raise CheckpointError(
            "training.start",
            expected=f"weights of {own}, the recipe's method",
            got=f"{name}, which is of {other}",
            hint=f"give weights of {own}, a recipe of {other}, or leave training.start out",
        )
    weights = loaded.state_dict()
    if loaded.readers != method.readers:  # other data's readers are other persons, whatever their number
        fresh = {key: value for key, value in method.state_dict().items() if key.startswith("known.")}
        weights = {key: value for key, value in weights.items() if not key.startswith("known.")} | fresh
    try:
        method.load_state_dict(weights)
    except RuntimeError as error:
        raise CheckpointError(
            "training.start",
            expected="weights of the recipe's own network",
            got=f"{name}: {textwrap.shorten(str(error), 200)}",
            hint="give method the settings of that model, or leave training.start out",
        ) from error


_TRAIN = "train with this version, or install the version that wrote it"
_TYPES = ("F32", "F16", "BF16")
