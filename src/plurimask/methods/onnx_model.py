"""Draws masks from an exported model: NumPy and ONNX Runtime are enough, and nothing else is imported.

    python draw.py image.npy masks.npy --count 16 --seed 0
    python draw.py image.npy masks.npz --count 4 --panel representative

    model = OnnxModel(Path("lidc-onnx"))
    masks = model.masks(image, count=16, seed=0)
    masks, weights = model.representative(image, count=4, pool=256)

A folder holds `encoder.onnx` (image -> shares, share of empty masks, features; it scales intensities itself), what
draws, and `panel.json`, which says the rest; and, as `draw.py`, this module with what it takes of plurimask, so that
plurimask need not be installed. What draws is `generator.onnx` (z and maps -> 2 x - 1, see `methods.one_pass`) or
`denoiser.onnx` (noisy mask, time, rank, basis and maps -> 2 D - 1, see `methods.flow`).
"""

import argparse
import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from types import EllipsisType
from typing import Any, NamedTuple, get_origin

import numpy as np

from plurimask.errors import CheckpointError, InputError, PlurimaskError, SettingsError, need
from plurimask.metrics.representative import pool_distances, select
from plurimask.seeds import OWN, PROCESS, content_of, generator, pool_ranks, sample_seeds

FORMAT = "plurimask-panel-onnx-3"
ENCODER, DENOISER, GENERATOR, CARD = "encoder.onnx", "denoiser.onnx", "generator.onnx", "panel.json"
CHUNK = 16
"""Samples in work at once."""
VISIBLE = 0.01
"""Least share of readers, as the encoder sees it, at a pixel that a window must contain."""
MARGIN = 1
"""Cells about what is visible."""


class Window(NamedTuple):
    """A box of a plane: first row, first column, height and width, in cells."""

    top: int
    left: int
    height: int
    width: int

    def scaled(self, pixels: int) -> "Window":
        """In units of which a cell has so many."""
        return Window(*(pixels * value for value in self))

    @property
    def slices(self) -> tuple[EllipsisType, slice, slice]:
        """What cuts it out of an array (..., H, W)."""
        return ..., slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)


@dataclass(frozen=True)
class Card:
    """What an exported model is, besides its nets.

    Args:
        format: of the folder.
        weights: sha256 of the checkpoint.
        image_channels, image_size: of the images that it takes.
        patch: pixels per side that the finest stage of what draws has for one of its own.
        cell: pixels a side of the cells that windows are counted in.
        least: cells a side of a window at least.
        visible: least share of readers that a window has to hold.
        steps: network evaluations a mask, by default.
        latent: numbers of z; 0 where a denoiser draws.
        recipe: of the run, as plain values.
        gamma: gamma_t of the denoiser's process for t = 0..T (diffusion.straight_path).
    """

    format: str
    weights: str
    image_channels: int
    image_size: int
    patch: int
    cell: int
    least: int
    visible: float
    steps: int
    latent: int
    recipe: dict[str, Any]
    gamma: tuple[float, ...]

    @property
    def orientations(self) -> int:
        """In how many orientations of an image samples are drawn (methods.draw, 1)."""
        return int(self.recipe.get("method", {}).get("orientations", 1))


class Encoded(NamedTuple):
    """What draws takes of an image in a window, by its inputs' names; share of empty masks; window; largest share."""

    features: Mapping[str, np.ndarray]
    empty: float
    window: Window
    peak: float


class OnnxModel:
    """A folder of `plurimask export`, ready to draw.

    Raises:
        CheckpointError: files that are missing or damaged, or of another format.
        MissingPackageError: ONNX Runtime is not installed.
    """

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        self.card = _read_card(folder)
        self._gamma = np.array(self.card.gamma, dtype=np.float32)
        draws, inputs = (GENERATOR, ["z"]) if self.card.latent else (DENOISER, ["x", "time", "rank", "basis"])
        self._encoder, self._net = _Net(folder / ENCODER, ["image"]), _Net(folder / draws, inputs)

    def masks(self, image: np.ndarray, count: int = 16, seed: int = 0, steps: int | None = None) -> np.ndarray:
        """Draw a panel: the masks that PyTorch draws by DDIM from the same weights and seed, up to float rounding.

        Args:
            image: (C, H, W), or (H, W) for one channel; in any unit.
            count: masks, S.
            seed: same seed, same masks.
            steps: network evaluations a mask; the exported recipe's own where not given.

        Returns:
            (S, H, W) bool.

        Raises:
            InputError: an image of another size, not finite, or with other channels.
            SettingsError: fewer than one mask or step, or more steps than the process has.
        """
        shown = self._check(image, count)
        return self.draw(shown, sample_seeds(content_of(shown), seed, count), steps)

    def representative(
        self, image: np.ndarray, count: int = 4, seed: int = 0, pool: int = 256, steps: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw a pool, and choose the masks that represent it.

        Args:
            image, seed, steps: as for `masks`.
            count: masks, S.
            pool: masks that they are chosen from.

        Returns:
            (S, H, W) bool, and how many of the pool each stands for, (S,) int64.

        Raises:
            As `masks`; SettingsError also for a pool of fewer masks than are asked for.
        """
        shown = self._check(image, count)
        if pool < count:
            raise SettingsError("pool", expected=f"at least {count} masks", got=str(pool), hint="give a larger pool")
        content = content_of(shown)
        drawn = self.draw(shown, sample_seeds(content, seed, pool), steps, pool_ranks(content, seed, pool))
        chosen = select(pool_distances([np.packbits(drawn.reshape(pool, -1), axis=1)]), count)
        return drawn[chosen.indices], chosen.weights

    def draw(
        self, image: np.ndarray, seeds: Sequence[int], steps: int | None = None, ranks: np.ndarray | None = None
    ) -> np.ndarray:
        """Masks (S, H, W) bool, one a seed, of an image (C, H, W) float32. Raises SettingsError for the steps.

        `ranks` (S,) in [0, 1) decide on each sample in place of its seed's own number.
        """
        times = self._times(self.card.steps if steps is None else steps)
        shown, masks = self._clipped(image), np.zeros((len(seeds), *image.shape[1:]), dtype=bool)
        own = [generator(seed, OWN).standard_normal(1 + self.card.latent, dtype=np.float32) for seed in seeds]
        u = np.array([_uniform(numbers[0]) for numbers in own]) if ranks is None else ranks
        ways = np.array(seeds) % self.card.orientations
        for way in np.unique(ways).tolist():
            encoded = self.encode(np.ascontiguousarray(turned(shown, way)))
            of_window = turned(masks, way)[encoded.window.slices]  # a view
            drawn = np.flatnonzero((ways == way) & (u >= encoded.empty))
            # Where all are empty, nothing is drawn at any rank.
            rank = ((u - encoded.empty) / max(1 - encoded.empty, 1e-9)).astype(np.float32)
            for start in range(0, len(drawn), CHUNK):
                part = drawn[start : start + CHUNK]
                if self.card.latent:
                    of_window[part] = self.generate(encoded, np.stack([own[i][1:] for i in part]))[:, 0] > 0
                else:
                    noise = [generator(seeds[i], PROCESS).standard_normal(shown.shape[1:], np.float32) for i in part]
                    x = np.ascontiguousarray(turned(np.stack(noise)[:, None], way)[encoded.window.slices])
                    of_window[part] = self._draw(x, rank[part], encoded, times)
        return masks

    def encode(self, image: np.ndarray) -> "Encoded":
        """What draws takes of an image (C, H, W) float32."""
        with self._encoder.trusted():
            share, empty, *features = self._encoder.run({"image": image[None]})
            if share.shape != (1, 1, *image.shape[1:]) or not np.isfinite(share).all() or not 0 <= empty[0] <= 1:
                raise ValueError(f"shares of size {share.shape}, and {empty[:1]} of empty masks")
            cells = visible_window(share[0, 0], self.card.visible, self.card.cell, self.card.least)
            window, peak = cells.scaled(self.card.cell), float(share.max())
            return Encoded(self._cut(cells, features), float(empty[0]), window, peak)

    def generate(self, encoded: "Encoded", z: np.ndarray) -> np.ndarray:
        """Masks (n, 1, h, w) in [-1, 1] in the window: z (n, latent) float32."""
        return self._drawn({"z": z, **encoded.features}, encoded.window)

    def denoise(self, encoded: "Encoded", x: np.ndarray, time: np.ndarray, rank: np.ndarray) -> np.ndarray:
        """x_0 (n, 1, h, w) in the window: x (n, 1, h, w), time and rank (n,) in [0, 1], all float32."""
        return self._drawn({"x": x, "time": time, "rank": rank, **encoded.features}, encoded.window)

    def _drawn(self, given: dict[str, np.ndarray], window: Window) -> np.ndarray:
        with self._net.trusted():
            drawn = np.asarray(self._net.run(given)[0])
            if drawn.shape[1:] != (1, window.height, window.width) or not np.isfinite(drawn).all():
                raise ValueError(f"masks of size {drawn.shape[1:]}, or not finite")
            return drawn

    def _draw(self, x: np.ndarray, rank: np.ndarray, encoded: "Encoded", times: list[int]) -> np.ndarray:
        """DDIM without noise: x_T (n, 1, h, w) of the window -> (n, h, w) bool."""
        for t, s in pairwise(times):
            time = np.full(len(x), t / (len(self._gamma) - 1), dtype=np.float32)
            x_0 = self.denoise(encoded, x, time, rank)
            eps = (x - np.sqrt(self._gamma[t]) * x_0) / np.sqrt(1 - self._gamma[t])
            x = np.sqrt(self._gamma[s]) * x_0 + np.sqrt(1 - self._gamma[s]) * eps
        return np.asarray(x[:, 0] > 0)

    def _cut(self, window: Window, features: list[np.ndarray]) -> dict[str, np.ndarray]:
        """The window of each: of a denoiser its basis, which is as fine as its first map, and of both the maps."""
        bases = [] if self.card.latent else ["basis"]
        levels = [0] * len(bases) + list(range(len(features) - len(bases)))
        names = bases + [f"map{level}" for level in levels[len(bases) :]]
        cut = {}
        for name, level, array in zip(names, levels, features, strict=True):
            top, left, height, width = window.scaled(self.card.cell // self.card.patch // 2**level)
            cut[name] = np.ascontiguousarray(array[..., top : top + height, left : left + width])
        return cut

    def _times(self, steps: int) -> list[int]:
        last = 1 if self.card.latent else len(self._gamma) - 1
        if not 1 <= steps <= last:
            raise SettingsError("steps", expected=f"from 1 to {last}", got=str(steps), hint="give another number")
        return [round(last * (1 - k / steps)) for k in range(steps + 1)]

    def _clipped(self, image: np.ndarray) -> np.ndarray:
        """An image (C, H, W) clipped as those of training were (`datasets.intensity`)."""
        rule = self.card.recipe.get("intensity")
        if rule is None:
            return image
        bounds = [rule.get("window") or np.percentile(channel, rule["percentiles"]) for channel in image]
        return np.stack([np.clip(channel, *ends) for channel, ends in zip(image, bounds, strict=True)]).astype(
            np.float32
        )

    def _check(self, image: np.ndarray, count: int) -> np.ndarray:
        values = np.asarray(image, dtype=np.float32)
        shown = values[None] if values.ndim == 2 else values
        size = self.card.image_size
        expected = (self.card.image_channels, size, size)
        if shown.shape != expected:
            raise InputError(
                "image",
                expected=f"{expected} (channels, rows, columns)",
                got=str(shown.shape),
                hint=f"cut {size}x{size} pixels, without rescaling",
            )
        if not np.isfinite(shown).all():
            raise InputError("image", expected="finite numbers", got="NaN or infinity", hint="replace them before use")
        if count < 1:
            raise SettingsError("count", expected="at least one mask", got=str(count), hint="give 1 or more")
        return np.ascontiguousarray(shown)


WAYS = (
    *(((), False), ((-2, -1), False), ((-2,), True), ((-1,), True)),
    *(((-2,), False), ((-1,), False), ((), True), ((-2, -1), True)),
)
"""The eight symmetries of a square, turns first: axes whose order is turned, and whether both are exchanged then."""


def turned(planes: np.ndarray, way: int) -> np.ndarray:
    """Planes (..., H, W) turned by one of `WAYS`: a view."""
    axes, exchanged = WAYS[way]
    flipped = np.flip(planes, axes)
    return flipped.swapaxes(-1, -2) if exchanged else flipped


def visible_window(share: np.ndarray, visible: float, cell: int, least: int) -> Window:
    """The window of one image, in cells of `cell` x `cell` pixels.

    Args:
        share: (H, W) of readers, as the encoder sees it, in [0, 1]; sides in multiples of `cell`.
        visible: least share at a pixel that the window has to hold; the likeliest pixel is inside whatever its share.
        cell: pixels a side.
        least: cells a side at least, or as many as there are.
    """
    inside: np.ndarray = np.asarray(share >= min(float(share.max()), visible))
    height, width = (side // cell for side in inside.shape)
    cells: np.ndarray = np.asarray(inside.reshape(height, cell, width, cell).any(axis=(1, 3)))
    (top, rows), (left, columns) = (_span(np.asarray(cells.any(axis=axis)), least) for axis in (1, 0))
    return Window(top, left, rows, columns)


def _span(occupied: np.ndarray, least: int) -> tuple[int, int]:
    """First position and length, around all that are occupied with a margin."""
    first, *_, last = np.flatnonzero(occupied)[[0, -1]]
    length = min(max(int(last) + 1 - int(first) + 2 * MARGIN, least), len(occupied))
    start = (int(first) + int(last) + 1 - length) // 2
    return min(max(start, 0), len(occupied) - length), length


class _Net:
    """One of the nets, which must be that of an export."""

    def __init__(self, path: Path, inputs: Sequence[str]) -> None:
        """Raises CheckpointError for a file that is missing, damaged, or a net without these inputs."""
        self._path = path
        runtime = need("onnxruntime", "onnx")
        with self.trusted():
            if not path.is_file():  # a pipe has no end
                raise ValueError("no file")
            options = runtime.SessionOptions()
            options.log_severity_level = 4  # what it logs of a file is said once, here
            # Its fallback to other providers prints, and there is none but the CPU.
            providers = ["CPUExecutionProvider"]
            self._session = runtime.InferenceSession(path, options, providers=providers, enable_fallback=0)
            found = [one.name for one in self._session.get_inputs()]
            if not set(inputs) <= set(found):
                raise ValueError(f"a net that takes {', '.join(found)}")

    def run(self, given: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Its outputs."""
        return list(self._session.run(None, given))

    @contextmanager
    def trusted(self) -> Iterator[None]:
        """Whatever ONNX Runtime raises, and whatever comes of another net's outputs, as one error."""
        try:
            yield
        except (PlurimaskError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 (ONNX Runtime has many of its own)
            got = "damaged text" if isinstance(error, UnicodeDecodeError) else textwrap.shorten(str(error), 160)
            hint = "export the model again"
            raise CheckpointError(self._path, expected="the ONNX file of an export", got=got, hint=hint) from None


def _read_card(folder: Path) -> Card:
    try:
        if not (folder / CARD).is_file():  # a device has no end
            raise ValueError(f"no {CARD}")
        tree = json.loads((folder / CARD).read_bytes())
        if tree["format"] != FORMAT:
            raise ValueError(f"format {tree['format']!r}")
        kinds: dict[str, Any] = {field.name: get_origin(field.type) or field.type for field in fields(Card)}
        card = Card(**{name: kind(tree[name]) for name, kind in kinds.items()})
        for name in ("image_channels", "image_size", "patch", "cell", "least", "steps"):
            if not 1 <= getattr(card, name) < 2**31:
                raise ValueError(f"{name} {getattr(card, name)}")
        gamma = np.array(card.gamma, dtype=np.float32)
        falls = gamma.ndim == 1 and len(gamma) > 1 and gamma[0] == 1 and (np.diff(gamma) < 0).all() and gamma[-1] > 0
        if not 0 <= card.latent < 2**31 or not (card.latent or falls):
            raise ValueError("a gamma that does not fall from 1 towards 0")
        return card
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise CheckpointError(
            folder,
            expected=f"a folder of plurimask export ({CARD}, {ENCODER}, {DENOISER})",
            got=textwrap.shorten(f"{type(error).__name__}: {error}", 160),
            hint="run plurimask export MODEL --out DIR",
        ) from None


def _uniform(normal: float) -> float:
    """The quantile of a standard normal number, in (0, 1)."""
    return 0.5 * (1 + math.erf(normal / math.sqrt(2)))


def main() -> None:
    """The command line of `draw.py`."""
    parser = argparse.ArgumentParser(description="Draw the masks that several readers would make of an image.")
    parser.add_argument("image", type=Path, help=".npy file, (H, W) or (C, H, W), in any unit")
    parser.add_argument("out", type=Path, help=".npy file to write: (count, H, W), true or false; .npz: with weights")
    parser.add_argument("--model", type=Path, default=Path(__file__).parent, help="the exported folder")
    parser.add_argument("--panel", choices=["independent", "representative"], default="independent")
    parser.add_argument("--pool", type=int, default=256, help="masks that a representative panel is chosen from")
    parser.add_argument("--count", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="network evaluations a mask; the exported recipe's own by default")
    asked = parser.parse_args()
    try:
        model, image = OnnxModel(asked.model), np.load(asked.image)
        found: dict[str, Any] = {}
        if asked.panel == "independent":
            found["masks"] = model.masks(image, asked.count, asked.seed, asked.steps)
        else:
            drawn = model.representative(image, asked.count, asked.seed, asked.pool, asked.steps)
            found["masks"], found["weights"] = drawn
            print("of 100 readers so many would draw about this:", *np.rint(100 * drawn[1] / asked.pool).astype(int))
        if asked.out.suffix == ".npz":
            np.savez_compressed(asked.out, **found)
        else:
            np.save(asked.out, found["masks"])
    except (PlurimaskError, OSError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
