"""An archive over DICOMweb: a real Orthanc for what works, small servers for what an archive should not do."""

import json
import ssl
import subprocess
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from dicom_series import PATIENT_ID, noise, uid, write_series
from orthanc import ABSENT, Orthanc
from pydicom import dcmread

import plurimask as pm
from plurimask.errors import InputError, SettingsError
from plurimask.files import dicomweb
from plurimask.files.dicomweb import Archive, at_hand, fetch_series, open_archive
from plurimask.files.dicomweb_address import Address, parse_address
from plurimask.panel_files import write_panel
from plurimask.records import MaskSet

real = pytest.mark.skipif(bool(ABSENT), reason=ABSENT)
STUDY, SERIES = uid("study"), uid("series")
ROOT = "https://pacs.example/dicom-web"
QIDO = "application/dicom+json"


@pytest.fixture
def series(tmp_path):
    """A series of 5 slices on disk."""
    folder = tmp_path / "disk/CT"
    write_series(folder, noise((12, 10, 5)))
    return folder


@pytest.fixture
def orthanc(tmp_path):
    (tmp_path / "orthanc").mkdir()
    archive = Orthanc(tmp_path / "orthanc").start()
    yield archive
    archive.stop()


@pytest.fixture
def filled(orthanc, series):
    """An archive with the series, and the address of its study."""
    archive = Archive(orthanc.root)
    assert archive.store(sorted(series.iterdir())) == (5, 0)
    return archive, f"{orthanc.root}/studies/{STUDY}"


@pytest.fixture
def hasty(monkeypatch):
    """What fails in passing is tried again at once."""
    monkeypatch.setattr(dicomweb, "_WAITS", (0.0, 0.0))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (ROOT, Address(ROOT)),
        (f"{ROOT}/studies/", Address(ROOT)),
        (
            f"{ROOT}/studies?PatientID=4711&StudyDate=2026-",
            Address(ROOT, filters=(("PatientID", "4711"), ("StudyDate", "2026-"))),
        ),
        (f"{ROOT}/studies/1.2#3", Address(ROOT, "1.2", chosen="3")),
        (f"{ROOT}/studies/1.2/series/1.2.3", Address(ROOT, "1.2", "1.2.3")),
    ],
)
def test_an_address_says_what_is_meant(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://jane:secret@pacs.example/dicom-web", "no login in an address, got one; set PLURIMASK_DICOMWEB_USER"),
        (f"{ROOT}/studies/1.2/series/1.3/instances/1.4", "the address of a series"),
        ("https://", "no host"),
        ("https://[pacs/dicom-web", "one that cannot be read"),
        ("ftp://host/dicom-web", "address: expected http:// or https://, got ftp"),
        ("panels", "address: expected http:// or https://, got a path"),
    ],
)
def test_an_address_that_cannot_be_is_refused(text, said):
    with pytest.raises(InputError, match="expected") as caught:
        parse_address(text)
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


@real
def test_a_series_of_an_archive_is_the_study_that_lies_on_disk(filled, series, tmp_path):
    (path,) = at_hand([f"{filled[1]}/series/{SERIES}"], tmp_path / "here")
    found, true = pm.open_study(path), pm.open_study(series)
    np.testing.assert_array_equal(found.case.image, true.case.image)
    np.testing.assert_array_equal(found.case.grid.affine, true.case.grid.affine)
    assert (found.case.name, [one.name for one in found.sources]) == (SERIES, [f"000{k}.dcm" for k in range(1, 6)])


@real
def test_of_a_study_one_series_is_named_by_its_number_and_derived_objects_are_none(filled, series, tmp_path):
    archive, address = filled
    study = pm.open_study(series)
    masks = np.ones((2, *study.case.grid.shape), dtype=bool)
    archive.store(write_dicom(tmp_path / "first/CT", study, masks))
    assert archive.one_series(parse_address(address)).address.series == SERIES

    def renumber(dataset, _):
        dataset.SeriesNumber = 8

    archive.store(write_series(tmp_path / "other", noise((12, 10, 2)), series="other", change=renumber))
    with pytest.raises(InputError, match=r"one series of images, got 3 \(CT, 5\), 8 \(CT, 2\); name one behind a #"):
        archive.one_series(parse_address(address))
    assert archive.one_series(parse_address(f"{address}#8")).address.series == uid("other")
    with pytest.raises(InputError, match="expected a series 9, got 3"):
        archive.one_series(parse_address(f"{address}#9"))


def write_dicom(folder, study, masks, settings=None):
    """The DICOM objects of a panel."""
    panel = MaskSet(study.case.name, masks, study.case.grid, "cimd", None, "ab" * 32, settings or {})
    return [path for path in write_panel(folder, panel, study) if path.suffix == ".dcm"]


@real
def test_a_search_lists_the_series_of_the_studies_that_it_finds(filled):
    archive, _ = filled

    def search(query):
        return [one.address.series for one in archive.search(parse_address(f"{archive.root}/studies?{query}"))]

    assert search(f"PatientID={PATIENT_ID}&StudyDate=20000101-20000103") == [SERIES]
    assert search(f"PatientID={PATIENT_ID}&StudyDate=20010101-") == []


@real
def test_a_search_goes_on_page_by_page(orthanc, tmp_path, monkeypatch):
    archive = Archive(orthanc.root)
    for number in range(3):
        other = uid(f"study {number}")
        files = write_series(
            tmp_path / str(number),
            noise((4, 4, 1)),
            series=f"series {number}",
            change=lambda dataset, _, other=other: setattr(dataset, "StudyInstanceUID", other),
        )
        archive.store(files)
    monkeypatch.setattr(dicomweb, "_PAGE", 2)
    found = archive.search(parse_address(f"{orthanc.root}/studies?PatientID={PATIENT_ID}"))
    assert {one.address.study for one in found} == {uid(f"study {number}") for number in range(3)}


def test_an_archive_that_knows_no_pages_is_refused_where_there_may_be_more(served, monkeypatch):
    uids = {"0020000D": {"vr": "UI", "Value": ["1.2.3"]}, "0020000E": {"vr": "UI", "Value": ["1.2.3.4"]}}
    root = served(lambda *_: (200, {"Content-Type": QIDO}, json.dumps([uids]).encode()))
    assert {one.address.study for one in Archive(root).search(parse_address(f"{root}/studies"))} == {"1.2.3"}
    monkeypatch.setattr(dicomweb, "_PAGE", 1)
    with pytest.raises(InputError, match="further studies of the search, or none, got the same 1 again"):
        Archive(root).search(parse_address(f"{root}/studies"))


def test_a_search_that_finds_nothing_does_not_repeat_the_patient(filled):
    archive, _ = filled
    with pytest.raises(InputError, match="one series of images, got none") as caught:
        archive.one_series(parse_address(f"{archive.root}/studies?PatientID={PATIENT_ID}-2"))
    assert PATIENT_ID not in str(caught.value)


@real
def test_what_is_here_is_not_retrieved_again(filled, tmp_path):
    archive, address = filled
    (listed,) = archive.search(parse_address(address))
    (tmp_path / "got").mkdir()
    archive.fetch(listed, tmp_path / "got")
    files = sorted((tmp_path / "got").iterdir())
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:-20])
    before = {path: path.stat().st_mtime_ns for path in files[2:]}
    told = []
    archive.fetch(listed, tmp_path / "got", lambda done, total: told.append((done, total)))
    assert told == [(4, 5), (5, 5)]
    assert {path: path.stat().st_mtime_ns for path in files[2:]} == before
    assert len({dcmread(path).SOPInstanceUID for path in files}) == 5


@real
def test_a_folder_of_a_series_appears_when_it_is_whole(filled, orthanc, tmp_path, hasty):
    archive, address = filled
    (listed,) = archive.search(parse_address(address))

    def lose_power(done, total):
        if done == 2:
            orthanc.stop()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch_series(archive, listed, tmp_path / "out", lose_power)
    assert not (tmp_path / "out" / SERIES).exists()
    with pytest.raises(InputError, match="expected an answer of DICOMweb, got connection refused"):
        fetch_series(archive, listed, tmp_path / "out")
    orthanc.start()
    told = []
    whole = fetch_series(archive, listed, tmp_path / "out", lambda done, total: told.append(done))
    assert told == [3, 4, 5]
    assert [path.name for path in (tmp_path / "out").iterdir()] == [SERIES]
    assert fetch_series(archive, listed, tmp_path / "out") == whole
    (whole / "0005.dcm").unlink()
    with pytest.raises(SettingsError, match="expected nothing, or the series' 5 images, got 4 files"):
        fetch_series(archive, listed, tmp_path / "out")


@real
def test_objects_are_known_again_when_they_are_made_and_stored_twice(filled, series, tmp_path):
    archive, address = filled
    study = pm.open_study(series)
    masks = np.zeros((2, *study.case.grid.shape), dtype=bool)
    masks[:, 3:5, 4:6, 1] = True
    first = write_dicom(tmp_path / "first/CT", study, masks)
    assert archive.store(first) == (7, 0)
    listed = {one.address.series: one for one in archive.search(parse_address(address))}
    assert {dcmread(path).SeriesInstanceUID for path in first} | {SERIES} == set(listed)
    (path,) = at_hand([f"{address}/series/{SERIES}"], tmp_path / "here")
    assert archive.store(write_dicom(tmp_path / "again" / SERIES, pm.open_study(path), masks)) == (0, 7)
    masks[1, 4, 4, 1] = False
    assert archive.store(write_dicom(tmp_path / "other/CT", study, masks)) == (7, 0)
    assert archive.store(write_dicom(tmp_path / "more/CT", study, masks, {"steps": 3})) == (7, 0)


@real
def test_a_login_comes_from_the_environment_or_from_netrc(tmp_path, monkeypatch):
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"jane": "secret"}}
    archive = Orthanc(tmp_path, **users).start()
    monkeypatch.setenv("HOME", str(tmp_path))
    try:
        with pytest.raises(InputError, match="to be let in, got status 401, a login is asked for; set PLURIMASK"):
            open_archive(archive.root)
        monkeypatch.setenv("PLURIMASK_DICOMWEB_USER", "jane")
        monkeypatch.setenv("PLURIMASK_DICOMWEB_PASSWORD", "secret")
        open_archive(archive.root)
        monkeypatch.delenv("PLURIMASK_DICOMWEB_USER")
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login jane password secret\n")
        open_archive(archive.root)
    finally:
        archive.stop()


def test_a_login_is_not_sent_in_the_clear_to_another_machine(monkeypatch):
    monkeypatch.setenv("PLURIMASK_DICOMWEB_TOKEN", "secret")
    with pytest.raises(SettingsError, match="expected https:// where a login is sent, got http://"):
        Archive("http://pacs.example/dicom-web")


@pytest.fixture
def served():
    """Start a server on this machine whose answers are what `answer` says of a method and path; returns its root.

    An answer is status, headers and body.
    """
    servers = []

    def serve(answer, tls=None):
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                length = int(self.headers.get("Content-Length", 0))
                self.rfile.read(length)
                status, headers, body = answer(self.command, self.path.partition("?")[0])
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http{'s' * bool(tls)}://127.0.0.1:{server.server_port}/dicom-web"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (
            200,
            {"Content-Type": "text/html; charset=utf-8"},
            b"<h1>It works!</h1>",
            "DICOMweb, got a page of type text/html",
        ),
        (200, {"Content-Type": QIDO}, b'[{"0020', "an answer of DICOMweb, got something else than DICOM"),
        (200, {"Content-Type": QIDO}, b'["what"]', "an answer of DICOMweb, got something else than DICOM"),
        (302, {"Location": "https://login.example/?next=dicom-web"}, b"", "from this address, got a way to another"),
        (401, {"WWW-Authenticate": "Basic"}, b"", "to be let in, got status 401"),
        (403, {}, b"", "to be let in, got status 403"),
        (404, {}, b"", "what was asked for, got status 404; check the address"),
        (503, {}, b"", "an answer of DICOMweb, got status 503"),
    ],
)
def test_what_does_not_answer_as_an_archive_is_refused_at_once(served, status, headers, body, said):
    root = served(lambda *_: (status, headers, body))
    with pytest.raises(InputError) as caught:
        Archive(root).search(parse_address(f"{root}/studies?PatientID={PATIENT_ID}"))
    assert said in str(caught.value)
    assert PATIENT_ID not in str(caught.value)


def test_an_address_where_nobody_listens_is_refused_at_once():
    with pytest.raises(InputError, match="expected an answer of DICOMweb, got connection refused; check the address"):
        open_archive("http://127.0.0.1:9/dicom-web")


def test_an_unknown_certificate_is_refused(served, tmp_path, monkeypatch):
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=pacs -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(["openssl", *words.split(), "-keyout", key, "-out", certificate], check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    root = served(lambda *_: (200, {"Content-Type": QIDO}, b"[]"), tls)
    with pytest.raises(InputError, match=r"a certificate that this machine trusts, got one .*self-signed certificate"):
        open_archive(root)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
    open_archive(root)


@pytest.fixture
def archive_of(served):
    """An archive that lists the instances of some files, and sends these bytes of them."""

    def make(files, bodies):
        listed = []
        for path in files:
            full, keywords = dcmread(path), ("SOPInstanceUID", "SeriesInstanceUID", "InstanceNumber", "Modality")
            listed.append({key: value for key, value in full.to_json_dict().items() if key in map(tag(full), keywords)})
        parts = [b"\r\n--limit\r\nContent-Type: application/dicom\r\n\r\n" + body for body in bodies]

        def answer(method, path):
            if path.endswith("/instances"):
                return 200, {"Content-Type": QIDO}, json.dumps(listed).encode()
            if path.endswith("/series"):
                return 200, {"Content-Type": QIDO}, json.dumps(listed[:1]).encode()
            kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=limit'}
            sent = parts if path.endswith(SERIES) else parts[-1:]
            return 200, kind, b"".join(sent) + b"\r\n--limit--"

        root = served(answer)
        archive = Archive(root)
        return archive, archive.one_series(Address(root, STUDY, SERIES))

    def tag(dataset):
        return lambda keyword: f"{dataset[keyword].tag:08X}"

    return make


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda content: content[:-8], "got 1 of them, then an image that is cut short"),
        (lambda content: content[:300], "got 1 of them, then"),
        (lambda content: b"no DICOM at all", "got 1 of them, then something else than DICOM"),
    ],
)
def test_a_series_whose_images_are_cut_short_is_refused(archive_of, series, tmp_path, hasty, spoil, said):
    files = sorted(series.iterdir())[:2]
    archive, listed = archive_of(files, [files[0].read_bytes(), spoil(files[1].read_bytes())])
    (tmp_path / "got").mkdir()
    with pytest.raises(InputError, match="expected the 2 images that it lists") as caught:
        archive.fetch(listed, tmp_path / "got")
    assert said in str(caught.value)
    assert len(list((tmp_path / "got").iterdir())) == 1


def test_a_series_with_images_of_another_is_refused(archive_of, series, tmp_path):
    (other,) = write_series(tmp_path / "other", noise((12, 10, 1)), series="other")
    files = sorted(series.iterdir())[:2]
    archive, listed = archive_of(files, [files[0].read_bytes(), other.read_bytes()])
    (tmp_path / "got").mkdir()
    with pytest.raises(InputError, match="expected images of this series, got one of another"):
        archive.fetch(listed, tmp_path / "got")


def test_a_refused_store_says_which_file_and_the_archives_reason(served, series):
    def answer(method, path):
        if method == "GET":
            return 204, {}, b""
        failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}
        return 409, {"Content-Type": QIDO}, json.dumps(failed).encode()

    path = next(iter(series.iterdir()))
    with pytest.raises(
        InputError, match=f"expected {path.name} to be accepted, got a refusal, reason A700H; the files stay"
    ):
        Archive(served(answer)).store([path])


@real
@pytest.mark.slow
def test_an_archive_that_is_stopped_ten_times_loses_nothing(tmp_path):
    """It loses power while it sends and while it stores, at another moment each time, and is started again."""
    (tmp_path / "orthanc").mkdir()
    orthanc = Orthanc(tmp_path / "orthanc").start()
    files = write_series(tmp_path / "disk/CT", noise((256, 256, 60)))
    archive, restarts = Archive(orthanc.root), []

    def lose_power(at, done, _):
        if done == at:
            orthanc.stop()
            restarts.append(threading.Timer(0.3, orthanc.start))
            restarts[-1].start()

    try:
        for turn in range(5):
            stored = files[12 * turn : 12 * turn + 12]
            assert archive.store(stored, partial(lose_power, 2 * turn + 1)) == (12, 0)
        (listed,) = archive.search(parse_address(f"{archive.root}/studies/{STUDY}"))
        for turn in range(5):
            whole = fetch_series(archive, listed, tmp_path / f"got{turn}", partial(lose_power, 12 * turn + 3))
            found, true = pm.open_study(whole), pm.open_study(files[0].parent)
            np.testing.assert_array_equal(found.case.image, true.case.image)
    finally:
        for restart in restarts:
            restart.join()
        orthanc.stop()
    assert len(restarts) == 10
