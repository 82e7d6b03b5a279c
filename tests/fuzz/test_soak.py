"""The reading room under ten thousand requests, while the files of most of its cases are damaged again and again.

No request ends in a 5xx, cases that are not damaged are answered as at first, and memory stays level.
"""

import json
import os
import time
import traceback
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from damage import damage_bytes, damage_json, damage_nifti, damage_npy, damage_npz, damage_png, one, packed
from served import client, get, squares, write_case, write_set
from work import begin, ended

REQUESTS, SEED, MOST_MIB = 10_000, 20261129, 64
NAMES = [f"case-{number:02d}" for number in range(24)]
GOOD = NAMES[:6]
STEADY = ("image/", "samples/", "readers/", "thumbnail", "scores")
"""What is answered of a case that no request changes."""
STRUCTURED = {
    "image.png": damage_png,
    "label0.png": damage_png,
    "masks.npz": damage_npz,
    "set.json": damage_json,
    "image.npy": damage_npy,
    "image.nii.gz": packed(damage_nifti),
}


def served(root):
    """Cases of each kind of file, with two sets of masks each; the bytes of every file by its path."""
    for number, name in enumerate(NAMES):
        write_case(root / "data", name, 3, 4)
        picture = root / "data" / name / "image.png"
        if number % 3:
            values = np.random.default_rng(number).integers(0, 999, (12, 16)).astype(np.float32)
            picture.unlink()
            if number % 3 == 1:
                np.save(picture.with_suffix(".npy"), values)
            else:
                nib.save(nib.Nifti1Image(values[..., None], np.diag([-1, -1, 1, 1])), picture.with_suffix(".nii.gz"))
        write_set(root / "masks", name, squares(3, 4, 0, 5), seeds=(1, 2, 3, 4))
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def damage_some(files, rng):
    """Spoil one file of one case in three, or make it good again."""
    for path in [path for path in files if path.parent.name not in GOOD][int(rng.integers(3)) :: 3]:
        how = STRUCTURED.get(path.name) if rng.random() < 0.5 else damage_bytes
        path.unlink(missing_ok=True)
        if rng.random() < 0.05:
            path.symlink_to(one(rng, [path, Path("/dev/zero"), path.parent, Path("nowhere")]))
        else:
            path.write_bytes(files[path] if rng.random() < 0.3 or how is None else how(rng, files[path]))


def ask(browser, info, ids, rng):
    """One request of a page, or of someone who plays with addresses."""
    case, k = one(rng, [*ids, "nothing", "%00", "a" * 300]), one(rng, [0, 0, 0, 1, -1, 10**12, "x"])
    below = ["", f"/image/{k}", f"/samples/{k}", f"/readers/{k}", "/thumbnail", "/scores", "/saved", "/jobs"]
    address = one(rng, ["info", "cases", "cases", *(f"cases/{case}{part}" for part in below), "jobs/x", "openapi.json"])
    query = {"source": one(rng, [*(source["id"] for source in info["sources"]), "none"])} if rng.random() < 0.5 else {}
    if address == "cases":
        query |= {"sort": one(rng, ["name", "score", "size", "x"]), "offset": one(rng, [0, 10, 10**9, -1])}
    if address.endswith("/saved") and rng.random() < 0.5:
        bits = one(rng, ["AA==", "", "x", "=" * 9])
        asked = {"author": one(rng, ["Ada", "", "\u202e", 7]), "format": one(rng, ["nifti", "dicom-seg"]), "origin": {}}
        asked |= {"source": "masks", "box": [0, 1, 0, 8], "slices": {one(rng, ["0", "9", "x"]): bits}}
        asked["origin"] = one(rng, [{"kind": "edited"}, {"kind": "sample", "sample": 10**9}, {"kind": "x"}, None])
        body = one(rng, [json.dumps(asked), json.dumps(asked)[:40], "[" * 5000, "9" * 5000, "null", "\0"])
        return browser.post(f"/api/v1/{address}", content=body, headers={"Content-Type": "application/json"})
    return browser.get(f"/api/v1/{address}", params=query)


def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


def soak(root, count, found):
    """Ask `count` times; what came of it as JSON."""

    def run():
        files, rng = served(root), np.random.default_rng(SEED)
        browser = client(root / "masks", root / "data", out=root / "saved")
        info, statuses, faults, sizes, first = get(browser, "info"), Counter(), [], [], {}
        ids = {case["name"]: case["id"] for case in get(browser, "cases", limit=100)["items"]}
        for number in range(count):
            if number % 50 == 0:
                damage_some(files, rng)
            try:
                answer = ask(browser, info, ids.values(), rng)
            except Exception:  # noqa: BLE001 (what a server answers with 500, and this client hands on)
                faults.append(f"{number}: {traceback.format_exc()[-1500:]}")
                continue
            statuses[answer.status_code] += 1
            if answer.status_code >= 500:
                faults.append(f"{number}: {answer.request.url}: {answer.status_code} {answer.text[:200]}")
            address = str(answer.request.url)
            is_steady = any(f"/{ids[name]}/{part}" in address for name in GOOD for part in STEADY)
            if is_steady and first.setdefault(address, answer.content) != answer.content:
                faults.append(f"{number}: {address}: another answer than at first")
            if number % (count // 20) == 0:
                sizes.append(resident_mib())
        for path, content in files.items():
            path.unlink(missing_ok=True)
            path.write_bytes(content)
        # What works in the background is alive: it comes to an end with all cases.
        until = time.monotonic() + 60
        while (listed := get(browser, "cases", limit=100, sort="score"))["computing"] and time.monotonic() < until:
            time.sleep(0.05)
        more = [listed["computing"], listed["total"], len(first)]
        found.write_text(json.dumps([dict(statuses), faults, sizes, *more]))

    return run


def check(tmp_path, count):
    assert ended(begin(soak(tmp_path, count, tmp_path / "found.json"))) == 0
    statuses, faults, sizes, computing, total, steady = json.loads((tmp_path / "found.json").read_text())
    assert not faults, "\n".join(faults[:20])
    assert sum(statuses.values()) == count
    assert statuses["200"] > count / 4
    assert steady > 10
    assert (computing, total) == (None, len(NAMES))
    return sizes


def test_a_room_of_damaged_files_answers_every_request(tmp_path):
    check(tmp_path, 300)


@pytest.mark.slow
def test_a_room_of_damaged_files_answers_ten_thousand_requests_in_the_same_memory(tmp_path):
    sizes = check(tmp_path, REQUESTS)
    assert max(sizes) - sizes[len(sizes) // 10] < MOST_MIB, sizes
