"""An exported panel as a method, so that it draws wherever one does; it does not learn."""

from collections.abc import Sequence
from typing import NoReturn

import torch
from torch import Tensor

from plurimask.diffusion.flow import Flow
from plurimask.errors import SettingsError
from plurimask.methods.method import Method
from plurimask.methods.onnx_panel import OnnxPanel
from plurimask.methods.panel import PanelSettings, View, hurdle
from plurimask.records import Batch
from plurimask.seeds import NOISE_BLOCK


class Exported(Method):
    """An `OnnxPanel` as a method."""

    process: Flow

    def __init__(self, settings: PanelSettings, panel: OnnxPanel) -> None:
        super().__init__(settings, Flow(settings.shift))
        self.panel = panel

    def loss(self, batch: Batch) -> NoReturn:
        """Raises SettingsError: it has no gradient."""
        raise SettingsError("training", expected="weights", got="an exported panel", hint="train its run, then export")

    def encode(self, image: Tensor) -> View:
        """What the denoiser takes of an image, in the window of what is visible."""
        encoded = self.panel.encode(image[0].numpy())
        return View(encoded, torch.tensor(encoded.empty), encoded.window.slices)

    @property
    def noise(self) -> list[tuple[int, int]]:
        """The first number makes u."""
        return [(NOISE_BLOCK, 0)]

    def predict(self, encoded: View, noise: Sequence[Tensor], *state: Tensor) -> Tensor:
        """x_0 of each sample, as `Panel.predict`."""
        x_t, t = state

        def inside(drawn: Tensor, rank: Tensor) -> Tensor:
            x, time = x_t[encoded.window][drawn], t[drawn] / self.process.timesteps
            return torch.from_numpy(self.panel.denoise(encoded.look, x.numpy(), time.numpy(), rank.numpy()))

        return hurdle(noise[0][:, 0], encoded, torch.full_like(x_t, -1.0), inside)
