"""SegDiff (Amit et al. 2021): image and noisy mask encoded apart and summed, f_theta = D(E(F(x_t) + G(b), t), t).

As published it has no ambiguity loss (`ambiguity.mode = "off"`); by CIMD's section 6 the loss attaches to it unchanged.
"""

from typing import Literal

from plurimask.methods.mask_diffusion import MaskDiffusion, MaskDiffusionSettings
from plurimask.nets.summed_denoiser import SummedDenoiser, SummedDenoiserSettings


class SegdiffSettings(MaskDiffusionSettings):
    """Everything that defines SegDiff."""

    name: Literal["segdiff"] = "segdiff"
    denoiser: SummedDenoiserSettings = SummedDenoiserSettings()

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels."""
        return self.denoiser.multiple


class Segdiff(MaskDiffusion):
    """The method: denoiser, and AMN and ACN where they are attached."""

    Settings = SegdiffSettings

    def __init__(self, settings: SegdiffSettings) -> None:
        outputs = settings.diffusion.output_channels
        super().__init__(settings, SummedDenoiser(settings.image_channels, outputs, settings.denoiser))
