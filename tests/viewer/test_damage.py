"""Damaged and odd files among good ones: every answer is right or refused by name, and nothing stops."""

import logging
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from served import case, client, get, squares, write_case, write_set

GOOD = ("good-a", "good-b")
ADDRESSES = ("", "image/0", "image/0?axis=0", "samples/0", "readers/0", "thumbnail", "scores", "saved", "samples/9")


def described(text):
    """Spoils a mask set by what set.json says."""
    return lambda masks, data: (masks / "set.json").write_text(text)


def settings(text):
    return described(f'{{"settings": {text}}}')


def archive(method, keep):
    """Spoils masks.npz: another compression, cut to a share of its bytes."""

    def spoil(masks, data):
        path = masks / "masks.npz"
        with zipfile.ZipFile(path, "w", method) as file, file.open("masks.npy", "w") as array:
            np.lib.format.write_array(array, squares(3, 4))
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content if keep else content[: middle - 8] + bytes(16) + content[middle + 8 :])

    return spoil


def itself(masks, data):
    (masks / "masks.npz").unlink()
    (masks / "masks.npz").symlink_to("masks.npz")


ODD = {
    "bzip": archive(zipfile.ZIP_BZIP2, keep=True),
    "lzma-damaged": archive(zipfile.ZIP_LZMA, keep=False),
    "bzip-damaged": archive(zipfile.ZIP_BZIP2, keep=False),
    "region-number": settings('{"region": 3}'),
    "region-short": settings('{"region": [[1]]}'),
    "region-text": settings('{"region": [["a", "b"], [1, 2]]}'),
    "region-table": settings('{"region": {"a": 1}}'),
    "seed-huge": settings(f'{{"seed": {10**100}, "name": 3, "steps": [1]}}'),
    "nan": settings('{"x": NaN}'),
    "infinite": settings('{"x": 1e999}'),
    "deep": settings("[" * 10_000 + "]" * 10_000),
    "digits": settings(f'{{"x": {"9" * 5000}}}'),
    "surrogate": described('{"method": "\\ud800"}'),
    "itself": itself,
    "image-cut": lambda masks, data: (data / "image.png").write_bytes((data / "image.png").read_bytes()[:40]),
    "image-gone": lambda masks, data: (data / "image.png").unlink(),
    "label-empty": lambda masks, data: (data / "label0.png").write_bytes(b""),
    "masks-folder": lambda masks, data: [(masks / "masks.npz").unlink(), (masks / "masks.npz").mkdir()],
}
"""What spoils a case, given the folders of its masks and of its images."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Good cases and one of each that is odd, in a folder whose name is no UTF-8."""
    root = Path(os.fsdecode(os.fsencode(tmp_path_factory.mktemp("odd")) + b"/\xff"))
    for name in (*GOOD, *ODD):
        write_case(root / "data", name, 3, 5)
        write_set(root / "masks", name, squares(3, 4), seeds=(1, 2))
    served = client(root / "masks", root / "data")  # the server stands before its files are spoilt
    for name, spoil in ODD.items():
        spoil(root / "masks" / name, root / "data" / name)
    return served


def ask(browser, name, address):
    """An answer that is right, or a refusal in one line."""
    answer = browser.get(f"/api/v1/{case(name)}/{address}".rstrip("/"))
    assert answer.status_code < 500, (name, address, answer.text)
    if answer.status_code >= 400:
        assert answer.json()["detail"].count("\n") == 0
        assert name in GOOD or answer.status_code == 404 or "expected" in answer.json()["detail"], answer.text
    return answer


@pytest.mark.parametrize("name", [*ODD, *GOOD])
def test_an_odd_case_is_shown_or_refused_by_name(browser, caplog, name):
    with caplog.at_level(logging.WARNING):
        statuses = [ask(browser, name, address).status_code for address in ADDRESSES]
    assert not caplog.records
    assert name not in GOOD or statuses[:-1] == [200] * 8


def test_the_list_is_worked_out_to_its_end(browser):
    while (page := get(browser, "cases", sort="size", limit=200))["computing"]:
        pass
    assert [item["name"] for item in page["items"] if item["reason"] is None][:2]
    assert {item["name"] for item in page["items"]} == {*GOOD, *ODD}
    assert all(item["samples"] == 2 for item in page["items"] if item["reason"] is None)


def test_the_name_of_what_is_served_may_be_no_text(browser, tmp_path):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xfe"))
    write_set(folder, "a", squares(3))
    np.save(folder / "b.npy", squares(1))
    (folder / "b.npy").write_bytes(b"damaged")
    served = client(folder, out=folder.parent / "saved")
    assert get(served, "info")["title"] == "\\udcfe"
    assert get(served, "info")["sources"][0]["label"] == "\\udcfe"
    while (page := get(served, "cases"))["computing"]:
        pass
    assert page["broken"][0]["name"] == "b"
    assert served.get(f"/api/v1/{case('b')}").status_code == 422


@pytest.mark.parametrize("step", [1e200, 1e8, 1e-8, 1e-200])
def test_an_affine_that_no_image_has_is_refused(tmp_path, caplog, step):
    write_set(tmp_path / "masks", "a", squares(3, 4))
    rows = [[step, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
    described(f'{{"grid": {{"shape": [12, 16], "affine": {rows}}}}}')(tmp_path / "masks" / "a", None)
    served = client(tmp_path / "masks")
    statuses = [ask(served, "a", address).status_code for address in ADDRESSES]
    assert statuses[:-1] == [200 if 1e-9 < step < 1e9 else 422] * 7 + [200]
    assert not caplog.records
