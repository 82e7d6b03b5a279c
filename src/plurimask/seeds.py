"""From a seed to numbers: one seed a sample, and its normal noise as PyTorch draws it on a CPU. NumPy alone."""

import math
from hashlib import blake2b

import numpy as np

RANK_STREAM = 0x5DEECE66D
"""Seed xor this: another stream of the same sample, for its rank (`methods.panel`)."""
NOISE_BLOCK = 16
"""Numbers that PyTorch draws together; fewer than these it draws in another way."""


def sample_seeds(image: np.ndarray, seed: int, count: int) -> tuple[int, ...]:
    """One seed a sample: a hash of image, `seed` and the sample's number, so the first ones do not depend on `count`.

    Two images get unrelated noise under one seed; the same image gets the same, whatever its file is called.
    """
    content = blake2b(np.ascontiguousarray(image, dtype=np.float32).reshape(-1).data, digest_size=16).digest()
    return tuple(_hash63(f"{seed}/{number}".encode() + content) for number in range(count))


def normal_noise(seed: int, shape: tuple[int, ...]) -> np.ndarray:
    """float32, standard normal: what `torch.randn(shape, generator=torch.Generator().manual_seed(seed))` gives.

    Equal up to rounding. `shape` has at least 16 numbers; PyTorch draws fewer in another way. The Mersenne Twister is
    seeded with the low 32 bits; uniform numbers of 24 bits become normal ones by Box and Muller's method, eight cosines
    and then eight sines at a time, the last 16 anew where they are not a whole block.
    """
    count = math.prod(shape)
    assert count >= NOISE_BLOCK
    raw = np.random.RandomState(seed & 0xFFFFFFFF)._bit_generator.random_raw

    def uniform(size: int) -> np.ndarray:
        return (raw(size) & 0xFFFFFF).astype(np.float32) * np.float32(2**-24)

    drawn = uniform(count)
    whole = count - count % NOISE_BLOCK
    drawn[:whole] = _normal(drawn[:whole])
    if whole < count:
        drawn[-NOISE_BLOCK:] = _normal(uniform(NOISE_BLOCK))
    return drawn.reshape(shape)


def _normal(uniform: np.ndarray) -> np.ndarray:
    pairs = uniform.reshape(-1, 2, NOISE_BLOCK // 2)
    radius, angle = np.sqrt(-2 * np.log(1 - pairs[:, 0])), np.float32(2 * np.pi) * pairs[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)


def _hash63(content: bytes) -> int:
    return int.from_bytes(blake2b(content, digest_size=8).digest(), "big") >> 1
