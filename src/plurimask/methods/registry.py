"""The methods by name: their settings as one type, and the class that each builds."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from plurimask.methods.cimd import Cimd, CimdSettings
from plurimask.methods.method import Method, MethodSettings
from plurimask.methods.panel import Panel, PanelSettings
from plurimask.methods.phiseg import Phiseg, PhisegSettings
from plurimask.methods.prob_unet import ProbUnet, ProbUnetSettings
from plurimask.methods.segdiff import Segdiff, SegdiffSettings
from plurimask.methods.ssn import Ssn, SsnSettings
from plurimask.methods.unet import Unet, UnetSettings

METHODS: Mapping[type[MethodSettings], Callable[[Any], Method]] = MappingProxyType(
    {
        CimdSettings: Cimd,
        SegdiffSettings: Segdiff,
        ProbUnetSettings: ProbUnet,
        PhisegSettings: Phiseg,
        SsnSettings: Ssn,
        UnetSettings: Unet,
        PanelSettings: Panel,
    }
)
"""What each class of settings builds."""

SETTINGS: Mapping[str, type[MethodSettings]] = MappingProxyType(
    {settings.model_fields["name"].default: settings for settings in METHODS}
)
"""Settings by the method's name."""


def _named(value: object) -> object:
    return {"name": "cimd"} | value if isinstance(value, dict) else value


AnySettings = Annotated[
    CimdSettings | SegdiffSettings | ProbUnetSettings | PhisegSettings | SsnSettings | UnetSettings | PanelSettings,
    Field(discriminator="name"),
    BeforeValidator(_named),
]
"""Settings of any method, told apart by `name`; without one they are CIMD's."""


def build(settings: MethodSettings) -> Method:
    """The method that these settings define, freshly initialised from torch's global generator."""
    return METHODS[type(settings)](settings)
