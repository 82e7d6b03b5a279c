"""Readers who are known: each draws from a place of their own in the space of z, and nothing more or less often.

    z of reader r = z + m_r,    z ~ N(0, I),    logit of e(b) of reader r = logit of e(b) + a_r                      (1)

While nobody is named z stays as it is: what is drawn then is the mixture of all readers. In training half of the images
name theirs. Such an image is learned as one of its known readers who drew: their mask stands for those of all.
"""

import torch
from torch import Tensor, nn


class KnownReaders(nn.Module):
    """m and a of each reader (1). A reader is a number; -1 is nobody."""

    def __init__(self, count: int, latent: int) -> None:
        super().__init__()
        # About as long as z is, in a direction of their own: readers who begin alike are slow to part.
        self.means = nn.Parameter(torch.randn(count, latent))
        self.emptiness = nn.Parameter(torch.zeros(count))

    def latent(self, z: Tensor, reader: Tensor) -> Tensor:
        """z (n, latent) of readers (n,)."""
        return torch.where((reader < 0)[:, None], z, z + self.means[reader])

    def empty(self, logit: Tensor, reader: Tensor) -> Tensor:
        """Logits (...) that nothing is drawn, of readers (...)."""
        return torch.where(reader < 0, logit, logit + self.emptiness[reader])


def named(who: Tensor) -> Tensor:
    """Who (B, R) the readers of a batch are, nobody where they are unknown; of half of the images nobody at all."""
    return torch.where(torch.rand(len(who), 1, device=who.device) < _NAMED, who, -1)


def one_each(who: Tensor, drew: Tensor) -> tuple[Tensor, Tensor]:
    """Whom each image is learned as, (B,), and the slot (B, R) whose mask each slot then has.

    Args:
        who: (B, R), as `named` gives it; where nobody drew who is named, slots keep their own masks.
        drew: (B, R) bool.
    """
    known = drew & (who >= 0)
    some = known.any(1, keepdim=True)
    slot = (known | ~some).float().multinomial(1)
    reader = torch.where(some, who.take_along_dim(slot, dim=1), -1)[:, 0]
    return reader, torch.where(some, slot, torch.arange(who.shape[1], device=who.device))


_NAMED = 0.5
