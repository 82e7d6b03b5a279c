"""New DICOM series of a folder or an archive, drawn as they arrive; what was drawn stands in a ledger.

The ledger and the output know a series by a hash of its folder's name, or of its UID, with a key that the user sets.
A panel is written whole before the ledger says so: whatever moment the process ends at, the next one draws what is not
there, and writes the same files again where it was not told.
"""

import hmac
import os
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from plurimask.errors import InputError, PlurimaskError, SettingsError
from plurimask.files.dicomweb import Archive, fetch_series
from plurimask.files.dicomweb_address import is_address, parse_address
from plurimask.files.locate import Study, open_study
from plurimask.files.stored import list_visible, readable
from plurimask.panel_files import rehearse, write_panel
from plurimask.records import MaskSet

KEY = "PLURIMASK_LEDGER_KEY"
LEDGER, _WORK = "ledger.sqlite", ".retrieved"
_SHORTEST_KEY, _DIGITS, _TRIES = 16, 24, 3
_TABLES = """
create table if not exists checked (key text not null);
create table if not exists series (
    name text primary key, size text not null, since real not null, state text not null, tries integer not null
);
"""


@dataclass(frozen=True)
class Arrival:
    """A series that is there.

    Args:
        identity: a folder's name, or a UID; never to be printed unless asked for.
        size: of what has arrived, as text.
        bring: puts its files into a folder, whose names say nothing of them, and returns that.
    """

    identity: str
    size: str
    bring: Callable[[Path], Path]


@dataclass(frozen=True)
class _Known:
    size: str
    since: float
    state: str
    tries: int


class Ledger:
    """What was drawn, in SQLite; a second process cannot open it.

    Args:
        path: of the file.
        key: what names are hashed with.

    Raises:
        SettingsError: a short key, another key than before, or a ledger that is open elsewhere.
        InputError: a file that is no ledger.
    """

    def __init__(self, path: Path, key: str) -> None:
        if len(key) < _SHORTEST_KEY:
            hint = "set it to a secret: python -c 'import secrets; print(secrets.token_urlsafe(24))'"
            got = f"{len(key)} characters"
            raise SettingsError(KEY, expected=f"at least {_SHORTEST_KEY} characters", got=got, hint=hint)
        self._key = key.encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._database = sqlite3.connect(path, timeout=0, isolation_level=None)
        try:
            self._database.executescript(f"pragma locking_mode = exclusive; begin exclusive; {_TABLES} commit;")
            known = self._database.execute("select key from checked").fetchone()
            if known is None:
                self._database.execute("insert into checked values (?)", (self.name("key"),))
        except sqlite3.OperationalError as error:
            self.close()
            got, hint = f"one that cannot be opened ({error})", "end the other watch, or name another --out"
            raise SettingsError(path, expected="a ledger of its own", got=got, hint=hint) from error
        except sqlite3.DatabaseError as error:
            self.close()
            raise InputError(path, expected="a ledger", got=f"another file ({error})", hint="move it away") from error
        if known and known[0] != self.name("key"):
            self.close()
            raise SettingsError(KEY, expected="the key of this ledger", got="another", hint="name another --out")

    def close(self) -> None:
        """Let others open it."""
        self._database.close()

    def name(self, identity: str) -> str:
        """What stands for a series."""
        return hmac.new(self._key, identity.encode("utf-8", "surrogateescape"), "sha256").hexdigest()[:_DIGITS]

    def find(self, name: str) -> _Known | None:
        """What is known of a series."""
        found = self._database.execute("select size, since, state, tries from series where name = ?", (name,))
        row = found.fetchone()
        return row and _Known(*row)

    def write(self, name: str, size: str, state: str, tries: int = 0) -> None:
        """Note a state of a series: waiting, drawn or refused."""
        self._database.execute("replace into series values (?, ?, ?, ?, ?)", (name, size, time.time(), state, tries))


@dataclass(frozen=True)
class Watch:
    """What is done with each series that arrives.

    Args:
        place: a folder with a folder for each series, or an address of an archive.
        out: where panels go, each as a folder named by its hash, and the ledger.
        draw: a study's panel.
        archive: where objects are stored too, or None.
        settle: seconds for which a series must not have grown.
        say: called with each line to print.
        show_identity: whether lines name folders and UIDs.
    """

    place: str
    out: Path
    draw: Callable[[Study], MaskSet]
    archive: Archive | None
    settle: float
    say: Callable[[str], object]
    show_identity: bool = False

    def run(self, every: float, once: bool = False) -> None:
        """Look every so many seconds, until Ctrl-C, or once.

        Raises:
            InputError, SettingsError: a place that cannot be listed at the first look, or as `Ledger`.
            OSError: as the file system does.
        """
        first, told = list(_arrivals(self.place)), ""
        with closing(Ledger(self.out / LEDGER, os.environ.get(KEY, ""))) as ledger:
            self._look(ledger, first)
            while not once:
                time.sleep(every)
                try:
                    found = list(_arrivals(self.place))
                except InputError as error:  # the archive may be there again at the next look
                    if str(error) != told:
                        told = str(error)
                        self.say(told)
                    continue
                told = ""
                self._look(ledger, found)

    def _look(self, ledger: Ledger, found: list[Arrival]) -> None:
        for one in found:
            name = ledger.name(one.identity)
            known = ledger.find(name)
            if known is None or known.size != one.size:
                ledger.write(name, one.size, "waiting")
                known = ledger.find(name)
            assert known is not None
            if known.state != "waiting" or time.time() - known.since < self.settle:
                continue
            label = one.identity if self.show_identity else name
            try:
                self.say(f"{label}: {self._draw(name, one)}")
            except (PlurimaskError, MemoryError) as error:
                tries = known.tries + 1
                ledger.write(name, one.size, "waiting" if tries < _TRIES else "refused", tries)
                _, _, why = str(error).partition(": expected ")  # what stands before may be a name
                self.say(f"{label}: expected {why}" if why else f"{label}: too little memory")
            else:
                ledger.write(name, one.size, "drawn")

    def _draw(self, name: str, one: Arrival) -> str:
        """Draw a series into its folder, and say what was done."""
        with _work_folder(self.out / _WORK) as work:
            study = open_study(one.bring(work))
            study = replace(study, case=replace(study.case, name=name))
            rehearse(self.out / name, study)
            panel = self.draw(study)
            objects = [path for path in write_panel(self.out / name, panel, study) if path.suffix == ".dcm"]
        if self.archive is None:
            return f"{len(panel.masks)} masks"
        accepted, there = self.archive.store(objects)
        return f"{len(panel.masks)} masks, {accepted} objects stored, {there} there already"


@contextmanager
def _work_folder(folder: Path) -> Iterator[Path]:
    """A folder for what is retrieved, which goes when the block ends. Of an earlier process it is taken over."""
    folder.mkdir(mode=0o700, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _arrivals(place: str) -> Iterator[Arrival]:
    """Every series at a place. Raises InputError where it cannot be listed."""
    if is_address(place):
        address = parse_address(place)
        archive = Archive(address.root)
        for listed in filter(lambda one: one.holds_images, archive.search(address)):
            yield Arrival(listed.address.series, str(listed.images), partial(fetch_series, archive, listed))
        return
    root = Path(place)
    with readable(root, "a folder of series, or an address"):
        for folder in (path for path in list_visible(root) if path.is_dir()):
            sizes = [path.stat().st_size for path in list_visible(folder)]
            if sizes:
                yield Arrival(folder.name, f"{len(sizes)} {sum(sizes)}", partial(_link, folder))


def _link(folder: Path, work: Path) -> Path:
    """Links to the files of a folder under plain names, since their own may name a patient."""
    linked = work / "series"
    shutil.rmtree(linked, ignore_errors=True)
    linked.mkdir()
    for number, path in enumerate(list_visible(folder), start=1):
        (linked / f"{number:04}.dcm").symlink_to(path.absolute())
    return linked
