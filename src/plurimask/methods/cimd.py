"""CIMD (Rahman et al. 2023): image and noisy mask concatenated, one U-Net, and the ambiguity loss.

Its control, a plain conditional diffusion model ("DDPM-Prob-Seg"), is `ambiguity.mode = "off"`, which is beta = 0; with
`raters = "mean"` besides, it is "DDPM-det-Seg". `ambiguity.encoder.covariance = "full"` makes it CIMD-FC.
"""

from typing import Literal

from plurimask.methods.mask_diffusion import MaskDiffusion, MaskDiffusionSettings
from plurimask.nets.denoiser import Denoiser, DenoiserSettings


class CimdSettings(MaskDiffusionSettings):
    """Everything that defines CIMD."""

    name: Literal["cimd"] = "cimd"
    denoiser: DenoiserSettings = DenoiserSettings()

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels."""
        return self.denoiser.multiple


class Cimd(MaskDiffusion):
    """The method: denoiser, AMN and ACN in one module."""

    Settings = CimdSettings

    def __init__(self, settings: CimdSettings) -> None:
        outputs = settings.diffusion.output_channels
        super().__init__(settings, Denoiser(settings.image_channels, outputs, settings.denoiser))
