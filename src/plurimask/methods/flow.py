"""Flow matching in a window: the image is encoded once, and a small flow draws each mask in a few steps.

Whether a reader draws anything is decided first (methods.hurdle); the flow draws the masks of those who do.

    D(x_t, b, t, u) = P(pixel is in the mask | x_t, b, u)                 x_0 is predicted as 2 D - 1        (1)
    L = E[cross-entropy of D at the reader's mask, if they drew]
        + cross-entropy of the encoder at the mean mask
        + cross-entropy of e at whether the reader's mask is empty                                           (2)

x_t lies on the straight path from noise to the reader's mask (diffusion.straight_path). u in (0, 1) is the rank of the
reader among the R of the image who drew, by the size of what they drew: the r-th smallest has u uniform in
((r - 1) / R, r / R), equal ones in random order. Of all who drew together u is uniform whatever the image, so

    p(mask | b, something is drawn) = integral of p(mask | b, u) du                                          (3)

holds exactly and a sample draws its u uniformly. So two numbers decide, before the first step and in the readers' own
proportions, whether a mask is empty and how large it is; few steps need not make that of noise.

e is read from the encoder's features where its mean mask lies. It is learned beside them: neither features nor mean
mask learn from it.

In training the denoiser works in a window of one of several sizes around the masks, in sampling in that of
methods.hurdle.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import torch
from pydantic import model_validator
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from plurimask.diffusion.straight_path import StraightPath
from plurimask.methods.hurdle import Exported, View, sampling_window, settle_heads
from plurimask.methods.method import Method, MethodSettings, reader_masks
from plurimask.methods.onnx_model import VISIBLE, OnnxModel
from plurimask.nets.image_encoder import EmptinessHead, ImageEncoder, ImageEncoderSettings
from plurimask.nets.mask_denoiser import MaskDenoiser, MaskDenoiserSettings
from plurimask.nets.residual import convolution
from plurimask.nets.windows import training_windows
from plurimask.records import Batch, LossTerms
from plurimask.settings import Widths, wrong


class FlowSettings(MethodSettings):
    """Everything that defines the method.

    Args:
        encoder, denoiser: sizes of the nets.
        windows: sides in pixels of the denoiser's windows in training, one drawn per step, none larger than the image.
            The smallest is also the smallest in sampling.
    """

    fixed: ClassVar[Mapping[str, object]] = {
        **{"visible": VISIBLE, "ranked": True, "shift": 8.0, "repeats": 1},
        **{"time_mean": -1.5, "time_scale": 1.4, "mean_weight": 1.0},
    }

    name: Literal["flow"] = "flow"
    encoder: ImageEncoderSettings = ImageEncoderSettings()
    denoiser: MaskDenoiserSettings = MaskDenoiserSettings()
    windows: Widths = (32, 48, 64)

    @model_validator(mode="after")
    def _stages_meet(self) -> "FlowSettings":
        encoder, denoiser = self.encoder, self.denoiser
        scales = [encoder.patch * 2**level for level in range(len(encoder.widths))]
        for level in range(len(denoiser.widths)):
            if denoiser.patch * 2**level not in scales:
                raise wrong(f"an encoder stage at 1/{denoiser.patch * 2**level} of the size", got=f"{scales} alone")
        if any(side % denoiser.multiple for side in self.windows):
            raise wrong(f"windows in multiples of {denoiser.multiple} (patch and stages)", got=self.windows)
        return self

    @property
    def timesteps(self) -> int:
        """T of the process."""
        return 1000


class FlowMatching(Method):
    """The method: encoder, its heads for the mean mask and for emptiness, and denoiser."""

    Settings = FlowSettings
    hurdled = True
    settings: FlowSettings
    process: StraightPath

    def __init__(self, settings: FlowSettings) -> None:
        super().__init__(settings, StraightPath())
        self.encoder = ImageEncoder(settings.image_channels, settings.encoder)
        self.denoiser = MaskDenoiser(settings.encoder, settings.denoiser)
        head = convolution(settings.encoder.widths[0], settings.encoder.patch**2, 1)
        self.mean_head = nn.Sequential(head, nn.PixelShuffle(settings.encoder.patch))
        self.empty_head = EmptinessHead(settings.encoder.widths[0], settings.encoder.patch)

    def loss(self, batch: Batch) -> LossTerms:
        """L of a batch (2), all readers of an image at a time each; nats per pixel, and e's nats per mask."""
        features = self.encoder(batch.image)
        _, share = reader_masks(batch, "mean")
        expected = self.mean_head(features[0])
        mean = binary_cross_entropy_with_logits(expected, share)
        sizes = batch.readers.sum((2, 3))
        drew = batch.valid & (sizes > 0)
        logits = self.empty_head(features[0], expected.sigmoid())[:, None].expand(drew.shape)[batch.valid]
        empty = binary_cross_entropy_with_logits(logits, (~drew)[batch.valid].float())
        drawn = self._drawn(batch, features, sizes, drew)
        return LossTerms(
            drawn + mean + empty, {"drawn": drawn.detach(), "mean": mean.detach(), "empty": empty.detach()}
        )

    def settle(self, batches: Iterable[Batch]) -> None:
        """The heads say from the first step on how much readers draw, and how often nothing."""
        settle_heads(self, batches)

    def _drawn(self, batch: Batch, features: list[Tensor], sizes: Tensor, drew: Tensor) -> Tensor:
        """The denoiser's part of (2): sizes (B, R) in pixels, drew (B, R) bool."""
        # Where nobody drew, empty masks stand in, at no weight: no net takes a batch of none.
        shown = drew if drew.any() else batch.valid
        inside = (batch.readers & drew[:, :, None, None]).any(1)
        windows = training_windows(inside, self.settings.denoiser.multiple, self.settings.windows)
        given = self.denoiser.features(features).cut(windows)
        readers = windows.cut(batch.readers, self.settings.denoiser.multiple)
        case, slot = shown.nonzero(as_tuple=True)
        ranks = draw_ranks(sizes, shown)[case, slot]
        masks = readers[case, slot][:, None].float()
        x_0 = masks * 2 - 1
        t = self.process.draw_times(len(x_0))
        x_t = self.process.q_sample(x_0, t, torch.randn_like(x_0))
        logits = self.denoiser(x_t, given.rows(case), t / self.process.timesteps, ranks)
        # Windows of any size weigh the same: what lies outside of them costs nothing, nor does an empty mask here.
        pixels = batch.valid.sum() * batch.image[0, 0].numel()
        total = binary_cross_entropy_with_logits(logits, masks, reduction="sum")
        return total / pixels if drew.any() else total * 0

    def expected(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Of the encoder's features: shares of readers (B, 1, H, W) who mark each pixel, and (B,) who draw nothing."""
        shares = self.mean_head(features[0]).sigmoid()
        return shares, self.empty_head(features[0], shares).sigmoid()

    def encode(self, image: Tensor) -> View:
        """What the denoiser takes of an image, in the window of what is visible."""
        features = self.encoder(image)
        (shares, empty), given = self.expected(features), self.denoiser.features(features)
        cell, least = self.settings.denoiser.multiple, min(self.settings.windows)
        windows, window = sampling_window(shares, VISIBLE, cell, least)
        return View(given.cut(windows), empty[0], window, image.shape[2:], shares.max())

    @property
    def noise(self) -> list[tuple[int, int]]:
        """The number that makes u."""
        return [(1, 0)]

    def predict(self, encoded: View, noise: Sequence[Tensor], *state: Tensor) -> Tensor:
        """x_0 of each sample: -1 outside of the window, and everywhere where u says that nothing is drawn."""
        x_t, t = state

        def inside(drawn: Tensor, rank: Tensor) -> Tensor:
            return self.denoise(encoded.features, x_t[encoded.window][drawn], t[drawn] / self.process.timesteps, rank)

        return encoded.draw(noise[0][:, 0], inside)

    def denoise(self, features: Any, x: Tensor, time: Tensor, rank: Tensor) -> Tensor:
        """2 D - 1 (1) in a window: x (n, 1, h, w), time and rank (n,) in [0, 1] -> (n, 1, h, w)."""
        return torch.tanh(self.denoiser(x, features, time, rank) / 2)


class ExportedFlow(Exported, FlowMatching):
    """The method with exported nets."""

    def __init__(self, settings: FlowSettings, nets: OnnxModel) -> None:
        super().__init__(settings, nets, StraightPath())

    def denoise(self, features: Any, x: Tensor, time: Tensor, rank: Tensor) -> Tensor:
        """2 D - 1 (1) in a window."""
        return torch.from_numpy(self.nets.denoise(features, x.numpy(), time.numpy(), rank.numpy()))


def draw_ranks(sizes: Tensor, counted: Tensor) -> Tensor:
    """u of each reader (..., R) float32: sizes (..., R) int64 in pixels, which of them count (..., R).

    The other slots hold numbers without a meaning.
    """
    tied = sizes + torch.rand(sizes.shape, dtype=torch.float64, device=sizes.device)
    position = tied.masked_fill(~counted, torch.inf).argsort(dim=-1).argsort(dim=-1)
    within = torch.rand(sizes.shape, device=sizes.device)
    return (position + within) / counted.sum(-1, keepdim=True)
