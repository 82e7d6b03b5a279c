"""The denoiser f_theta: MONAI's diffusion U-Net with the image's channels concatenated to the noisy mask."""

import torch
from monai.networks.nets import DiffusionModelUNet
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from plurimask.settings import Patch, Positive, Settings, wrong


class DenoiserSettings(Settings):
    """Size of the U-Net. The defaults are the network of the released code: 85.6 M parameters at one image channel.

    Args:
        channels: filters at each level, from fine to coarse; multiples of 32.
        residual_blocks: residual blocks per level.
        attention: whether each level attends over its pixels; the middle block, at the last level's width, always does.
        head_channels: channels of one attention head.
        patch: pixels per side that a space-to-depth stem folds into channels before the first level (1: none).
    """

    channels: tuple[Positive, ...] = (128, 128, 256, 384, 512)
    residual_blocks: Positive = 2
    attention: tuple[bool, ...] = (False, False, False, True, False)
    head_channels: Positive = 64
    patch: Patch = 1

    @model_validator(mode="after")
    def _levels_agree(self) -> "DenoiserSettings":
        if len(self.channels) != len(self.attention):
            levels = len(self.channels)
            raise wrong(f"as many levels of attention as of channels, {levels}", got=len(self.attention))
        if any(width % 32 for width in self.channels):
            raise wrong("channels in multiples of 32 (group norm)", got=self.channels)
        attending = [width for width, on in zip(self.channels, self.attention, strict=True) if on]
        if any(width % self.head_channels for width in (*attending, self.channels[-1])):
            raise wrong("multiples of head_channels where channels attend, the last too", got=self.channels)
        return self

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels."""
        return self.patch * 2 ** (len(self.channels) - 1)


def make_unet(in_channels: int, out_channels: int, settings: DenoiserSettings) -> nn.Module:
    """The U-Net of these settings: (B, in_channels, H, W), t (B,) int64 -> (B, out_channels, H, W)."""
    net = DiffusionModelUNet(
        spatial_dims=2,
        in_channels=in_channels,
        out_channels=out_channels,
        channels=settings.channels,
        num_res_blocks=settings.residual_blocks,
        attention_levels=settings.attention,
        num_head_channels=settings.head_channels,
        # The time embedding is one constant a channel: a norm group of a single channel would cancel it.
        norm_num_groups=min(32, min(settings.channels) // 2),
    )
    return net.to(memory_format=torch.channels_last)


class Denoiser(nn.Module):
    """f_theta(x_t, b, t)."""

    def __init__(self, image_channels: int, output_channels: int, settings: DenoiserSettings) -> None:
        super().__init__()
        self.patch = settings.patch
        self.net = make_unet((1 + image_channels) * settings.patch**2, output_channels * settings.patch**2, settings)

    def forward(self, x_t: Tensor, image: Tensor, t: Tensor) -> Tensor:
        """x_t (B, 1, H, W), image (B, C, H, W), t (B,) int64 -> (B, output_channels, H, W)."""
        stacked = torch.cat([x_t, image], dim=1)
        folded = pixel_unshuffle(stacked, self.patch).contiguous(memory_format=torch.channels_last)
        return pixel_shuffle(self.net(folded, t), self.patch)
