"""An exported panel as a method, so that it samples wherever one does; it does not learn."""

from typing import NoReturn

import torch
from torch import Tensor

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import SettingsError
from plurimask.methods.fields import Fields
from plurimask.methods.method import Method
from plurimask.methods.onnx_panel import OnnxPanel
from plurimask.records import Batch


class Exported(Method):
    """An `OnnxPanel` as a method."""

    def __init__(self, panel: OnnxPanel) -> None:
        super().__init__()
        self.panel = panel
        self.image_channels = panel.card.image_channels

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def loss(self, batch: Batch) -> NoReturn:
        """Raises SettingsError: it has no gradient."""
        raise SettingsError("training", expected="weights", got="an exported panel", hint="train its run, then export")

    def draw(self, fields: Fields, seeds: Tensor, sampler: SamplerSettings | None) -> Tensor:
        """Masks of one field that is the whole plane.

        Raises:
            SettingsError: several fields, or another sampler than DDIM without noise.
        """
        assert sampler is not None, "a recipe with a diffusion process has a sampler"
        if (sampler.name, sampler.eta) != ("ddim", 0.0):
            got = f"{sampler.name}, eta {sampler.eta:g}"
            raise SettingsError("--runtime onnx", expected="ddim with eta 0", got=got, hint="draw with PyTorch")
        field = fields.images.shape[3:]
        if len(fields.starts) > 1 or fields.plane != tuple(field):
            raise SettingsError(
                "--runtime onnx",
                expected=f"an image of {self.panel.card.image_size} x {self.panel.card.image_size} pixels",
                got=f"one of {fields.plane[0]} x {fields.plane[1]}",
                hint="cut the lesion out, or draw regions with PyTorch",
            )
        # All seeds are of one image.
        shown, steps = fields.images[0, 0].numpy(), len(sampler.times(len(self.panel.card.gamma) - 1)) - 1
        return torch.from_numpy(self.panel.draw(shown, tuple(seeds.tolist()), steps))
