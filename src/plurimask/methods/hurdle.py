"""Hurdle models: whether a reader draws anything is one question, and what they draw another.

    p(mask | b) = e(b) [mask is empty] + (1 - e(b)) p(mask | b, something is drawn)                          (1)

A sample's u, uniform in (0, 1), decides before anything is drawn: where u < e(b) the mask is empty.

A lesion fills a small part of its image. What draws therefore works in a window: the smallest one around the pixels
that the encoder's mean mask does not rule out. Outside of it nothing is drawn, and a panel costs as much as its lesion
is large, whatever the size of the image.

Of a lesion on several planes p, a sample has one u, and emptiness belongs to the lesion. With m_p the largest share of
readers that the encoder expects at any pixel of plane p,

    e = sum_p m_p^2 e_p / sum_p m_p^2,      e_p <- max(e_p, e)                                             (2)

so that the lesion is empty as often as its planes say, the surest above all and those beyond its ends hardly, and a
sample that draws it ends where a plane is more likely to be empty than the lesion.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol, cast

import torch
from torch import Tensor, nn

from plurimask.diffusion.process import Diffusion
from plurimask.diffusion.samplers import Window
from plurimask.errors import SettingsError
from plurimask.methods.method import Method, MethodSettings
from plurimask.methods.onnx_model import OnnxModel, visible_window
from plurimask.nets.windows import Windows
from plurimask.records import Batch


class View(NamedTuple):
    """A field as what draws sees it.

    Args:
        features: what it takes of the image in the window.
        empty: () tensor, e of (1).
        window: where masks may hold anything.
        plane: rows and columns of the field.
        peak: () tensor, largest share of readers that are expected to mark a pixel.
    """

    features: Any
    empty: Tensor
    window: Window
    plane: torch.Size
    peak: Tensor

    def draw(self, normal: Tensor, inside: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """Masks (n, 1, h, w) in [-1, 1]: -1 outside of the window, and everywhere for those samples that are empty (1).

        Args:
            normal: (n,) standard normal, whose quantiles are u.
            inside: takes which samples draw, (n,) bool, and the rank of each that does, uniform in (0, 1); gives masks
                of the window.
        """
        u = torch.special.ndtr(normal)
        drawn, masks = u >= self.empty, normal.new_full((len(normal), 1, *self.plane), -1.0)
        if drawn.any():
            masks[self.window][drawn.nonzero()[:, 0]] = inside(drawn, (u[drawn] - self.empty) / (1 - self.empty))
        return masks


def of_one_lesion(views: Sequence[View]) -> list[View]:
    """The views of a lesion's planes, with their share of empty masks by (2)."""
    empty, peak = (torch.stack([getattr(view, name) for view in views]).double() for name in ("empty", "peak"))
    shared = (peak**2 * empty).sum() / (peak**2).sum().clamp(min=1e-12)
    raised = torch.maximum(empty, shared).to(views[0].empty.dtype)
    return [view._replace(empty=own) for view, own in zip(views, raised, strict=True)]


def sampling_window(share: Tensor, visible: float, cell: int, least: int) -> tuple[Windows, Window]:
    """The smallest window around what is visible of one image, in cells for its features and as what cuts it out.

    Args:
        share: (1, 1, h, w) of readers, as the encoder sees it.
        visible: least share at a pixel that the window has to hold.
        cell: pixels a side of a cell.
        least: least side of the window in pixels.
    """
    cells = visible_window(share[0, 0].cpu().numpy(), visible, cell, least // cell)
    windows = Windows(torch.tensor([[cells.top, cells.left]]), (cells.height, cells.width))
    return windows, cells.scaled(cell).slices


class Exported(Method):
    """A method whose nets run in ONNX Runtime on the CPU; it does not learn."""

    def __init__(self, settings: MethodSettings, nets: OnnxModel, process: Diffusion | None = None) -> None:
        Method.__init__(self, settings, process)
        self.nets = nets

    def loss(self, batch: object) -> NoReturn:
        """Raises SettingsError: it has no gradient."""
        raise SettingsError("training", expected="weights", got="an exported model", hint="train its run, then export")

    def encode(self, image: Tensor) -> View:
        """What draws takes of an image, in the window of what is visible."""
        encoded = self.nets.encode(image[0].numpy())
        empty, peak = torch.tensor(encoded.empty), torch.tensor(encoded.peak)
        return View(encoded, empty, encoded.window.slices, image.shape[2:], peak)


class Expecting(Protocol):
    """A method with a head for the mean mask and one for emptiness."""

    @property
    def encoder(self) -> nn.Module:
        """Image to features."""

    @property
    def mean_head(self) -> nn.Sequential:
        """Features to logits of the mean mask, by a convolution first."""

    @property
    def empty_head(self) -> nn.Module:
        """Features to logits of emptiness, by a linear layer `last`."""

    def expected(self, features: list[Tensor]) -> tuple[Tensor, Tensor]:
        """Of the encoder's features: shares of readers (B, 1, H, W) who mark each pixel, and (B,) who draw nothing."""


@torch.no_grad()
def settle_heads(method: Expecting, batches: Iterable[Batch]) -> None:
    """Move the biases of both heads so that they say of the first batch, on average, what is true of all batches.

    Else an emptiness that begins at one half is learned slowly, and a model of readers who always draw draws nothing.
    """
    first, counts = None, torch.zeros(4)
    for batch in batches:
        first = first or batch
        drew = batch.readers.flatten(2).sum(2)
        read, pixels = batch.valid.sum(), batch.image[0, 0].numel()
        counts += torch.stack([drew.sum(), read * pixels, (batch.valid & (drew == 0)).sum(), read])
    assert first is not None, "there is a batch"
    said = method.expected(method.encoder(first.image))
    biases = cast(nn.Conv2d | nn.Conv3d, method.mean_head[0]).bias, cast(nn.Linear, method.empty_head.last).bias
    for bias, now, true in zip(biases, said, (counts[0] / counts[1], counts[2] / counts[3]), strict=True):
        assert bias is not None
        logits, wanted = now.float().clamp(1e-6, 1 - 1e-6).logit(), true.clamp(_RARE, 1 - _RARE).logit()
        moved = torch.zeros(())
        for _ in range(10):
            moved = moved + wanted - (logits + moved).sigmoid().mean().logit()
        bias += moved


_RARE = 1e-3
"""What never occurs in training is expected this often."""
