"""Addresses of archives over DICOMweb, and of what they have.

    https://HOST/dicom-web                                    the archive
    https://HOST/dicom-web/studies?PatientID=..&StudyDate=..  a search
    https://HOST/dicom-web/studies/UID                        a study
    https://HOST/dicom-web/studies/UID#3                      of it the series of number 3, or of a UID
    https://HOST/dicom-web/studies/UID/series/UID             a series

A login never stands in one.
"""

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

from plurimask.errors import InputError

USER, PASSWORD, TOKEN = (f"PLURIMASK_DICOMWEB_{what}" for what in ("USER", "PASSWORD", "TOKEN"))
LOGIN = f"set {USER} and {PASSWORD}, or {TOKEN}, or write the host into ~/.netrc"
_PATH = re.compile(r"(?P<root>.*?)(?:/studies(?:/(?P<study>[0-9.]+)(?:/series/(?P<series>[0-9.]+))?)?)?/*")
NO_IMAGES = frozenset(
    ("SEG", "SR", "PR", "KO", "DOC", "REG", "RTSTRUCT", "RTDOSE", "RTPLAN", "RTRECORD", "FID", "AU", "OT")
)


@dataclass(frozen=True)
class Address:
    """What is meant in an archive.

    Args:
        root: of the service.
        study, series: UIDs; "" where not given.
        filters: of a search, by DICOM keyword or tag; they may name a patient.
        chosen: number or UID of one of several series; "" where not given.
    """

    root: str
    study: str = ""
    series: str = ""
    filters: tuple[tuple[str, str], ...] = ()
    chosen: str = ""

    def __str__(self) -> str:
        study = f"/studies/{self.study}" if self.study else ""
        return f"{self.root}{study}" + (f"/series/{self.series}" if self.series else "")


@dataclass(frozen=True)
class Listed:
    """A series that an archive has.

    Args:
        address: of the series.
        number, modality, description: as the archive says; "" where it does not. The description is free text.
        images: how many it has; 0 where the archive does not say.
    """

    address: Address
    number: str
    modality: str
    description: str
    images: int

    @property
    def names(self) -> tuple[str, str]:
        """What it may be chosen by."""
        return self.number, self.address.series

    @property
    def holds_images(self) -> bool:
        """Whether its modality is one of images. OT may be, and is that of parametric maps: it has to be named."""
        return self.modality not in NO_IMAGES


def is_address(text: str) -> bool:
    """Whether a text is an address rather than a path."""
    return text.lower().startswith(("http://", "https://"))


def parse_address(text: str) -> Address:
    """An address from its text, as the module's docstring has it.

    Raises:
        InputError: an address with a login in it, of single images, or that is none.
    """
    hint = "write https://HOST/dicom-web/studies/UID/series/UID, or less of it"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise InputError("address", expected="that of an archive", got="one that cannot be read", hint=hint) from None
    if parts.scheme not in ("http", "https"):
        got = parts.scheme or "a path"
        raise InputError("address", expected="http:// or https://", got=got, hint=hint)
    if parts.username is not None or parts.password is not None:
        raise InputError(f"{parts.scheme}://{host}", expected="no login in an address", got="one", hint=LOGIN)
    match = _PATH.fullmatch(parts.path)
    if not host or match is None or {"studies", "series", "instances"} & set(match["root"].split("/")):
        got = "another path" if host else "no host"
        raise InputError(f"{parts.scheme}://{host or ''}", expected="the address of a series", got=got, hint=hint)
    root = f"{parts.scheme}://{parts.netloc}{match['root'].rstrip('/')}"
    filters = tuple(parse_qsl(parts.query, keep_blank_values=True))
    return Address(root, match["study"] or "", match["series"] or "", filters, parts.fragment)
