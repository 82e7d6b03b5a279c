"""A deterministic U-Net with cross-entropy: the control that draws one and the same mask at every seed.

Of several readers it learns the share of them that drew a pixel, and its mask is where that is above one half.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from plurimask.methods.method import Method, MethodSettings, ReaderChoice, reader_masks
from plurimask.nets.conv_unet import ConvUnet, ConvUnetSettings, convolution
from plurimask.records import Batch, LossTerms


class UnetSettings(MethodSettings):
    """Everything that defines the control; its net is that of the Probabilistic U-Net.

    Args:
        raters: `one` uniformly drawn reader per image per draw, `all` readers of an image in one step, their `mean`, or
            their `majority`.
        net: size of the U-Net.
    """

    name: Literal["unet"] = "unet"
    raters: ReaderChoice = "one"
    net: ConvUnetSettings = ConvUnetSettings()


class Unet(Method):
    """The method: a U-Net and one logit a pixel."""

    Settings = UnetSettings
    settings: UnetSettings

    def __init__(self, settings: UnetSettings) -> None:
        super().__init__(settings)
        self.unet = ConvUnet(settings.image_channels, settings.net)
        self.head = convolution(self.unet.width, 1, (1,) * settings.net.axes)

    def loss(self, batch: Batch) -> LossTerms:
        """Cross-entropy in nats, summed over pixels and averaged over masks as in the Probabilistic U-Net."""
        image, mask = reader_masks(batch, self.settings.raters)
        total = binary_cross_entropy_with_logits(self.head(self.unet(image)), mask, reduction="sum") / len(mask)
        return LossTerms(total, {"cross_entropy": total.detach()})

    def encode(self, image: Tensor) -> Tensor:
        """Logits of an image, (1, 1, [D,] h, w)."""
        return self.head(self.unet(image))

    def predict(self, encoded: Tensor, noise: Sequence[Tensor], *state: Tensor) -> Tensor:
        """The logits of the image, the same for every sample."""
        return encoded
