"""Which intensities of an image count: those of a window, or those between two of its own percentiles.

`prepare folder` clips images so and says it beside the cases, in intensity.json. Training takes it into the recipe and
the weights, and sampling clips what it is given alike. What is clipped already stays as it is.
"""

from dataclasses import replace

import numpy as np
from pydantic import model_validator

from plurimask.errors import SettingsError
from plurimask.records import Case
from plurimask.settings import Settings, parse, wrong

INTENSITY = "intensity.json"

Bounds = tuple[float, float]


class Intensity(Settings):
    """One of two rules.

    Args:
        window: the least and the greatest value, in the image's own unit (HU of CT).
        percentiles: of each channel of each image or volume, from 0 to 100; padding does not count.
    """

    window: Bounds | None = None
    percentiles: Bounds | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> "Intensity":
        given = [bounds for bounds in (self.window, self.percentiles) if bounds is not None]
        if len(given) != 1:
            raise wrong("a window or percentiles", got="both" if given else "neither", hint="give one of them")
        ((low, high),) = given
        if not -np.inf < low < high < np.inf:
            raise wrong("two numbers, the lower one first", got=f"{low:g},{high:g}", hint="for instance -1000,400")
        if self.percentiles is not None and not 0 <= low < high <= 100:
            raise wrong("percentiles from 0 to 100", got=f"{low:g},{high:g}", hint="for instance 0.5,99.5")
        return self

    def clip(self, case: Case) -> Case:
        """The case with its image clipped."""
        measured = slice(None) if case.padding is None or case.padding.all() else ~case.padding
        shares = np.array(self.percentiles or ())
        bounds = [self.window or np.percentile(channel[measured], shares) for channel in case.image]
        clipped = [np.clip(channel, low, high) for channel, (low, high) in zip(case.image, bounds, strict=True)]
        return replace(case, image=np.stack(clipped).astype(np.float32))


def parse_intensity(window: str | None, percentiles: str | None) -> Intensity | None:
    """The rule that two options name, each as "low,high"; None where neither is given. Raises SettingsError."""
    given = {"window": window, "percentiles": percentiles}
    tree = {}
    for key, text in given.items():
        if text is not None:
            try:
                low, high = map(float, text.split(","))
            except ValueError as error:
                hint = "for instance -1000,400" if key == "window" else "for instance 0.5,99.5"
                raise SettingsError(f"--{key}", expected="low,high", got=text, hint=hint) from error
            tree[key] = (low, high)
    return parse(Intensity, tree, "--window, --percentiles") if tree else None
