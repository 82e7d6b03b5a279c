"""Series that arrive are drawn once each, whatever ends the process, and nothing tells whose they are."""

import shutil
from functools import partial

import numpy as np
import pytest
from dicom_series import PATIENT_ID, noise, uid, write_series
from orthanc import ABSENT, Orthanc
from pydicom import dcmread

from plurimask.errors import InputError, SettingsError
from plurimask.files.dicomweb import open_archive
from plurimask.records import MaskSet
from plurimask.watch import LEDGER, Ledger, Watch

KEY = "a key of this test"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("PLURIMASK_LEDGER_KEY", KEY)


@pytest.fixture
def arrived(tmp_path):
    """A folder with a series in a folder that a patient is named by."""
    write_series(tmp_path / "in/DOE_JANE", noise((12, 10, 3)))
    return tmp_path / "in"


class Room:
    """A watch over a folder: what it said, and which sizes it drew."""

    def __init__(self, place, out, **more):
        self.said, self.drawn, self.out = [], [], out
        usual = {"archive": None, "settle": 0.0, "say": self.said.append}
        self.watch = Watch(str(place), out, self._draw, **usual | more)
        self.look = partial(self.watch.run, 0.0, once=True)

    def _draw(self, study):
        self.drawn.append(study.case.grid.shape)
        masks = np.ones((2, *study.case.grid.shape), dtype=bool)
        return MaskSet(study.case.name, masks, study.case.grid, "toy")

    def panels(self):
        """The instances of each panel, by its folder's name."""
        return {
            folder.name: {dcmread(path).SOPInstanceUID for path in folder.glob("*.dcm")}
            for folder in self.out.iterdir()
            if folder.is_dir()
        }


@pytest.fixture
def room(arrived, tmp_path):
    return Room(arrived, tmp_path / "out")


def test_a_series_is_drawn_once_and_again_when_it_has_grown(room, arrived):
    room.look()
    room.look()
    assert room.drawn == [(12, 10, 3)]
    ((name, objects),) = room.panels().items()
    assert (room.said, len(objects)) == ([f"{name}: 2 masks"], 7)
    write_series(arrived / "DOE_JANE", noise((12, 10, 5)))
    room.look()
    assert room.drawn == [(12, 10, 3), (12, 10, 5)]
    assert list(room.panels()) == [name]


def test_nothing_tells_whose_series_it_is(room, arrived):
    write_series(arrived / "ROE_RICHARD", noise((12, 10, 3)), step=0.0)  # refused, since all slices lie in one place
    room.look()
    ledger = (room.out / LEDGER).read_bytes()
    told = "\n".join([*room.said, *(str(path) for path in room.out.rglob("*"))]).encode() + ledger
    assert len(room.said) == 2
    assert [word for word in ("DOE", "ROE", PATIENT_ID, uid("series")) if word.encode() in told] == []
    assert list(room.out.glob(".*")) == []
    shown = Room(arrived, room.out.with_name("shown"), show_identity=True)
    shown.look()
    assert shown.said[0] == "DOE_JANE: 2 masks"


def test_a_series_that_may_still_grow_waits(arrived, tmp_path):
    room = Room(arrived, tmp_path / "out", settle=3600.0)
    room.look()
    assert room.drawn == room.said == []


def test_a_series_that_cannot_be_drawn_is_tried_three_times_beside_the_others(room, arrived):
    (arrived / "AAA").mkdir()
    (arrived / "AAA/one.dcm").write_bytes(b"no DICOM")
    for _ in range(5):
        room.look()
    refused = [line for line in room.said if "expected a DICOM file, got one without DICOM's mark" in line]
    assert (len(refused), len(room.said), room.drawn) == (3, 4, [(12, 10, 3)])


def test_what_ends_between_a_panel_and_its_note_is_drawn_again_to_the_same_objects(room, monkeypatch):
    write = Ledger.write

    def end(self, name, size, state, tries=0):
        if state == "drawn":
            raise KeyboardInterrupt
        write(self, name, size, state, tries)

    monkeypatch.setattr(Ledger, "write", end)
    with pytest.raises(KeyboardInterrupt):
        room.look()
    before = room.panels()
    monkeypatch.setattr(Ledger, "write", write)
    room.look()
    room.look()
    assert (room.panels(), len(room.drawn)) == (before, 2)


@pytest.mark.parametrize(
    ("other", "said"), [("short", "at least 16 characters, got 5"), ("another key of it", "the key of this ledger")]
)
def test_a_key_that_is_not_the_ledgers_is_refused(room, monkeypatch, other, said):
    room.look()
    monkeypatch.setenv("PLURIMASK_LEDGER_KEY", other)
    with pytest.raises(SettingsError, match=said):
        room.look()


def test_what_is_refused_at_the_start_leaves_nothing(arrived, tmp_path, monkeypatch):
    with pytest.raises(InputError):
        Room(tmp_path / "nowhere", tmp_path / "out").look()
    monkeypatch.delenv("PLURIMASK_LEDGER_KEY")
    with pytest.raises(SettingsError, match="at least 16 characters"):
        Room(arrived, tmp_path / "out").look()
    assert not (tmp_path / "out").exists()


def test_a_ledger_is_open_once(tmp_path):
    first = Ledger(tmp_path / LEDGER, KEY)
    with pytest.raises(SettingsError, match="end the other watch"):
        Ledger(tmp_path / LEDGER, KEY)
    first.close()
    Ledger(tmp_path / LEDGER, KEY).close()
    (tmp_path / "other").write_text("no database, but a text of some length" * 99)
    with pytest.raises(InputError, match="expected a ledger, got another file"):
        Ledger(tmp_path / "other", KEY)


@pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
def test_series_of_an_archive_are_drawn_and_stored_and_what_was_stored_is_not_drawn(arrived, tmp_path):
    (tmp_path / "orthanc").mkdir()
    orthanc = Orthanc(tmp_path / "orthanc").start()
    try:
        archive = open_archive(orthanc.root)
        archive.store(sorted((arrived / "DOE_JANE").iterdir()))
        room = Room(orthanc.root, tmp_path / "out", archive=archive)
        room.look()
        room.look()
        (name,) = room.panels()
        assert room.said == [f"{name}: 2 masks, 7 objects stored, 0 there already"]
        shutil.rmtree(tmp_path / "out")
        room.look()
        assert room.said[1:] == [f"{name}: 2 masks, 0 objects stored, 7 there already"]
    finally:
        orthanc.stop()
