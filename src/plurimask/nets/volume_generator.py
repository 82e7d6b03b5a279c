"""The nets of `mask_generator` for volumes (B, C, D, H, W): a pyramid of features, a generator, and who draws nothing.

Planes lie further apart than pixels do, so no scale has fewer planes than the image. A volume is seen either by kernels
of 3 x 3 x 3, or plane by plane with one look at the neighbouring planes a stage. The settings are the planar nets' own.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool3d, pixel_shuffle, pixel_unshuffle, relu

from plurimask.nets.image_encoder import closeness
from plurimask.nets.mask_generator import GeneratorSettings, JointEmptiness, PyramidSettings

_LAYOUT = torch.channels_last_3d
"""In which convolutions on a CPU are fastest."""


def solid_convolution(
    in_channels: int, out_channels: int, kernel: tuple[int, int, int], *, zero: bool = False
) -> nn.Conv3d:
    """A convolution that keeps the size; weights as in He et al. 2015, or it says 0 at first."""
    layer = nn.Conv3d(in_channels, out_channels, kernel, padding=(kernel[0] // 2, kernel[1] // 2, kernel[2] // 2))
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    if zero:
        nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer.to(memory_format=_LAYOUT)  # type: ignore[call-overload]


class SolidBlock(nn.Module):
    """x + conv(relu(norm(conv(relu(norm(x)))))), scaled and shifted after each norm where there is a condition."""

    def __init__(self, width: int, kernels: tuple[tuple[int, int, int], ...], condition: int | None = None) -> None:
        """`condition` is the length of the vector that scales and shifts, or None."""
        super().__init__()
        self.norms = nn.ModuleList(nn.BatchNorm3d(width) for _ in kernels)
        self.layers = nn.ModuleList(solid_convolution(width, width, kernel) for kernel in kernels)
        nn.init.zeros_(self.layers[-1].weight)  # type: ignore[arg-type]
        self.modulation = None if condition is None else nn.Linear(condition, 2 * width * len(kernels))

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, width, D, H, W), condition (B, condition) -> (B, width, D, H, W)."""
        inner, count = x, len(self.layers)
        told = [None] * count
        if self.modulation is not None:
            told = self.modulation(condition)[:, :, None, None, None].chunk(count, dim=1)
        for norm, layer, said in zip(self.norms, self.layers, told, strict=True):
            inner = norm(inner)
            if said is not None:
                scale, shift = said.chunk(2, dim=1)
                inner = torch.addcmul(shift, inner, 1 + scale)
            inner = layer(relu(inner))
        return x + inner


class SolidStage(nn.Module):
    """Blocks of one width, all under the same condition."""

    def __init__(self, width: int, blocks: int, solid: bool, condition: int | None = None) -> None:
        """`solid`: all kernels go through planes; else those of one more block do, and no other."""
        super().__init__()
        kernels = ((3, 3, 3),) * 2 if solid else ((1, 3, 3),) * 2
        made = [SolidBlock(width, kernels, condition) for _ in range(blocks)]
        self.blocks = nn.ModuleList(made if solid else [*made, SolidBlock(width, ((3, 1, 1),), condition)])

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """x (B, width, D, H, W), condition (B, condition) -> (B, width, D, H, W)."""
        for block in self.blocks:
            x = block(x, condition)
        return x


class VolumePyramid(nn.Module):
    """Volume to features, fine first: a residual U-Net that is also shown how close to the plane's middle it looks."""

    def __init__(self, image_channels: int, settings: PyramidSettings, solid: bool) -> None:
        super().__init__()
        self.patch = settings.patch
        widths = settings.widths
        self.stem = solid_convolution((image_channels + 2) * settings.patch**2, widths[0], (3, 3, 3))
        self.down = nn.ModuleList(SolidStage(width, settings.blocks, solid) for width in widths)
        self.shrink = nn.ModuleList(
            nn.Conv3d(fine, coarse, _HALF, stride=_HALF).to(memory_format=_LAYOUT)  # type: ignore[call-overload]
            for fine, coarse in pairwise(widths)
        )
        self.up = nn.ModuleList(SolidStage(width, settings.up_blocks, solid) for width in widths[:-1])
        self.grow = _growing(widths)
        self.norms = nn.ModuleList(nn.BatchNorm3d(width) for width in widths)

    def forward(self, image: Tensor) -> list[Tensor]:
        """image (B, C, D, H, W) -> [(B, widths[k], D, H / (patch 2^k), W / (patch 2^k))], not negative."""
        near = closeness(image.shape[3:], image.device)[:, :, None]
        shown = torch.cat([image, near.expand(len(image), -1, image.shape[2], -1, -1)], dim=1)
        folded = pixel_unshuffle(shown.transpose(1, 2), self.patch).transpose(1, 2)
        x = self.stem(folded.contiguous(memory_format=_LAYOUT))
        features = [self.down[0](x)]
        for shrink, stage in zip(self.shrink, self.down[1:], strict=True):
            features.append(stage(shrink(features[-1])))
        for level in reversed(range(len(self.up))):
            features[level] = self.up[level](features[level] + self.grow[level](features[level + 1]))
        return [relu(norm(level)) for norm, level in zip(self.norms, features, strict=True)]


class VolumeGenerator(nn.Module):
    """Logits of a mask from the volume's features and z, coarse to fine. z is one for all planes of a lesion."""

    def __init__(self, given: tuple[int, ...], patch: int, settings: GeneratorSettings, solid: bool) -> None:
        """`given` are the widths of the encoder's stages, the first of which is at 1 / `patch` of the size."""
        super().__init__()
        self.patch = patch
        widths, condition = settings.widths, settings.condition
        self.maps = nn.ModuleList(
            solid_convolution(wide, own, (1, 1, 1)) for wide, own in zip(given, widths, strict=False)
        )
        self.embed = nn.Sequential(
            nn.Linear(settings.latent, condition), nn.ReLU(), nn.Linear(condition, condition), nn.ReLU()
        )
        self.stages = nn.ModuleList(SolidStage(width, settings.blocks, solid, condition) for width in widths)
        self.grow = _growing(widths)
        self.norm = nn.BatchNorm3d(widths[0])
        self.head = solid_convolution(widths[0], patch**2, (3, 3, 3), zero=True)

    def features(self, encoded: list[Tensor]) -> list[Tensor]:
        """Once a volume: the encoder's features -> what `forward` takes of them, as wide as the stages."""
        return [layer(level) for layer, level in zip(self.maps, encoded, strict=False)]

    def forward(self, maps: list[Tensor], z: Tensor) -> Tensor:
        """maps of n volumes or of one, z (n, latent) -> logits (n, 1, D, H, W).

        What the finest map has beyond its own width, `patch`**2 maps, are logits that the mask's are added to.
        """
        condition, width = self.embed(z), self.maps[0].out_channels
        onto, maps = maps[0][:, width:], [maps[0][:, :width], *maps[1:]]
        x = maps[-1].expand(len(z), -1, -1, -1, -1)
        for level in reversed(range(len(maps))):
            x = self.stages[level](x, condition)
            if level:
                x = maps[level - 1] + self.grow[level - 1](x)
        logits = self.head(relu(self.norm(x)))
        return unfolded(logits + onto if onto.shape[1] else logits, self.patch)


class VolumeEmptiness(JointEmptiness):
    """`JointEmptiness` on all planes of a volume at once: a lesion is drawn or it is not."""

    def forward(self, features: list[Tensor], share: Tensor) -> Tensor:
        """features [(B, widths[k], D, h_k, w_k)], share (B, 1, D, H, W) of readers in [0, 1] -> logits (B,)."""
        share = share.detach()
        near = closeness(share.shape[3:], share.device)[:, :1, None].expand(-1, -1, share.shape[2], -1, -1)
        seen = [_pooled(level, weight) for weight in (share, near) for level in features]
        seen.append(share.sum((2, 3, 4)).log1p())
        return self.last(relu(self.hidden(torch.cat(seen, dim=1))))[:, 0]


def unfolded(x: Tensor, patch: int) -> Tensor:
    """(B, patch^2, D, h, w) -> (B, 1, D, patch h, patch w)."""
    return pixel_shuffle(x.transpose(1, 2), patch).transpose(1, 2)


_HALF = (1, 2, 2)
"""From one scale to the next, planes stay."""


def _growing(widths: tuple[int, ...]) -> nn.ModuleList:
    return nn.ModuleList(
        nn.ConvTranspose3d(coarse, fine, _HALF, stride=_HALF).to(memory_format=_LAYOUT)  # type: ignore[call-overload]
        for fine, coarse in pairwise(widths)
    )


def _pooled(level: Tensor, weight: Tensor) -> Tensor:
    """Mean of features (B, width, D, h, w), each as heavy as its weight (B or 1, 1, D, H, W) says: (B, width)."""
    weight = adaptive_avg_pool3d(weight, (level.shape[2], level.shape[3], level.shape[4])) + 1e-6
    return (level * weight).sum((2, 3, 4)) / weight.sum((2, 3, 4))
