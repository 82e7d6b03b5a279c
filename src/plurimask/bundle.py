"""Weights -> a folder of another ecosystem: a MONAI bundle, or what model hubs expect.

    monai-bundle  configs/metadata.json, configs/inference.json, models/model.pt, docs/README.md, LICENSE
    hub           README.md (the card, with front matter), config.json, model.safetensors, LICENSE

Of a model that ships, card and licence are its own.
"""

import json
import shutil
from collections.abc import Mapping
from importlib.metadata import distribution, version
from pathlib import Path
from typing import Any

import monai
import numpy as np
import torch
from monai.utils import convert_to_dst_type
from torch import Tensor, nn

from plurimask import __version__
from plurimask.errors import SettingsError, plural
from plurimask.files.atomic import atomic_folder
from plurimask.files.stored import readable
from plurimask.methods.method import build
from plurimask.sampling import Model
from plurimask.training.checkpoint import BUILT_IN, FORMAT, HUB, Checkpoint, find_weights, load_weights
from plurimask.training.recipe import parse_recipe

_RESEARCH = "For research only. Not a medical device; not for diagnosis."
_NETWORK = "plurimask.bundle.PanelNet"


class PanelNet(nn.Module):
    """Images (B, C, H, W) in any unit -> panels (B, S, H, W) of 0 and 1: what `Model.sample` draws of each image.

    Args:
        recipe: of the model, as plain values.
        count: masks of a panel, S.
        seed: the same image and seed give the same masks.
    """

    def __init__(self, recipe: Mapping[str, Any], count: int = 16, seed: int = 0) -> None:
        super().__init__()
        self.recipe, self.count, self.seed = parse_recipe(dict(recipe), "recipe"), count, seed
        self.method = build(self.recipe.method)

    def forward(self, images: Tensor) -> Tensor:
        """As above; of images with metadata, so are the panels."""
        model = Model("bundle", Checkpoint(self.method.eval(), self.recipe, 0, "", ""), images.device)
        panels = [model.sample(np.asarray(image.cpu()), self.count, self.seed).masks for image in images]
        return convert_to_dst_type(torch.from_numpy(np.stack(panels)), images)[0]


def write_monai_bundle(model: str, out: Path, licence: Path | None = None) -> None:
    """Write a bundle that MONAI loads and runs, where plurimask is installed too.

    Args:
        model: as `sampling.load` takes it.
        out: a new or empty folder.
        licence: text of the licence of the weights; None for a model that ships.

    Raises:
        CheckpointError: no such model.
        SettingsError: no licence, or an `out` that is in use.
    """
    name, path = find_weights(model)
    checkpoint, licensed = load_weights(path), _licence(name, path, licence)
    with atomic_folder(out) as folder:
        for inner in ("configs", "models", "docs"):
            (folder / inner).mkdir()
        net = PanelNet(checkpoint.recipe.model_dump(mode="json"))
        net.method.load_state_dict(checkpoint.method.state_dict())
        torch.save(net.state_dict(), folder / "models" / "model.pt")
        _write_json(folder / "configs" / "metadata.json", _metadata(name, checkpoint))
        _write_json(folder / "configs" / "inference.json", _inference(checkpoint))
        (folder / "docs" / "README.md").write_text(_card(name, path, checkpoint), encoding="utf-8")
        (folder / "LICENSE").write_text(licensed, encoding="utf-8")


def write_hub_folder(model: str, out: Path, licence: Path | None = None) -> None:
    """Write a folder as model hubs expect it, from which `sampling.load` loads. Arguments and errors as above."""
    name, path = find_weights(model)
    checkpoint, licensed = load_weights(path), _licence(name, path, licence)
    with atomic_folder(out) as folder:
        shutil.copyfile(path, folder / HUB)
        config = {"library_name": "plurimask", "model_type": checkpoint.recipe.method.name, "format": FORMAT}
        facts = {"step": checkpoint.step, "data": checkpoint.data, "sha256": checkpoint.digest}
        _write_json(folder / "config.json", config | facts | {"recipe": checkpoint.recipe.model_dump(mode="json")})
        (folder / "README.md").write_text(_card(name, path, checkpoint), encoding="utf-8")
        (folder / "LICENSE").write_text(licensed, encoding="utf-8")


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _ships(path: Path) -> bool:
    return path.parent == BUILT_IN


def _licence(name: str, path: Path, given: Path | None) -> str:
    if given is not None:
        with readable(given, "a text file", "name that of a licence"):
            return given.read_text(encoding="utf-8")
    if not _ships(path):
        hint = "name a text file with the licence that you give them"
        raise SettingsError("--licence", expected=f"that of the weights of {name}", got="none", hint=hint)
    texts = (distribution("plurimask").read_text(f"licenses/{part}") for part in ("LICENSE", "NOTICE"))
    return "\n".join(text for text in texts if text)


def _card(name: str, path: Path, checkpoint: Checkpoint) -> str:
    if _ships(path):
        return path.with_suffix(".md").read_text(encoding="utf-8")
    recipe = checkpoint.recipe
    channels, size = plural(checkpoint.method.image_channels, "channel"), recipe.image_size
    return (
        "---\nlicense: other\nlicense_name: see-license\nlicense_link: LICENSE\nlibrary_name: plurimask\n"
        "pipeline_tag: image-segmentation\ntags: [medical, segmentation, several-readers, uncertainty]\n---\n\n"
        f"# {name}\n\n{_RESEARCH}\n\n"
        f"Draws masks as several readers would, of images of {channels}, {size} x {size} pixels, by the method "
        f"`{recipe.method.name}`. Trained for {checkpoint.step:,} steps on data of digest `{checkpoint.data[:16]}`.\n\n"
        "```python\nimport plurimask as pm\n\npanel = pm.load('.').sample(image, count=16)\n```\n"
    )


def _metadata(name: str, checkpoint: Checkpoint) -> dict[str, Any]:
    channels, size = checkpoint.method.image_channels, checkpoint.recipe.image_size
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "n/a",
        "num_channels": channels,
        "spatial_shape": [size, size],
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": {str(channel): f"channel {channel}" for channel in range(channels)},
    }
    panel = image | {"format": "segmentation", "num_channels": 16, "value_range": [0, 1]}
    panel["channel_def"] = {str(sample): f"sample {sample}" for sample in range(16)}
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": __version__,
        "changelog": {__version__: f"exported by plurimask {__version__}"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"plurimask": __version__, "nibabel": version("nibabel")},
        "name": name,
        "task": "Masks as several readers would draw them",
        "description": f"A panel of plausible masks by the method {checkpoint.recipe.method.name}. {_RESEARCH}",
        "authors": "see docs/README.md",
        "copyright": "see LICENSE",
        "intended_use": _RESEARCH,
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": panel}},
    }


def _inference(checkpoint: Checkpoint) -> dict[str, Any]:
    """The configuration of inference: reads `dataset_dir`, and writes `output_dir`/NAME_panel.nii.gz, samples last."""
    return {
        "imports": ["$import glob", "$import torch", "$import monai"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/images'",
        "images": "$sorted(glob.glob(@dataset_dir + '/*'))",
        "output_dir": "$@bundle_root + '/panels'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "count": 16,
        "seed": 0,
        "network_def": {
            "_target_": _NETWORK,
            "recipe": checkpoint.recipe.model_dump(mode="json"),
            "count": "@count",
            "seed": "@seed",
        },
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {
                    "_target_": "LoadImaged",
                    "keys": "image",
                    "reader": ["NibabelReader", "$monai.data.PILReader(reverse_indexing=False)"],
                },
                {"_target_": "EnsureChannelFirstd", "keys": "image"},
                {"_target_": "EnsureTyped", "keys": "image", "dtype": "$torch.float32"},
            ],
        },
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': image} for image in @images]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {"_target_": "SimpleInferer"},
        "postprocessing": {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "panel",
            "output_dtype": "$torch.uint8",
            "resample": False,
            "separate_folder": False,
        },
        "weights": "$torch.load(@bundle_root + '/models/model.pt', weights_only=True, map_location=@device)",
        "predictions": "$({'pred': @inferer(batch['image'].to(@device), @network)} for batch in @dataloader)",
        "run": [  # not initialize, which MONAI also runs where only the network is asked for
            "$@network.load_state_dict(@weights)",
            "$[@postprocessing(one) for batch in @predictions for one in monai.data.decollate_batch(batch)]",
        ],
    }
