"""One evaluation a mask: a generator trained by the score that judges it.

Whether a reader draws anything is decided first (methods.hurdle). What they draw then comes from a generator

    g(features of b, z),    z ~ N(0, I),    a mask is the pixels where its logit is above 0                  (1)

With `onto_mean` g is the generator's logits added to those of the encoder's mean mask, which does not learn from them.
The logits are lifted so that the largest is at least `lift`, since e alone decides on empty masks of a whole image:

    l = g + max(0, lift - max over pixels of g),    x = 1 / (1 + exp(-l))                                    (2)

With readers r who drew and S draws of z, soft masks x_s and hard ones y_r, |.| the sum over pixels:

    d_J(x, y) = 1 - (|x| + |y| - |x - y| + c) / (|x| + |y| + |x - y| + c)                                    (3)
    L_score   = mean over (s, r) of d_J(x_s, y_r) - 1/2 mean over s != s' of d_J(x_s, x_s')                  (4)
    L_pixel   = (4) with |x - y| / (mean |y_r| + 20) in place of d_J                                         (5)
    L_mean    = cross-entropy of the encoder's mean mask at the share of readers who drew each pixel         (6)
    L_empty   = cross-entropy of e at the share of readers who drew nothing                                  (7)
    L_region  = mean over r of d_J(the mean mask, y_r)                                                       (8)
    L         = mean_weight L_mean + empty_weight L_empty + region_weight L_region        at first
    L         = the same + L_score + pixel_weight L_pixel                                 after `start` steps

On hard masks and with c = 0, d_J is 1 - IoU, whose kernel is positive definite on sets: (4) is half the energy distance
to the readers' distribution but for a constant, so no other distribution of masks scores better than theirs. That of
1 - Dice is not. Pairs are distinct ones; (3) is 0 for equal soft masks. Counting a mask's pair with itself, or a
soft IoU of products, would draw the samples together or to 0 and 1. (5) has a gradient where masks do not overlap;
it knows pixels alone, and at a weight of 0.3 it keeps two modes that exclude each other from being learned.
(8) is (4) of one draw, the mean mask: where what is drawn fills few of the pixels, (6) alone learns it slowly.
In (4), (5) and (8) a batch is averaged over its readers, so that an image counts as many times as readers drew.

Of volumes (B, C, D, H, W) |.| is the sum over voxels; the last two axes are a plane's, as of an image.

In training the generator works in a window of one of several sizes around the masks, in sampling in that of
methods.hurdle. Training begins with crops and ends with whole images, in which the nets learn that nothing is drawn far
from the middle.
"""

from collections.abc import Iterable, Sequence
from itertools import product
from typing import Annotated, Any, Literal

import numpy as np
import scipy  # its parts are imported when they are first asked for
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from plurimask.diffusion.samplers import Window
from plurimask.methods.hurdle import Exported, View, sampling_window, settle_heads
from plurimask.methods.known_readers import KnownReaders, named, one_each
from plurimask.methods.method import Method, MethodSettings, reader_masks
from plurimask.nets.mask_generator import (
    LAYERED,
    PLANAR,
    SOLID,
    GeneratorSettings,
    JointEmptiness,
    Kernels,
    MaskGenerator,
    Pyramid,
    PyramidSettings,
    Unfolding,
)
from plurimask.nets.residual import convolution
from plurimask.nets.windows import Windows, training_windows
from plurimask.records import Batch, LossTerms
from plurimask.settings import Natural, Positive, Rate, Weight, Widths, wrong


class OnePassSettings(MethodSettings):
    """Everything that defines the method.

    Args:
        encoder: size of the net that sees the image.
        generator: size of the net that draws.
        windows: sides in pixels of the generator's windows in training, one drawn per step. The smallest is also the
            smallest in sampling.
        visible: least share of readers, as the encoder sees it, at a pixel that the window has to hold.
        draws: S of (4).
        constant: c of (3), in pixels.
        lift: least logit of a mask's likeliest pixel (2). A sample that draws something then does so in every field of
            an image; with a low one, as -10, it may leave some of them empty.
        onto_mean: whether the generator draws what a mask differs by from the mean one. Learned in a few hundred steps.
        pixel_weight: weight of L_pixel in the loss.
        mean_weight: weight of L_mean in the loss.
        empty_weight: weight of L_empty in the loss.
        region_weight: weight of L_region in the loss. Shares of readers are then less exact: what most of them mark
            is shown as marked by nearly all.
        start: steps that are taken on L_mean and L_empty alone.
        readers: names of the readers that it learns to draw as, as the dataset has them; a weight file says them too.
        norms: largest side in pixels of the images that the batch norms learn from. In larger ones they keep what they
            have learned, since what lies around a crop would change it.
    """

    name: Literal["one-pass"] = "one-pass"
    encoder: PyramidSettings = PyramidSettings()
    generator: GeneratorSettings = GeneratorSettings()
    windows: Widths = (32, 32, 48)
    visible: Annotated[float, Field(gt=0, lt=1)] = 0.01
    draws: Annotated[int, Field(ge=2)] = 4
    constant: Weight = 0.1
    lift: Annotated[float, Field(allow_inf_nan=False)] = 1.0
    onto_mean: bool = False
    pixel_weight: Weight = 0.05
    mean_weight: Weight = 3.0
    empty_weight: Weight = 1.5
    region_weight: Weight = 0.0
    start: Natural = 300
    norms: Positive = 64
    readers: Annotated[tuple[str, ...], Field(exclude_if=lambda readers: not readers)] = ()

    @model_validator(mode="after")
    def _stages_meet(self) -> "OnePassSettings":
        if len(self.generator.widths) > len(self.encoder.widths):
            raise wrong(f"at most the encoder's {len(self.encoder.widths)} stages", got=self.generator.widths)
        if any(side % self.cell for side in self.windows):
            raise wrong(f"windows in multiples of {self.cell} (patch and stages)", got=self.windows)
        return self

    @property
    def cell(self) -> int:
        """Windows lie on a grid of this many pixels."""
        return self.encoder.patch * 2 ** (len(self.generator.widths) - 1)

    @property
    def kernels(self) -> Kernels:
        """Of all nets."""
        return PLANAR

    @property
    def normalises_batches(self) -> bool:
        """Maps are normalised over a batch."""
        return True


class OnePass(Method):
    """The method: encoder, its heads for the mean mask and for emptiness, and generator."""

    Settings = OnePassSettings
    hurdled = True
    settings: OnePassSettings
    known: KnownReaders | None
    steps: Tensor
    """Steps of training so far, up to `start`."""

    def __init__(self, settings: OnePassSettings) -> None:
        super().__init__(settings)
        widths, patch = settings.encoder.widths, settings.encoder.patch
        self.encoder = Pyramid(settings.image_channels, settings.encoder, settings.kernels)
        self.generator = MaskGenerator(widths, patch, settings.generator, settings.kernels)
        self.mean_head = nn.Sequential(convolution(widths[0], patch**2, settings.kernels.point), Unfolding(patch))
        self.empty_head = JointEmptiness(widths, widths[-1])
        self.known = KnownReaders(len(settings.readers), settings.generator.latent) if settings.readers else None
        self.register_buffer("steps", torch.zeros(()))

    def loss(self, batch: Batch) -> LossTerms:
        """L of a batch; L_mean in nats a pixel, L_empty in nats a reader."""
        self._choose_norms(batch)
        features = self.encoder(batch.image)
        _, share = reader_masks(batch, "mean")
        expected = self.mean_head(features[0]).float()
        mean = binary_cross_entropy_with_logits(expected, share)  # (6)
        drew = batch.valid & batch.readers.flatten(2).any(2)
        said, who = self.empty_head(features, expected.sigmoid()).float()[:, None].expand(drew.shape), None
        if self.known is not None and batch.who is not None:
            who = named(batch.who)
            said = self.known.empty(said, who)
        empty = binary_cross_entropy_with_logits(said[batch.valid], (~drew)[batch.valid].float())  # (7)
        total = self.settings.mean_weight * mean + self.settings.empty_weight * empty
        if self.settings.region_weight:
            total = total + self.settings.region_weight * self._region(expected.sigmoid(), batch.readers, drew)
        score, pixel = total.new_zeros(()), total.new_zeros(())
        if self.steps >= self.settings.start:
            score, pixel = self._scores(batch, features, drew, who)
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
        """Whether the batch norms learn from these images."""
        learn = self.training and max(batch.image.shape[-2:]) <= self.settings.norms
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
                module.train(learn)

    def _scores(self, batch: Batch, features: list[Tensor], drew: Tensor, who: Tensor | None) -> tuple[Tensor, Tensor]:
        """(4) and (5), which are 0 where nobody drew: drew (B, R) bool, who (B, R) as `named` gives it."""
        drawn = batch.readers & drew[(..., *[None] * self.settings.kernels.axes)]
        inside = drawn.flatten(1, -3).any(1)  # of a volume, on any plane
        windows = training_windows(inside, self.settings.cell, self.settings.windows)
        maps = windows.cut_levels(self.maps(features))
        draws, count = self.settings.draws, len(drew)
        z, readers = torch.randn((count * draws, self.settings.generator.latent), device=drew.device), batch.readers
        if self.known is not None and who is not None:
            reader, slots = one_each(who, drew)
            z = self.known.latent(z, reader.repeat_interleave(draws))
            readers = readers[torch.arange(count, device=drew.device)[:, None], slots]
        # Channels stand last while maps are repeated, which leaves them as convolutions want them.
        maps = [level.movedim(1, -1).repeat_interleave(draws, dim=0).movedim(-1, 1) for level in maps]
        logits = self.generator(maps, z).float()
        x = self._lifted(logits).sigmoid().reshape(count, draws, -1)
        y = windows.cut(readers, self.settings.cell).flatten(2).float()
        return scores(x, y, drew, self.settings.constant)

    def _region(self, mean: Tensor, readers: Tensor, drew: Tensor) -> Tensor:
        """(8), which is 0 where nobody drew: mean (B, 1, ..., H, W), readers (B, R, ..., H, W), drew (B, R) bool."""
        mean, masks = mean.flatten(2), readers.flatten(2).float()
        size, sizes = mean.sum(2), masks.sum(2)
        apart = differences(mean, masks, size, sizes)[:, 0]
        distance = soft_distance(size, sizes, apart, self.settings.constant)
        return (distance * drew).sum() / drew.sum().clamp(min=1)

    def expected(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Of features: shares of readers (B, 1, [D,] H, W) who mark each pixel, and (B,) who draw nothing."""
        shares = self.mean_head(features[0]).sigmoid()
        return shares, self.empty_head(features, shares).sigmoid()

    def maps(self, features: list[Tensor]) -> list[Tensor]:
        """Of the encoder's features what the generator takes, fine first; beside the finest the logits to draw onto."""
        finest, *others = self.generator.features(features)
        if self.settings.onto_mean:
            finest = torch.cat([finest, self.mean_head[0](features[0]).detach()], dim=1)
        return [finest, *others]

    def encode(self, image: Tensor) -> View:
        """What the generator takes of an image, in the window of what is visible."""
        features = self.encoder(image)
        shares, empty = self.expected(features)
        if self.known is not None and self.reader is not None:
            empty = self.known.empty(empty.logit(), empty.new_tensor([self.reader], dtype=torch.long)).sigmoid()
        return self._view(self.maps(features), shares, empty[0])

    def _view(self, maps: list[Tensor], shares: Tensor, empty: Tensor) -> View:
        windows, window = self.window(shares, self.settings.visible)
        return View(windows.cut_levels(maps), empty, window, shares.shape[2:], shares.max())

    def window(self, shares: Tensor, visible: float) -> tuple[Windows, Window]:
        """That of what is visible of one image, of a volume on any plane: shares (1, 1, [D,] H, W)."""
        plane = shares.flatten(1, -3).amax(1, keepdim=True)
        return sampling_window(plane, visible, self.settings.cell, min(self.settings.windows))

    @property
    def readers(self) -> tuple[str, ...]:
        """Those of its settings; an exported one has none, since only the mixture is exported."""
        return self.settings.readers if self.known is not None else ()

    @property
    def noise(self) -> list[tuple[int, int]]:
        """The first number makes u, the others are z."""
        return [(1 + self.settings.generator.latent, 0)]

    def predict(self, encoded: View, noise: Sequence[Tensor], *state: Tensor) -> Tensor:
        """2 x - 1 of each sample: -1 outside of the window, and everywhere where u says that nothing is drawn."""
        z = noise[0][:, 1:]
        if self.known is not None and self.reader is not None:
            z = self.known.latent(z, torch.full((len(z),), self.reader, device=z.device))
        return encoded.draw(noise[0][:, 0], lambda drawn, rank: self.generate(encoded.features, z[drawn]))

    def generate(self, features: Any, z: Tensor) -> Tensor:
        """2 x - 1 (2) in a window: z (n, latent) -> (n, 1, [D,] h, w)."""
        return torch.tanh(self._lifted(self.generator(features, z)) / 2)

    def _lifted(self, logits: Tensor) -> Tensor:
        """l of (2), as large as the logits (n, 1, [D,] h, w)."""
        most = logits.amax(tuple(range(1, logits.dim())), keepdim=True)
        return logits + (self.settings.lift - most).clamp(min=0)


class OnePassVolumeSettings(OnePassSettings):
    """Everything that defines the method; besides what `one-pass` has, but for known readers:

    Args:
        solid: whether all kernels go through planes; else the nets look along them once a stage.
        lift: least logit of a mask's likeliest voxel (2), above 0: a mask that is drawn is one body.
    """

    name: Literal["one-pass-volume"] = "one-pass-volume"  # type: ignore[assignment]
    solid: bool = True
    lift: Rate = 1.0
    readers: Annotated[tuple[()], Field(exclude_if=lambda readers: not readers)] = ()

    @property
    def kernels(self) -> Kernels:
        """Of all nets."""
        return SOLID if self.solid else LAYERED

    @property
    def volumes(self) -> bool:
        """It is shown volumes."""
        return True


class OnePassVolume(OnePass):
    """The method in three dimensions, with one decision and one z a lesion.

    Readers mark lesions and not slices: whether a reader draws anything is said once of a volume, by an e that sees all
    of its planes, and z of (1) is one for all of them. The windows lie in the plane and go through all planes shown. In
    sampling nothing is drawn outside of the body of visible voxels that holds the likeliest one, and a mask is one
    body: what lies apart is joined to it (see `joined`), nothing is taken away.
    """

    Settings = OnePassVolumeSettings
    settings: OnePassVolumeSettings

    def _view(self, maps: list[Tensor], shares: Tensor, empty: Tensor) -> View:
        """With the maps, which voxels of the window are the lesion's."""
        visible = min(self.settings.visible, shares.max().item() / 2)
        lesion = likeliest_body(shares, visible)
        windows, window = self.window(shares * lesion, visible)
        inside = windows.cut(lesion, self.settings.cell)
        return View((windows.cut_levels(maps), inside), empty, window, shares.shape[2:], shares.max())

    def generate(self, features: Any, z: Tensor) -> Tensor:
        """2 x - 1 (2) in a window: z (n, latent) -> (n, 1, D, h, w)."""
        maps, inside = features
        logits = self._lifted(self.generator(maps, z).masked_fill(~inside, -torch.inf)).float()
        drawn = np.stack([joined(one) for one in logits[:, 0].numpy(force=True)])
        bridges = torch.from_numpy(drawn).to(logits.device)[:, None] & (logits <= 0)
        return torch.tanh(logits.masked_fill(bridges, _BRIDGE) / 2)


def likeliest_body(shares: Tensor, visible: float) -> Tensor:
    """(1, 1, D, H, W) bool: the voxels of a share above `visible` that touch, if by a corner, around the likeliest."""
    values = shares[0, 0].cpu().numpy()
    bodies, _ = scipy.ndimage.label(values > visible, _TOUCHING)
    return torch.from_numpy(bodies == bodies.flat[values.argmax()]).to(shares.device)[None, None]


def joined(logits: np.ndarray) -> np.ndarray:
    """The voxels (D, h, w) of logits above 0, some of which are, and those that join their bodies to one.

    From the likeliest voxel to each other body a path inside of the box around all of them is added that costs least,
    where a voxel costs what its logit lacks to 0.
    """
    bodies, count = scipy.ndimage.label(logits > 0, _TOUCHING)
    whole = bodies > 0
    if count == 1:
        return whole
    (box,) = scipy.ndimage.find_objects(whole.view(np.uint8))
    bodies, cost = bodies[box], np.clip(-logits[box], 1e-6, 1e3)
    number, edges = np.arange(cost.size).reshape(cost.shape), []
    for step in list(product((-1, 0, 1), repeat=3))[14:]:  # each pair of neighbours once
        ends = [tuple(slice(max(side * way, 0), min(side * way, 0) or None) for side in step) for way in (-1, 1)]
        edges.append(np.stack([number[end].ravel() for end in ends]))
    pairs = np.concatenate(edges, axis=1)
    graph = scipy.sparse.csr_array((cost.ravel()[pairs].sum(0), tuple(pairs)), shape=(cost.size, cost.size))
    away, before = scipy.sparse.csgraph.dijkstra(
        graph, directed=False, indices=logits[box].argmax(), return_predecessors=True
    )
    path = whole[box].ravel()
    for body in range(1, count + 1):
        inside = np.flatnonzero(bodies == body)
        place = inside[away[inside].argmin()]
        while place >= 0:  # the first voxel has none before it
            path[place], place = True, before[place]
    whole[box] = path.reshape(cost.shape)
    return whole


_TOUCHING = np.ones((3, 3, 3), dtype=np.bool_)
"""Voxels touch by a face, an edge or a corner."""
_BRIDGE = 1e-3
"""Logit of a voxel that joins two bodies."""


class ExportedOnePass(Exported, OnePass):
    """The method with exported nets."""

    known = None

    def generate(self, features: Any, z: Tensor) -> Tensor:
        """2 x - 1 (2) in a window."""
        return torch.from_numpy(self.nets.generate(features, z.numpy()))


def scores(x: Tensor, y: Tensor, drew: Tensor, constant: float) -> tuple[Tensor, Tensor]:
    """L_score (4) and L_pixel (5) of a batch: x (B, S, pixels) in [0, 1], y (B, R, pixels) 0 or 1, drew (B, R) bool.

    Means over all readers of the batch who drew; both are 0 where nobody did.
    """
    size_x, size_y = x.sum(2), y.sum(2)
    crossed = differences(x, y, size_x, size_y)
    one, other = torch.triu_indices(x.shape[1], x.shape[1], 1, device=x.device)
    within = (x[:, one] - x[:, other]).abs().sum(2)
    readers = drew.sum(1)
    weight = readers / readers.sum().clamp(min=1)
    typical = (size_y * drew).sum(1) / readers.clamp(min=1) + _TYPICAL

    def energy(between: Tensor, inside: Tensor) -> Tensor:
        """Between (B, S, R) and within pairs (B, S (S - 1) / 2)."""
        read = (between * drew[:, None]).sum((1, 2)) / (x.shape[1] * readers.clamp(min=1))
        return (weight * (read - inside.mean(1) / 2)).sum()

    score = energy(
        soft_distance(size_x[:, :, None], size_y[:, None], crossed, constant),
        soft_distance(size_x[:, one], size_x[:, other], within, constant),
    )
    return score, energy(crossed / typical[:, None, None], within / typical[:, None])


def differences(x: Tensor, y: Tensor, size_x: Tensor, size_y: Tensor) -> Tensor:
    """|x - y| over pixels, of x (B, S, pixels) in [0, 1] and y (B, R, pixels) 0 or 1 with their sums: (B, S, R).

    Where y is 0 or 1, that is |x| + |y| - 2 xy: a product of matrices in place of (B, S, R, pixels).
    """
    with torch.autocast(x.device.type, enabled=False):  # which would count pixels in half precision
        return size_x[:, :, None] + size_y[:, None] - 2 * x @ y.mT


def soft_distance(size_x: Tensor, size_y: Tensor, difference: Tensor, constant: float) -> Tensor:
    """d_J (3) from |x|, |y| and |x - y|; two empty masks have distance 0 where the constant is above 0."""
    total = size_x + size_y + constant
    return 2 * difference / (total + difference)


_TYPICAL = 20.0
"""Pixels added to the size of a lesion (5)."""
