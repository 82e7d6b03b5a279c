"""From a seed to numbers: one seed a sample, and generators of its noise. NumPy alone: exported models need it too."""

from hashlib import blake2b

import numpy as np

PROCESS, OWN, POOL = 0, 1, 2
"""Streams of a sample: the noise of its diffusion process, and its method's own numbers; of a pool, its ranks."""


def content_of(image: np.ndarray) -> bytes:
    """A hash of an image, whatever its file is called."""
    return blake2b(np.ascontiguousarray(image, dtype=np.float32).reshape(-1).data, digest_size=16).digest()


def sample_seeds(content: bytes, seed: int, count: int) -> tuple[int, ...]:
    """One seed a sample: a hash of the image's content (`content_of`), `seed` and the sample's number.

    So the first ones do not depend on `count`. Two images get unrelated noise under one seed, the same image the same.
    """
    hashes = (blake2b(f"{seed}/{number}".encode() + content, digest_size=8).digest() for number in range(count))
    return tuple(int.from_bytes(one, "big") >> 1 for one in hashes)


def pool_ranks(content: bytes, seed: int, size: int) -> np.ndarray:
    """u of each mask of a pool: (k + U) / size, k = 0..size - 1 in a random order and one random U in [0, 1).

    Any share of the readers is so met by the pool to 1 / size. (size,) float64.
    """
    random = generator(sample_seeds(content, seed, 1)[0], POOL)
    return (random.permutation(size) + random.random()) / size


def generator(seed: int, stream: int) -> np.random.Generator:
    """What draws the numbers of one sample, the same on any device; streams of one seed are unrelated."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)))
