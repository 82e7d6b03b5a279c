"""What every method offers: two verbs, `loss` and `draw`. The trainer and the sampler know no more than this."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.methods.fields import Fields
from plurimask.records import Batch, LossTerms
from plurimask.settings import Positive, Settings

RaterChoice = Literal["one", "all", "mean", "majority"]


class MethodSettings(Settings, ABC):
    """Everything that defines a method; each method adds its own.

    Args:
        name: of the method, one fixed word a class.
        image_channels: channels of the image it takes.
    """

    name: str
    image_channels: Positive = 1

    @property
    @abstractmethod
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels."""

    @property
    def normalises_batches(self) -> bool:
        """Whether maps are normalised over a batch, by which nothing is left of a single map of one pixel."""
        return False

    @property
    def timesteps(self) -> int | None:
        """T of the diffusion process; None: a mask is drawn in one evaluation, and there is no sampler."""
        return None


class Method(nn.Module, ABC):
    """A published method: its nets, its loss, its sampling.

    Attributes:
        image_channels: channels of the image it takes.
    """

    image_channels: int

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    @abstractmethod
    def loss(self, batch: Batch) -> LossTerms:
        """The training loss of a batch; all randomness from torch's global generator."""

    @abstractmethod
    def draw(self, fields: Fields, seeds: Tensor, sampler: SamplerSettings | None) -> Tensor:
        """One mask of the area a seed: seeds (n,) int64 -> (n, H, W) bool.

        Noise is shared by the fields of a seed. `sampler` is None for a method without a diffusion process.
        """

    def drawer(self, fields: Fields, sampler: SamplerSettings | None) -> Callable[[Tensor], Tensor]:
        """`draw` with seeds still to be given, as often as one likes; what depends on the area alone is done once."""
        return lambda seeds: self.draw(fields, seeds, sampler)

    def sample(self, image: Tensor, seeds: Tensor, sampler: SamplerSettings | None) -> Tensor:
        """One mask a seed of images that are a field each: image (n, C, H, W) scaled -> (n, H, W) bool."""
        return self.draw(Fields.of(image), seeds, sampler)


def rater_masks(batch: Batch, choice: RaterChoice) -> tuple[Tensor, Tensor]:
    """Masks to learn from: image (n, C, H, W), mask (n, 1, H, W) float32 in [0, 1].

    `one` uniformly drawn rater an image and `all` raters of every image give hard masks; so does `majority`, the pixels
    that more than half of an image's raters drew. `mean` is soft, the share of its raters that drew a pixel.
    """
    if choice in ("one", "all"):
        image, rater = batch.one_rater() if choice == "one" else batch.all_raters()
        return image, rater.float()
    read = batch.valid[:, :, None, None]
    share = (batch.raters & read).sum(1, keepdim=True) / read.sum(1, keepdim=True)
    return batch.image, share if choice == "mean" else (share > 0.5).float()
