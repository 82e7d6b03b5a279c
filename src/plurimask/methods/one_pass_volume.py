"""One evaluation a mask of a whole volume: `one_pass` in three dimensions, with one decision and one z a lesion.

Readers mark lesions and not slices: whether a reader draws anything is said once of a volume, by an e that sees all of
its planes, and z of (1) is one for all of them. Equations and settings are those of `methods.one_pass`; |.| there is
the sum over voxels. Volumes are (B, C, D, H, W), so that the last two axes are a plane's, as of an image.

In training and in sampling the generator works in a window of the plane, through all planes that are shown.
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from plurimask.methods.hurdle import View, sampling_window, settle_heads
from plurimask.methods.method import Method, reader_masks
from plurimask.methods.one_pass import OnePassSettings, scores
from plurimask.nets.volume_generator import VolumeEmptiness, VolumeGenerator, VolumePyramid, solid_convolution, unfolded
from plurimask.nets.windows import Windows, training_windows
from plurimask.records import Batch, LossTerms


class OnePassVolumeSettings(OnePassSettings):
    """Everything that defines the method; besides what `one-pass` has, but for known readers:

    Args:
        solid: whether all kernels go through planes; else the nets look along them once a stage.
    """

    name: Literal["one-pass-volume"] = "one-pass-volume"  # type: ignore[assignment]
    solid: bool = True
    readers: Annotated[tuple[()], Field(exclude_if=lambda readers: not readers)] = ()


class OnePassVolume(Method):
    """The method: encoder, its heads for the mean mask and for emptiness, and generator."""

    Settings = OnePassVolumeSettings
    hurdled = True
    volumes = True
    settings: OnePassVolumeSettings
    steps: Tensor
    """Steps of training so far, up to `start`."""

    def __init__(self, settings: OnePassVolumeSettings) -> None:
        super().__init__(settings)
        widths, patch = settings.encoder.widths, settings.encoder.patch
        self.encoder = VolumePyramid(settings.image_channels, settings.encoder, settings.solid)
        self.generator = VolumeGenerator(widths, patch, settings.generator, settings.solid)
        self.mean_head = nn.Sequential(solid_convolution(widths[0], patch**2, (1, 1, 1)))  # as settle_heads takes it
        self.empty_head = VolumeEmptiness(widths, widths[-1])
        self.register_buffer("steps", torch.zeros(()))

    def loss(self, batch: Batch) -> LossTerms:
        """L of a batch; L_mean in nats a voxel, L_empty in nats a reader."""
        self._choose_norms(batch)
        features = self.encoder(batch.image)
        _, share = reader_masks(batch, "mean")
        expected = self._mean_logits(features).float()
        mean = binary_cross_entropy_with_logits(expected, share)  # (6)
        drew = batch.valid & batch.readers.flatten(2).any(2)
        said = self.empty_head(features, expected.sigmoid()).float()[:, None].expand(drew.shape)[batch.valid]
        empty = binary_cross_entropy_with_logits(said, (~drew)[batch.valid].float())  # (7)
        total = self.settings.mean_weight * mean + self.settings.empty_weight * empty
        score, pixel = total.new_zeros(()), total.new_zeros(())
        if self.steps >= self.settings.start:
            score, pixel = self._scores(batch, features, drew)
            total = total + score + self.settings.pixel_weight * pixel
        elif self.training:
            self.steps += 1
        terms = {"score": score, "pixel": pixel, "mean": mean, "empty": empty}
        return LossTerms(total, {name: value.detach() for name, value in terms.items()})

    def settle(self, batches: Iterable[Batch]) -> None:
        """The heads say from the first step on how much readers draw, and how often nothing."""
        first, *others = batches
        self._choose_norms(first)
        settle_heads(self, [first, *others])

    def _choose_norms(self, batch: Batch) -> None:
        """Whether the batch norms learn from these volumes."""
        learn = self.training and max(batch.image.shape[3:]) <= self.settings.norms
        for module in self.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.train(learn)

    def _scores(self, batch: Batch, features: list[Tensor], drew: Tensor) -> tuple[Tensor, Tensor]:
        """(4) and (5), which are 0 where nobody drew: drew (B, R) bool."""
        inside = batch.readers.any(1).any(1)
        windows = training_windows(inside, self.settings.cell, self.settings.windows)
        maps = self._cut(self.maps(features), windows)
        draws, count = self.settings.draws, len(drew)
        z = torch.randn((count * draws, self.settings.generator.latent), device=drew.device)
        logits = self.generator([level.repeat_interleave(draws, dim=0) for level in maps], z).float()
        x = self._lifted(logits).sigmoid().reshape(count, draws, -1)
        y = windows.cut(batch.readers, self.settings.cell).flatten(2).float()
        return scores(x, y, drew, self.settings.constant)

    def _mean_logits(self, features: list[Tensor]) -> Tensor:
        """Of the mean mask: (B, 1, D, H, W)."""
        return unfolded(self.mean_head(features[0]), self.settings.encoder.patch)

    def expected(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Of the encoder's features: shares of readers (B, 1, D, H, W) who mark a voxel, and (B,) who draw nothing."""
        shares = self._mean_logits(features).sigmoid()
        return shares, self.empty_head(features, shares).sigmoid()

    def maps(self, features: list[Tensor]) -> list[Tensor]:
        """Of the encoder's features what the generator takes, fine first; beside the finest the logits to draw onto."""
        finest, *others = self.generator.features(features)
        if self.settings.onto_mean:
            finest = torch.cat([finest, self.mean_head(features[0]).detach()], dim=1)
        return [finest, *others]

    def encode(self, image: Tensor) -> View:
        """What the generator takes of a volume (1, C, D, H, W), in the window of what is visible on any plane."""
        features = self.encoder(image)
        shares, empty = self.expected(features)
        settings = self.settings
        windows, window = sampling_window(shares.amax(2), settings.visible, settings.cell, min(settings.windows))
        return View(self._cut(self.maps(features), windows), empty[0], window, image.shape[2:], shares.sum())

    @property
    def noise(self) -> list[tuple[int, int]]:
        """The first number makes u, the others are z."""
        return [(1 + self.settings.generator.latent, 0)]

    def predict(self, encoded: View, noise: Sequence[Tensor], *state: Tensor) -> Tensor:
        """2 x - 1 of each sample: -1 outside of the window, and everywhere where u says that nothing is drawn."""
        z = noise[0][:, 1:]
        return encoded.draw(noise[0][:, 0], lambda drawn, rank: self.generate(encoded.features, z[drawn]))

    def generate(self, features: Any, z: Tensor) -> Tensor:
        """2 x - 1 (2) in a window: z (n, latent) -> (n, 1, D, h, w)."""
        return torch.tanh(self._lifted(self.generator(features, z)) / 2)

    def _cut(self, maps: list[Tensor], windows: Windows) -> list[Tensor]:
        """A window of each volume."""
        cells = [2**level for level in reversed(range(len(maps)))]
        cut = [windows.cut(level, cell) for level, cell in zip(maps, cells, strict=True)]
        # Cutting out leaves channels first, which convolutions on a CPU are slower with.
        return [level.contiguous(memory_format=torch.channels_last_3d) for level in cut]

    def _lifted(self, logits: Tensor) -> Tensor:
        """l of (2): (n, 1, D, h, w)."""
        return logits + (self.settings.lift - logits.amax((1, 2, 3, 4), keepdim=True)).clamp(min=0)
