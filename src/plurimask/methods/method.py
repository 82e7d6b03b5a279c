"""The contract of a method, and the methods by name. A method knows neither tiles nor seeds nor steps.

    Settings                          class of its settings, with the method's name as default of `name`
    loss(batch)                       the training loss; all randomness from torch's global generator
    settle(batches)                   before the first step: what it says unlearned, as the training images have it
    encode(image)                     what depends on one image alone, (1, C, h, w); done once, by default the image
    noise                             the normal numbers of a sample: (c, k) for maps (c, H / k, W / k), (c, 0) for (c,)
    predict(encoded, noise)           n samples of one field, noise (n, c[, h / k, w / k]) -> logits (n or 1, 1, h, w)
    predict(encoded, noise, x_t, t)   the same of a method with a diffusion `process`: f_theta(x_t, t), as it reads it
    process                           the diffusion process, or None: then a mask is where the logits are above 0

`methods.draw` does the rest for all of them: it gives noise and maps their part of the plane, blends what is predicted
of fields that overlap, takes the sampler's steps, and thresholds.

Building one looks at no value of a weight: to compare shapes it is also done on PyTorch's device "meta", without any.

A method is one file with one class, its line in `BUILT_IN`, and a recipe. Another package registers its own by an entry
point of the group `plurimask.methods`, whose name is the method's and whose value is `module:Class`.
"""

import copy
import math
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import BeforeValidator, Field, SerializeAsAny
from torch import Tensor, nn

from plurimask.diffusion.process import Diffusion
from plurimask.errors import SettingsError
from plurimask.records import Batch, LossTerms
from plurimask.settings import Positive, Settings, unknown

GROUP = "plurimask.methods"
BUILT_IN = {
    "cimd": "plurimask.methods.mask_diffusion:Cimd",
    "segdiff": "plurimask.methods.mask_diffusion:Segdiff",
    "prob-unet": "plurimask.methods.prob_unet:ProbUnet",
    "phiseg": "plurimask.methods.phiseg:Phiseg",
    "ssn": "plurimask.methods.ssn:Ssn",
    "mose": "plurimask.methods.mose:Mose",
    "unet": "plurimask.methods.unet:Unet",
    "flow": "plurimask.methods.flow:FlowMatching",
    "one-pass": "plurimask.methods.one_pass:OnePass",
    "one-pass-volume": "plurimask.methods.one_pass:OnePassVolume",
}
"""Where the class of each method lies. Its module is imported when its name is asked for."""
RENAMED = {"panel": "flow"}
"""Names of earlier versions, which their recipes, runs, weights and exported models still say."""

ReaderChoice = Literal["one", "all", "mean", "majority"]


class MethodSettings(Settings):
    """Everything that defines a method; each method adds its own.

    Args:
        name: of the method, one fixed word per class.
        image_channels: channels of the image it takes.
        orientations: in how many of the eight orientations of an image samples are drawn, each as likely; for nets that
            were trained on all of them (`methods.draw`, 1).
    """

    name: str
    image_channels: Positive = 1
    # Left out where it is the default, so that what is compared with earlier runs stays the same.
    orientations: Annotated[Literal[1, 2, 4, 8], Field(exclude_if=lambda ways: ways == 1)] = 1

    @property
    def multiple(self) -> int:
        """Height and width must be multiples of this many pixels, so that every net can halve them."""
        return math.lcm(*(net.multiple for _, net in self if hasattr(net, "multiple")))

    @property
    def volumes(self) -> bool:
        """Whether the method is shown volumes (B, C, D, H, W) in place of images (B, C, H, W)."""
        return any(getattr(net, "axes", 2) == 3 for _, net in self)

    @property
    def normalises_batches(self) -> bool:
        """Whether maps are normalised over a batch, by which nothing is left of a single map of one pixel."""
        return False

    @property
    def timesteps(self) -> int | None:
        """T of the diffusion process; None: a mask is drawn in one evaluation, and there is no sampler."""
        return None

    @classmethod
    def variant(cls, table: object) -> type[Settings]:
        """The class of the method that a table names."""
        name = _name_in(table) if isinstance(table, dict) else None
        return method_class(name).Settings if cls is MethodSettings and name in method_names() else cls


class Method(nn.Module, ABC):
    """A published method: its nets, its loss, its prediction.

    Attributes:
        settings: what it was built from.
        process: its diffusion process, or None.
        image_channels: channels of the image it takes.
        hurdled: whether the first number of a sample's first vector decides, by its quantile, if its mask is empty;
            then what `encode` gives is a `hurdle.View`.
        reader: number, among `readers`, of the one that it draws as; None: as any.
        cut: a mask is the pixels of what is predicted above it.
        orientations: K of `methods.draw` (1).
    """

    Settings: ClassVar[type[MethodSettings]]
    hurdled: ClassVar[bool] = False
    reader: int | None = None
    cut: float = 0.0

    def __init__(self, settings: MethodSettings, process: Diffusion | None = None) -> None:
        super().__init__()
        self.settings = settings
        self.process = process
        self.orientations = settings.orientations
        self.image_channels = settings.image_channels

    @property
    def volumes(self) -> bool:
        """Whether it is shown volumes, as its settings say."""
        return self.settings.volumes

    @property
    def device(self) -> torch.device:
        """Where it computes; one without weights, on the CPU."""
        return next((weight.device for weight in self.parameters()), torch.device("cpu"))

    @property
    def readers(self) -> tuple[str, ...]:
        """Names of those whom it can draw as; by default nobody."""
        return ()

    def as_reader(self, name: str) -> Self:
        """The same method, with the same weights, drawing as one of its readers.

        Raises:
            SettingsError: a reader that it was not trained on.
        """
        if name not in self.readers:
            known = textwrap.shorten(", ".join(self.readers), 200, placeholder=" ...")
            expected = f"one of {known}" if known else "a model that was trained on known readers"
            hint = (
                "name one of them, or leave it out" if known else "plurimask plan asks for them where data names them"
            )
            raise SettingsError("--reader", expected=expected, got=name, hint=hint)
        same = copy.copy(self)  # which shares the modules
        same.reader = self.readers.index(name)
        return same

    @abstractmethod
    def loss(self, batch: Batch) -> LossTerms:
        """The training loss of a batch; all randomness from torch's global generator."""

    def settle(self, batches: Iterable[Batch]) -> None:
        """Take from the first training batches what need not be learned step by step; by default nothing."""

    def encode(self, image: Tensor) -> Any:
        """What `predict` takes of an image (1, C, h, w), scaled."""
        return image

    @property
    def noise(self) -> Sequence[tuple[int, int]]:
        """Of a sample: (c, k) for maps (c, [D,] H / k, W / k), (c, 0) for vectors (c,), alike in all fields."""
        return ()

    @abstractmethod
    def predict(self, encoded: Any, noise: Sequence[Tensor], *state: Tensor) -> Tensor:
        """What the method says of one field to n samples, (n or 1, c, h, w).

        Args:
            encoded: of the field, by `encode`.
            noise: one tensor an entry of `Method.noise`, (n, c) or the field's part of a map (n, c, h / k, w / k).
            state: nothing where `process` is None; else x_t (n, 1, h, w) and t (n,) int64.
        """


def reader_masks(batch: Batch, choice: ReaderChoice) -> tuple[Tensor, Tensor]:
    """Masks to learn from: image (n, C, H, W), mask (n, 1, H, W) float32 in [0, 1].

    `one` uniformly drawn reader of each image and `all` readers of every image give hard masks. So does `majority`, the
    pixels that more than half of an image's readers drew. `mean` is soft, the share of its readers that drew a pixel.
    """
    if choice in ("one", "all"):
        image, reader = batch.one_reader() if choice == "one" else batch.all_readers()
        return image, reader.float()
    read = batch.valid.reshape(*batch.valid.shape, *[1] * (batch.readers.dim() - 2))
    share = (batch.readers & read).sum(1, keepdim=True) / read.sum(1, keepdim=True)
    return batch.image, share if choice == "mean" else (share > 0.5).float()


def method_names() -> list[str]:
    """All methods: those of this package, and those that other packages register."""
    others = {entry.name for entry in entry_points(group=GROUP)} - BUILT_IN.keys()
    return [*BUILT_IN, *sorted(others)]


def method_class(name: str) -> type[Method]:
    """The class of a method, whose module is imported.

    Raises:
        SettingsError: no method of this name, or an entry point that does not give one.
    """
    # This package's own come first: no other can replace one.
    own = [EntryPoint(known, value, GROUP) for known, value in BUILT_IN.items()]
    entry = next((entry for entry in (*own, *entry_points(group=GROUP)) if entry.name == name), None)
    if entry is None:
        raise SettingsError("method", expected=f"one of {', '.join(method_names())}", got=name, hint="mend the name")
    try:
        made = entry.load()
        fits = issubclass(made, Method) and made.Settings.model_fields["name"].default == name
        problem = "another name or no method" if not fits else None
    except (ImportError, AttributeError, TypeError, KeyError) as error:
        problem = f"{type(error).__name__}: {error}"
    if problem is not None:
        expected = f"a Method whose Settings have the name {name} at {entry.value}"
        raise SettingsError(f"method {name}", expected=expected, got=problem, hint="mend the package that registers it")
    return made


def build(settings: MethodSettings) -> Method:
    """The method that these settings define, freshly initialised from torch's global generator."""
    return method_class(settings.name)(settings)


def parse_settings(value: Any) -> Any:
    """Settings from a table, by the class that its `name` says; whatever is no table is left as it is.

    Raises:
        ValidationError: a key or value that is wrong.
        PydanticCustomError: an unknown name.
    """
    if not isinstance(value, dict):
        return value
    name = _name_in(value)
    if name not in method_names():
        raise unknown("name", name, method_names())
    return method_class(name).Settings.model_validate(value | {"name": name})


def _name_in(table: dict[str, Any]) -> Any:
    """The method's name of today, or whatever stands in its place."""
    name = table.get("name", "cimd")
    return RENAMED.get(name, name) if isinstance(name, str) else name


AnySettings = Annotated[SerializeAsAny[MethodSettings], BeforeValidator(parse_settings)]
"""Settings of any method, told apart by `name`; without one they are CIMD's."""
