"""What every method offers: two verbs, `loss` and `sample`. The trainer and the sampler know no more than this."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.records import Batch, LossTerms


class Method(nn.Module, ABC):
    """A published method: its nets, its loss, its sampling.

    Attributes:
        image_channels: channels of the image it takes.
    """

    image_channels: int

    @abstractmethod
    def loss(self, batch: Batch) -> LossTerms:
        """The training loss of a batch; all randomness from torch's global generator."""

    @abstractmethod
    def sample(self, image: Tensor, seeds: Tensor, sampler: SamplerSettings) -> Tensor:
        """One mask a seed: image (n, C, H, W) scaled, seeds (n,) int64 -> (n, H, W) bool."""
