"""Drawing a panel from a method: seeds, chunks of bounded memory, masks."""

import numpy as np
import torch

from plurimask.datasets.batches import scale_intensity
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.methods.fields import Fields
from plurimask.methods.method import Method


def draw_masks(
    method: Method, image: np.ndarray, seeds: tuple[int, ...], sampler: SamplerSettings | None, chunk: int = 16
) -> np.ndarray:
    """Masks (S, H, W) bool of one image (C, H, W) that is a field, one a seed, on the method's own device.

    At most `chunk` samples are in work at once, so memory does not grow with their number.
    """
    fields = Fields.of(scale_intensity(torch.from_numpy(image))[None].to(method.device))
    return draw_area(method, fields, seeds, sampler, chunk)


def draw_area(
    method: Method, fields: Fields, seeds: tuple[int, ...], sampler: SamplerSettings | None, chunk: int
) -> np.ndarray:
    """Masks (S, H, W) bool of an area, one a seed, at most `chunk` of them in work at once."""
    masks = []
    with torch.inference_mode():
        draw = method.drawer(fields, sampler)
        for start in range(0, len(seeds), chunk):
            part = torch.tensor(seeds[start : start + chunk], dtype=torch.int64)
            masks.append(draw(part).cpu().numpy())
    return np.concatenate(masks)
