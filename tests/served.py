"""Small things to serve, and a client in the place of a browser."""

import numpy as np
from fastapi.testclient import TestClient
from PIL import Image

from plurimask.files.mask_sets import write_mask_set
from plurimask.geometry import Grid
from plurimask.records import MaskSet
from plurimask.viewer.app import Room, make_app
from plurimask.viewer.guard import LOOPBACK
from plurimask.viewer.library import name_id, open_library

HERE = "http://127.0.0.1:8765"
SIZE = (12, 16)


def squares(*sides, size=SIZE):
    """A stack of squares that begin at row 2, column 3; side 0 is an empty mask."""
    masks = np.zeros((len(sides), *size), dtype=bool)
    for mask, side in zip(masks, sides, strict=True):
        mask[2 : 2 + side, 3 : 3 + side] = True
    return masks


def write_set(root, name, masks, grid=None, **more):
    """A mask set as plurimask writes it."""
    write_mask_set(root / name, MaskSet(name, masks, grid or Grid(masks.shape[1:]), "toy", **more))


def write_case(root, name, *readers, size=SIZE):
    """A case folder of a ramp with one square a reader."""
    folder = root / name
    folder.mkdir(parents=True)
    ramp = np.arange(np.prod(size), dtype=np.uint8).reshape(size)
    Image.fromarray(ramp).save(folder / "image.png")
    for number, mask in enumerate(squares(*readers, size=size)):
        Image.fromarray(mask.astype(np.uint8) * 255).save(folder / f"label{number}.png")


def room(path, data=None, model=None, out=None, **more):
    """What a server would serve of a path; `model` is loaded already."""
    return Room(open_library(path, data, model is not None), model, out or path.parent / "saved", **more)


def visit(room, token=None):
    """A browser that opened the page of a room."""
    app = make_app(room, LOOPBACK, token)
    return TestClient(app, base_url=HERE, headers={"Origin": HERE}, follow_redirects=False)


def client(path, data=None, model=None, out=None, token=None, **more):
    """A browser that opened the page of a path."""
    return visit(room(path, data, model, out, **more), token)


def get(browser, address, **query):
    """The JSON at an address below the API."""
    answer = browser.get(f"/api/v1/{address}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def case(name, *more):
    """The address of a case."""
    return "/".join(("cases", name_id(name), *map(str, more)))


def unpacked(answer):
    """Masks (S, h, w) and box of an answer of packed bits."""
    top, bottom, left, right = map(int, answer.headers["X-Box"].split(","))
    shape = int(answer.headers["X-Count"]), bottom - top, right - left
    bits = np.unpackbits(np.frombuffer(answer.content, np.uint8), count=int(np.prod(shape)))
    return bits.reshape(shape).astype(bool), (slice(top, bottom), slice(left, right))
