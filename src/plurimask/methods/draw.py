"""Drawing a panel from a method: seeds, chunks of bounded memory, masks."""

from hashlib import blake2b

import numpy as np
import torch

from plurimask.datasets.batches import scale_intensity
from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import InputError
from plurimask.methods.method import Method


def sample_seeds(image: np.ndarray, seed: int, count: int, first: int = 0) -> tuple[int, ...]:
    """Seeds of samples `first` to `first + count - 1` of an image: a hash of image, seed and the sample's number.

    Two images get unrelated noise under one seed; the same image gets the same, whatever its file is called.
    """
    content = blake2b(np.ascontiguousarray(image, dtype=np.float32).tobytes(), digest_size=16).digest()
    return tuple(_hash63(f"{seed}/{number}".encode() + content) for number in range(first, first + count))


def draw_masks(
    method: Method, image: np.ndarray, seeds: tuple[int, ...], sampler: SamplerSettings, chunk: int = 16
) -> np.ndarray:
    """Masks (S, H, W) bool of one image (C, H, W), one a seed, on the method's own device.

    At most `chunk` samples are in work at once, so memory does not grow with their number.

    Raises:
        InputError: an image with other channels than the method's, or of a size that its network cannot take.
    """
    _check_image(method, image)
    device = next(method.parameters()).device
    scaled = scale_intensity(torch.from_numpy(image))[None].to(device)
    masks = []
    with torch.inference_mode():
        for start in range(0, len(seeds), chunk):
            part = torch.tensor(seeds[start : start + chunk], dtype=torch.int64)
            masks.append(method.sample(scaled.expand(len(part), -1, -1, -1), part, sampler).cpu().numpy())
    return np.concatenate(masks)


def _check_image(method: Method, image: np.ndarray) -> None:
    channels, multiple = method.image_channels, method.image_multiple
    if image.ndim != 3:
        raise InputError(
            "image", expected="a plane image", got=f"a volume of size {image.shape[1:]}", hint="sample slice by slice"
        )
    if image.shape[0] != channels:
        raise InputError(
            "image", expected=f"{channels} channel(s)", got=f"{image.shape[0]}", hint="give the channels of the training data"
        )
    if any(side % multiple for side in image.shape[1:]):
        raise InputError(
            "image",
            expected=f"height and width in multiples of {multiple} pixels",
            got=f"{image.shape[1]}x{image.shape[2]}",
            hint="crop or pad it",
        )


def _hash63(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big") >> 1
