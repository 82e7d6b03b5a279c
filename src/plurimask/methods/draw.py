"""Drawing a panel from a method: seeds, chunks of bounded memory, masks."""

from hashlib import blake2b

import numpy as np
import torch

from plurimask.datasets.batches import scale_intensity
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.methods.fields import Fields
from plurimask.methods.method import Method


def sample_seeds(image: np.ndarray, seed: int, count: int) -> tuple[int, ...]:
    """One seed a sample: a hash of image, `seed` and the sample's number, so the first ones do not depend on `count`.

    Two images get unrelated noise under one seed; the same image gets the same, whatever its file is called.
    """
    content = blake2b(np.ascontiguousarray(image, dtype=np.float32).reshape(-1).data, digest_size=16).digest()
    return tuple(_hash63(f"{seed}/{number}".encode() + content) for number in range(count))


def draw_masks(
    method: Method, image: np.ndarray, seeds: tuple[int, ...], sampler: SamplerSettings | None, chunk: int = 16
) -> np.ndarray:
    """Masks (S, H, W) bool of one image (C, H, W) that is a field, one a seed, on the method's own device.

    At most `chunk` samples are in work at once, so memory does not grow with their number.
    """
    device = next(method.parameters()).device
    fields = Fields.of(scale_intensity(torch.from_numpy(image))[None].to(device))
    return draw_area(method, fields, seeds, sampler, chunk)


def draw_area(
    method: Method, fields: Fields, seeds: tuple[int, ...], sampler: SamplerSettings | None, chunk: int
) -> np.ndarray:
    """Masks (S, H, W) bool of an area, one a seed, at most `chunk` of them in work at once."""
    masks = []
    with torch.inference_mode():
        for start in range(0, len(seeds), chunk):
            part = torch.tensor(seeds[start : start + chunk], dtype=torch.int64)
            masks.append(method.draw(fields, part, sampler).cpu().numpy())
    return np.concatenate(masks)


def _hash63(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big") >> 1
