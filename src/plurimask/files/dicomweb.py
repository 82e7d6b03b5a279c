"""An archive over DICOMweb: series found (QIDO-RS), retrieved to a folder (WADO-RS), objects stored (STOW-RS).

Only the address that a user gave is contacted: redirects are refused, certificates are checked. A login comes from the
environment or from ~/.netrc, never from an address. What a search asks for is not repeated in any message, since it may
name a patient.
"""

import logging
import os
import re
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from plurimask.errors import InputError, PlurimaskError, SettingsError, need, plural
from plurimask.files.dicom_headers import quiet
from plurimask.files.dicomweb_address import (
    LOGIN,
    NO_IMAGES,
    PASSWORD,
    TOKEN,
    USER,
    Address,
    Listed,
    is_address,
    parse_address,
)
from plurimask.files.stored import list_visible, readable

Progress = Callable[[int, int], object]
_T = TypeVar("_T")

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_LOCAL = ("localhost", "127.0.0.1", "::1")
_PAGE = 1000
"""Studies that one search asks for; an archive may give fewer."""
_WAITS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""Seconds between attempts, begun anew after each that brought something."""
_WITHIN = (10.0, 120.0)
"""Seconds for a connection, and for each part of an answer."""
_PASSING_STATUS = (408, 429, 500, 502, 503, 504)


def open_archive(text: str) -> "Archive":
    """The archive at an address, which has answered.

    Raises:
        InputError: an address of a series or a search, or an archive that does not answer as one.
        SettingsError, MissingPackageError: as `Archive`.
    """
    address = parse_address(text)
    if address.study or address.filters or address.chosen:
        got, hint = "that of something in it", f"give {address.root}"
        raise InputError(str(address), expected="the address of an archive", got=got, hint=hint)
    archive = Archive(address.root)
    archive.check()
    return archive


_RUNS = "check the address, and whether the archive runs"
_AGAIN = "the files stay where they are: run plurimask store with their folder"


class Archive:
    """A DICOMweb service.

    After its first answer, what fails in passing is tried again for half a minute.

    Args:
        root: its address.

    Raises:
        SettingsError: a login that would be sent unencrypted.
        MissingPackageError: `dicomweb-client` is not installed.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        for library in ("dicomweb_client", "retrying", "urllib3"):  # they repeat addresses, which may name a patient
            logging.getLogger(library).setLevel(logging.CRITICAL + 1)
        self._requests = need("requests", "dicomweb")
        self._client = need("dicomweb_client", "dicomweb").DICOMwebClient(root, self._session(), timeout=_WITHIN)
        self._client.set_http_retry_params(retry=False)  # it would wait for what will not pass
        self._has_answered = False

    def _session(self) -> Any:
        session, parts = self._requests.Session(), urlsplit(self.root)
        session.max_redirects = 0
        session.headers["Accept-Encoding"] = "identity"  # images hardly shrink, and zipping takes far longer
        session.hooks["response"] = self._check_answer
        user, token = os.environ.get(USER), os.environ.get(TOKEN)
        if token:
            session.auth = lambda request: request.headers.update(Authorization=f"Bearer {token}") or request
        elif user:
            session.auth = (user, os.environ.get(PASSWORD, ""))
        has_login = session.auth or self._requests.utils.get_netrc_auth(self.root)
        if has_login and parts.scheme.lower() == "http" and parts.hostname not in _LOCAL:
            raise SettingsError(
                self.root, expected="https:// where a login is sent", got="http://", hint="use https://"
            )
        return session

    def check(self) -> None:
        """Raises InputError where the archive does not answer as one."""
        self._ask(self.root, lambda: self._client.search_for_studies(limit=1))

    def search(self, address: Address) -> list[Listed]:
        """The series at an address, by number.

        Raises:
            InputError: no archive there, none that lets in, or one that gives the same studies again in place of more.
        """
        studies, filters = [address.study], dict(address.filters)
        if not address.study:
            studies, filters = self._studies(address.root, filters), {}
        if address.series:
            filters = {"SeriesInstanceUID": address.series}
        fields = ["SeriesDescription", "NumberOfSeriesRelatedInstances"]
        listed = [
            _listed(address.root, study, one)
            for study in studies
            for one in self._search("search_for_series", study, fields=fields, search_filters=filters)
        ]
        return sorted(listed, key=lambda one: (one.address.study, len(one.number), one.number, one.address.series))

    def _studies(self, root: str, filters: Mapping[str, str]) -> list[str]:
        """UIDs of all studies that a search finds, by pages where the archive knows them."""
        found: dict[str, None] = {}
        while True:
            page = self._search("search_for_studies", search_filters=filters, limit=_PAGE, offset=len(found))
            fresh = dict.fromkeys(_uid(root, one, "StudyInstanceUID") for one in page)
            if fresh.keys() <= found.keys():
                break
            found |= fresh
        if len(page) >= _PAGE:
            got, hint = f"the same {len(found)} again", "narrow the search"
            raise InputError(root, expected="further studies of the search, or none", got=got, hint=hint)
        return list(found)

    def one_series(self, address: Address) -> Listed:
        """THE series of images at an address.

        Raises:
            InputError: none, or several of which none is chosen; else as `search`.
        """
        found = self.search(address)
        images = [one for one in found if one.holds_images or address.series]
        if address.chosen:
            images = [one for one in found if address.chosen in one.names]
        if len(images) == 1:
            return images[0]
        times = Counter(one.number for one in found)
        names = [
            f"{one.number if one.number and times[one.number] == 1 else one.address.series} ({one.modality or '?'}"
            + (f", {one.images})" if one.images else ")")
            for one in (images or found)
        ]
        wanted = f"a series {address.chosen}" if address.chosen else "one series of images"
        hint = "name one behind a #, or give its address; plurimask fetch --dry-run lists them"
        raise InputError(str(address), expected=wanted, got=", ".join(names) or "none", hint=hint)

    def fetch(self, series: Listed, folder: Path, progress: Progress = lambda done, total: None) -> None:
        """Retrieve a series into `folder`, which must be there: 0001.dcm, ... in the order of instance numbers.

        What is there from an earlier attempt is not retrieved again. In memory is one instance.

        Raises:
            InputError: an archive that does not answer, images that are cut short or of another series, or fewer than
                it lists.
            OSError: as the file system does.
        """
        subject, wanted = str(series.address), self._instances(series.address)
        here = _whole_files(folder, wanted)
        waits = iter(_WAITS)
        while missing := [uid for uid in wanted if uid not in here]:
            before, failure = len(here), "nothing"
            try:
                with self._speaking(subject):
                    for dataset in self._sent(series.address, missing, are_all=not here):
                        uid = self._checked(subject, dataset, series.address)
                        if uid in wanted:
                            dataset.save_as(folder / ".incoming")
                            (folder / ".incoming").rename(folder / wanted[uid])
                            here.add(uid)
                            progress(len(here), len(wanted))
            except _Passing as error:
                failure = str(error)
            if len(here) > before:
                waits = iter(_WAITS)
            elif (wait := next(waits, None)) is None:
                got = f"{len(here)} of them, then {failure}"
                raise InputError(
                    subject, expected=f"the {len(wanted)} images that it lists", got=got, hint="try again later"
                )
            else:
                time.sleep(wait)

    def store(self, paths: Sequence[Path], progress: Progress = lambda done, total: None) -> tuple[int, int]:
        """Store DICOM files; how many were accepted, and how many the archive had already.

        Raises:
            InputError: a file that cannot be read, an archive that does not answer, or one that refuses.
        """
        accepted, there = 0, dict[str, set[str]]()
        for done, path in enumerate(paths, start=1):
            with readable(path, "a readable DICOM file"), quiet():
                dataset = need("pydicom", "dicom").dcmread(path)
                series, uid = dataset.SeriesInstanceUID, dataset.SOPInstanceUID
            if series not in there:  # asked for once, since a series may have many
                there[series] = self._there(dataset)
            if uid not in there[series]:
                self._ask(self.root, lambda: self._stow(path.name, dataset), _AGAIN)  # noqa: B023
                there[series].add(uid)
                accepted += 1
            progress(done, len(paths))
        return accepted, len(paths) - accepted

    def _there(self, dataset: Any) -> set[str]:
        """The instances of a dataset's series that the archive has."""
        try:
            found = self._search(
                "search_for_instances", dataset.StudyInstanceUID, dataset.SeriesInstanceUID, hint=_AGAIN
            )
        except _Absent:
            return set()
        return {one.get("SOPInstanceUID") for one in found}

    def _stow(self, name: str, dataset: Any) -> None:
        try:
            answer = self._client.store_instances([dataset])
        except self._requests.HTTPError as error:
            answer, got = _failures(error.response), f"status {error.response.status_code}"
        else:
            got = "no word on it"
        if any(
            one.ReferencedSOPInstanceUID == dataset.SOPInstanceUID for one in answer.get("ReferencedSOPSequence", ())
        ):
            return
        for one in answer.get("FailedSOPSequence", ()):
            got = f"a refusal, reason {int(one.get('FailureReason') or 0):04X}H"
        raise InputError(self.root, expected=f"{name} to be accepted", got=got, hint=_AGAIN)

    def _instances(self, address: Address) -> dict[str, str]:
        """By UID the names of a series' files."""
        found = self._search("search_for_instances", address.study, address.series)
        if not found:
            raise InputError(str(address), expected="a series with images", got="none", hint="check the address")
        uids = [(int(one.get("InstanceNumber") or 0), _uid(str(address), one, "SOPInstanceUID")) for one in found]
        digits = max(4, len(str(len(uids))))
        return {uid: f"{place:0{digits}}.dcm" for place, (_, uid) in enumerate(sorted(uids), start=1)}

    def _search(self, search: str, study: str = "", series: str = "", hint: str = _RUNS, **what: Any) -> list[Any]:
        """What the archive answers to a search, as datasets."""
        from_json = need("pydicom", "dicom").Dataset.from_json
        call, where = getattr(self._client, search), [uid for uid in (study, series) if uid]
        subject = str(Address(self.root, study, series))
        return self._ask(subject, lambda: [from_json(one) for one in call(*where, **what)], hint)

    def _sent(self, address: Address, missing: Sequence[str], are_all: bool) -> Iterator[Any]:
        """The missing instances of a series: in one answer where that are all."""
        media = (("application/dicom", "*"),)  # as they are stored
        if are_all:
            yield from self._client.iter_series(address.study, address.series, media)
            return
        for uid in missing:
            yield self._client.retrieve_instance(address.study, address.series, uid, media)

    def _checked(self, subject: str, dataset: Any, address: Address) -> str:
        """The UID of an instance that is whole and of the series."""
        if not _is_whole(dataset):
            raise _Passing("an image that is cut short")
        if dataset.get("SeriesInstanceUID") != address.series:
            got, hint = "one of another", "ask who runs the archive"
            raise InputError(subject, expected="images of this series", got=got, hint=hint)
        return str(dataset.get("SOPInstanceUID"))

    def _ask(self, subject: str, call: Callable[[], _T], hint: str = _RUNS) -> _T:
        """What a call gives, tried again where it fails in passing."""
        for wait in (*_WAITS, None):
            try:
                with self._speaking(subject):
                    answer = call()
            except _Passing as error:
                if wait is None or not self._has_answered:
                    raise InputError(subject, expected="an answer of DICOMweb", got=str(error), hint=hint) from error
                time.sleep(wait)
            else:
                self._has_answered = True
                return answer
        raise AssertionError

    @contextmanager
    def _speaking(self, subject: str) -> Iterator[None]:
        """What goes wrong within is told in our words: _Passing for what may pass, InputError for what will not."""
        failures = self._requests.exceptions
        try:
            with quiet():
                yield
        except (PlurimaskError, _Passing):
            raise
        except failures.SSLError as error:
            found = re.search(r"certificate verify failed: ([^(\]]+)", str(error))
            got = f"one that it does not ({found[1].strip()})" if found else "another encryption"
            hint = "name the file of the archive's own authority in REQUESTS_CA_BUNDLE"
            raise InputError(subject, expected="a certificate that this machine trusts", got=got, hint=hint) from error
        except failures.TooManyRedirects as error:
            got, hint = "a way to another address", f"give that one, or {LOGIN}"
            raise InputError(subject, expected="an answer from this address", got=got, hint=hint) from error
        except (failures.RequestException, *_damage()) as error:
            raise _Passing(_NO_DICOM if isinstance(error, _damage()) else _words(error)) from error

    def _check_answer(self, answer: Any, *_: object, **__: object) -> None:
        """Refuse an answer by its status and kind."""
        status, where = answer.status_code, self.root
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if status in (401, 403, 407):
            raise InputError(where, expected="to be let in", got=f"status {status}, a login is asked for", hint=LOGIN)
        if status in _PASSING_STATUS:
            raise _Passing(f"status {status}")
        if answer.is_redirect or (status >= 400 and answer.request.method == "POST"):
            return
        if status >= 400:
            got, hint = f"status {status}", "check the address"
            raise (_Absent if status == 404 else InputError)(where, expected="what was asked for", got=got, hint=hint)
        if kind in ("text/html", "application/xhtml+xml", "text/plain"):
            got, hint = f"a page of type {kind}", "give the address of the service, as https://HOST/dicom-web"
            raise InputError(where, expected="DICOMweb", got=got, hint=hint)


class _Absent(InputError):
    """What an archive does not have."""


class _Passing(Exception):
    """What may be otherwise in a while, in a few words."""


_NO_DICOM = "something else than DICOM"


def _damage() -> tuple[type[Exception], ...]:
    """What the client, its JSON and pydicom raise on answers that are none."""
    invalid = need("pydicom.errors", "dicom").InvalidDicomError
    return (
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        NotImplementedError,
        TypeError,
        ValueError,
        zlib.error,
        invalid,
    )


def _words(error: Exception) -> str:
    """Of a failed connection, what the system says; the libraries repeat the address, which may name a patient."""
    for one in (error, error.__cause__, error.__context__, *error.args):
        within = getattr(one, "reason", one)
        for words in ("Connection refused", "timed out", "Name or service not known", "Temporary failure in name"):
            if words in str(within):
                return words.lower()
    return "the connection broke"


def _uid(subject: str, found: Any, keyword: str) -> str:
    uid = str(found.get(keyword) or "")
    if len(uid) > 64 or not _UID.fullmatch(uid):
        raise InputError(subject, expected=f"a UID as {keyword}", got="another text", hint="ask who runs the archive")
    return uid


def _listed(root: str, study: str, found: Any) -> Listed:
    """A series as a search has it."""
    address = Address(root, study, _uid(root, found, "SeriesInstanceUID"))
    number, modality, described = (
        str(found.get(keyword) or "") for keyword in ("SeriesNumber", "Modality", "SeriesDescription")
    )
    images = 0
    with suppress(ValueError, TypeError):
        images = int(found.get("NumberOfSeriesRelatedInstances") or 0)
    return Listed(address, number, modality, described, images)


def _is_whole(dataset: Any) -> bool:
    """Whether an image has its last element, pixels, to its end: a broken connection may cut it anywhere."""
    for keyword in ("PixelData", "FloatPixelData", "DoubleFloatPixelData"):
        if keyword in dataset:
            found = dataset.get_item(keyword)
            return found.length in (None, 0xFFFFFFFF, len(found.value)) if hasattr(found, "length") else True
    return dataset.get("Modality") in NO_IMAGES and "Rows" not in dataset


def _whole_files(folder: Path, wanted: dict[str, str]) -> set[str]:
    """The UIDs of images in a folder that are what their names say; all others go."""
    here = set()
    for path in list_visible(folder):
        with suppress(*_damage()), quiet():
            dataset = need("pydicom", "dicom").dcmread(path)
            if wanted.get(dataset.SOPInstanceUID) == path.name and _is_whole(dataset):
                here.add(str(dataset.SOPInstanceUID))
                continue
        path.unlink()
    return here


def _failures(answer: Any) -> Any:
    """What a refused store says, where it says it in DICOM."""
    dataset = need("pydicom", "dicom").Dataset
    with suppress(*_damage()):
        return dataset.from_json(answer.json())
    return dataset()


def fetch_series(archive: Archive, series: Listed, out: Path, progress: Progress = lambda done, total: None) -> Path:
    """Retrieve a series into out/UID, which appears when it is whole; what was begun earlier is gone on with.

    Raises:
        SettingsError: a folder of this name that holds other images than the archive.
        InputError, OSError: as `Archive.fetch`.
    """
    name = series.address.series
    whole, begun = out / name, out / f".{name}.part"
    if whole.exists():
        count = len(list_visible(whole)) if whole.is_dir() else 0
        if count == series.images:
            return whole
        got, hint = plural(count, "file"), "remove it, or name another --out"
        raise SettingsError(whole, expected=f"nothing, or the series' {series.images} images", got=got, hint=hint)
    begun.mkdir(parents=True, exist_ok=True)
    archive.fetch(series, begun, progress)
    begun.rename(whole)
    return whole


def at_hand(places: Sequence[str], folder: Path, progress: Progress = lambda done, total: None) -> list[Path]:
    """Each of some paths as it is, each address as the folder below `folder` that its one series is retrieved into.

    Raises:
        As `parse_address`, `Archive`, `Archive.one_series` and `fetch_series`.
    """
    paths = []
    for place in places:
        if is_address(place):
            address = parse_address(place)
            archive = Archive(address.root)
            paths.append(fetch_series(archive, archive.one_series(address), folder, progress))
        else:
            paths.append(Path(place))
    return paths
