"""Drawing further samples with a real, tiny model: the same as in one longer draw, progress, cancel, refusals."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Event

import numpy as np
import pytest
import torch
from served import case, client, get, room, squares, visit, write_case, write_set
from tiny import SIZE, SMALL, recipe, stir

from plurimask.datasets.open import CaseFolder
from plurimask.files.mask_sets import write_mask_set
from plurimask.methods.method import build
from plurimask.sampling import Model, model
from plurimask.training.checkpoint import Checkpoint
from plurimask.viewer import jobs
from plurimask.viewer.library import name_id

PATIENCE = 60
LARGE = (40, 48)


def tiny(**changed):
    made = recipe(**changed)
    torch.manual_seed(0)
    method = build(made.method)
    stir(method)
    return Model("tiny", Checkpoint(method.eval(), made, 0, "", "0" * 64), torch.device("cpu"))


@pytest.fixture(scope="module")
def drawer():
    return tiny()


@pytest.fixture
def data(tmp_path):
    write_case(tmp_path / "data", "a", 3, 5, size=(SIZE, SIZE))
    write_case(tmp_path / "data", "large", 3, size=LARGE)
    return tmp_path / "data"


def start(browser, name="a", **asked):
    return browser.post(f"/api/v1/{case(name, 'jobs')}", json={"count": 2, "source": "drawn"} | asked)


def finished(browser, answer):
    """The state of a job that is over."""
    assert answer.status_code == 202, answer.text
    deadline = time.monotonic() + PATIENCE
    while (state := get(browser, f"jobs/{answer.json()['id']}"))["state"] == "running" and time.monotonic() < deadline:
        time.sleep(0.02)
    return state


def drawn(browser, name="a", source="drawn"):
    """What is said of the samples of a case."""
    return get(browser, case(name), source=source)


def test_samples_are_those_of_one_longer_draw(data, drawer):
    browser = client(data, model=drawer)
    for count in (2, 3):
        assert finished(browser, start(browser, count=count))["state"] == "finished"
    truth = drawer.sample(CaseFolder(data)[0], 5)
    found = drawn(browser)
    assert found["seeds"] == [str(seed) for seed in truth.seeds]
    assert found["sizes"] == pytest.approx(np.count_nonzero(truth.masks, axis=(1, 2)), abs=1)
    assert (found["checkpoint"], found["settings"]["model"]) == ("0" * 64, "tiny")


def test_masks_on_disk_are_gone_on_with(data, drawer, tmp_path):
    write_mask_set(tmp_path / "masks" / "a", drawer.sample(CaseFolder(data)[0], 2, seed=7))
    browser = client(tmp_path / "masks", data, drawer)
    source = get(browser, "info")["sources"][0]["id"]
    assert finished(browser, start(browser, source=source))["state"] == "finished"
    truth = drawer.sample(CaseFolder(data)[0], 4, seed=7)
    assert drawn(browser, source=source)["seeds"] == [str(seed) for seed in truth.seeds]


def test_masks_of_another_origin_are_not(data, drawer, tmp_path):
    write_set(tmp_path / "masks", "a", squares(3, size=(SIZE, SIZE)))
    browser = client(tmp_path / "masks", data, drawer)
    answer = start(browser, source=get(browser, "info")["sources"][0]["id"])
    assert answer.status_code == 409
    assert "draw into 'drawn here'" in answer.json()["detail"]


@pytest.mark.parametrize(
    "settings",
    [
        *({"seed": True}, {"seed": -1}, {"seed": 2**70}, {"seed": "x"}, {"seed": 0, "steps": [1]}, {"region": 3}),
        *(
            {"seed": 0, "name": 3},
            {"seed": 0, "name": [1]},
            {"seed": 0, "name": {}},
            {"seed": 0, "region": [[1, "x"], 2]},
        ),
        *({"seed": 0, "region": [["a", "b"], [1, 2]]}, {"seed": 0, "region": {"a": 1}}, {"seed": 0, "steps": 10**30}),
    ],
)
def test_masks_of_odd_settings_are_shown_and_not_gone_on_with(data, drawer, tmp_path, settings):
    panel = drawer.sample(CaseFolder(data)[0], 2)
    write_mask_set(tmp_path / "masks" / "a", replace(panel, settings=settings))
    browser = client(tmp_path / "masks", data, drawer)
    source = get(browser, "info")["sources"][0]["id"]
    answer = start(browser, source=source)
    state = {"state": "failed"} if answer.status_code in (409, 422) else finished(browser, answer)
    assert state["state"] == "failed"
    assert drawn(browser, source=source)["samples"] == 2


def listed(browser):
    """The first case of the list, as soon as it is worked out."""
    deadline = time.monotonic() + PATIENCE
    while (page := get(browser, "cases", limit=1))["computing"] and time.monotonic() < deadline:
        time.sleep(0.02)
    return page["items"][0]


def test_the_list_knows_of_what_was_drawn(data, drawer):
    browser = client(data, model=drawer)
    assert listed(browser)["samples"] == 0
    finished(browser, start(browser))
    assert listed(browser)["samples"] == 2


def test_events_tell_progress_until_the_end(data, drawer):
    browser = client(data, model=drawer)
    job = start(browser).json()["id"]
    answer = browser.get(f"/api/v1/jobs/{job}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    states = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: ")]
    assert states[-1] == {"state": "finished", "done": 3, "total": 3, "reason": None}


@pytest.fixture
def slow(monkeypatch):
    """Every look of a job at the image takes a moment, so that there is time to do something meanwhile."""
    true = jobs.Job.tick

    def tick(job, done, total):
        time.sleep(0.3)
        true(job, done, total)

    monkeypatch.setattr(jobs.Job, "tick", tick)


@pytest.mark.usefixtures("slow")
def test_cancel_stops_and_leaves_nothing(data, drawer):
    browser = client(data, model=drawer)
    answer = start(browser)
    assert browser.delete(f"/api/v1/jobs/{answer.json()['id']}").status_code == 200
    assert finished(browser, answer)["state"] == "cancelled"
    assert drawn(browser)["samples"] == 0


def test_cancel_after_the_last_look_leaves_nothing_either(data, drawer, monkeypatch):
    true = jobs.sampling().sample_study

    def cancelled_late(*args):
        more = true(*args)
        assert browser.delete(f"/api/v1/jobs/{get(browser, 'info')['job']['id']}").status_code == 200
        return more

    monkeypatch.setattr(jobs.sampling(), "sample_study", cancelled_late)
    browser = client(data, model=drawer)
    assert finished(browser, start(browser))["state"] == "cancelled"
    assert drawn(browser)["samples"] == 0


def test_a_room_that_closes_lets_go_of_who_follows_a_drawing_and_ends_it(data, drawer, monkeypatch):
    gate, true = Event(), jobs.Job.tick
    monkeypatch.setattr(jobs.Job, "tick", lambda *args: (gate.wait(PATIENCE), true(*args)))
    closing = room(data, model=drawer)
    browser = visit(closing)
    answer = start(browser)
    with ThreadPoolExecutor(1) as pool:
        followed = pool.submit(browser.get, f"/api/v1/jobs/{answer.json()['id']}/events")
        closing.close()
        assert "cancelled" not in followed.result(PATIENCE).text
    gate.set()
    assert finished(browser, answer)["state"] == "cancelled"


@pytest.mark.usefixtures("slow")
def test_a_page_that_comes_later_is_told_of_the_job(data, drawer):
    browser = client(data, model=drawer)
    answer = start(browser)
    assert get(browser, "info")["job"] == {"id": answer.json()["id"], "case": name_id("a"), "source": "drawn"}
    finished(browser, answer)
    assert get(browser, "info")["job"] is None


@pytest.mark.usefixtures("slow")
def test_one_job_at_a_time(data, drawer):
    browser = client(data, model=drawer)
    first = start(browser)
    second = start(browser)
    assert (second.status_code, second.headers["content-type"]) == (409, "application/problem+json")
    finished(browser, first)
    assert finished(browser, start(browser))["state"] == "finished"


def test_without_a_model_the_reason_is_given(data):
    answer = start(client(data))
    assert (answer.status_code, answer.json()["detail"]) == (409, "no model is served; start with --model")


def test_a_model_that_is_missing_gives_its_reason(data):
    browser = client(data, model="no-such-model")
    deadline = time.monotonic() + PATIENCE
    while (said := get(browser, "info")["model"])["loading"] and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (said["name"], said["ready"]) == ("no-such-model", False)
    assert "expected a built-in name" in said["reason"]


def test_without_an_image_nothing_can_be_drawn(tmp_path, drawer):
    write_set(tmp_path / "masks", "a", squares(3, size=(SIZE, SIZE)))
    answer = start(client(tmp_path / "masks", model=drawer))
    assert (answer.status_code, "--data" in answer.json()["detail"]) == (409, True)


def test_a_model_of_crops_needs_a_region(data):
    crops = tiny(images="lesion-crops")
    browser = client(data, model=crops)
    assert start(browser, "large").status_code == 422
    assert drawn(browser, "large")["needs_region"]
    assert finished(browser, start(browser, "large", region="20,20"))["state"] == "finished"
    assert drawn(browser, "large")["settings"]["region"] == [[12, 28], [12, 28], [0, 1]]
    assert not drawn(browser, "large")["needs_region"]
    assert finished(browser, start(browser, "large"))["state"] == "finished"
    assert drawn(browser, "large")["samples"] == 4


def test_samples_of_another_region_are_not_appended(data, drawer):
    browser = client(data, model=drawer)
    finished(browser, start(browser, "large", region="20,20"))
    state = finished(browser, start(browser, "large", region="10,10"))
    assert (state["state"], state["reason"]) == (
        "failed",
        "the samples that are there were drawn with other settings",
    )
    assert drawn(browser, "large")["samples"] == 2


@pytest.mark.parametrize("region", ["x", "1,2,3,4", "900,900"])
def test_a_region_that_cannot_be_is_said(data, drawer, region):
    browser = client(data, model=drawer)
    answer = start(browser, "large", region=region)
    said = answer.json().get("detail") or finished(browser, answer)["reason"]
    assert "expected" in said


@pytest.mark.parametrize(
    "asked", [{"count": 0}, {"count": 257}, {"count": "2"}, {"count": 2.5}, {"more": 1}, {"whole": 1}, {"source": "x"}]
)
def test_a_request_out_of_range_is_refused(data, drawer, asked):
    assert start(client(data, model=drawer), **asked).status_code in (404, 422)


def test_an_unknown_job_is_a_problem(data):
    browser = client(data)
    assert [browser.get(f"/api/v1/jobs/x{end}").status_code for end in ("", "/events")] == [404, 404]
    assert browser.delete("/api/v1/jobs/x").status_code == 404


def test_an_accident_is_said_without_its_details(data, drawer, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("patient Doe")

    monkeypatch.setattr(model, "sample_seeds", broken)
    browser = client(data, model=drawer)
    state = finished(browser, start(browser))
    assert (state["state"], state["reason"]) == ("failed", "the drawing stopped; the terminal says why")


def test_a_representative_panel_takes_the_place_of_what_is_drawn_here(data, drawer):
    """And independent draws begin anew where one is."""
    browser = client(data, model=drawer)
    finished(browser, start(browser, count=2))
    assert finished(browser, start(browser, count=3, panel="representative"))["state"] == "finished"
    found, truth = drawn(browser), drawer.sample(CaseFolder(data)[0], 3, panel="representative")
    assert found["seeds"] == [str(seed) for seed in truth.seeds]
    assert found["shares"] == pytest.approx(truth.shares)
    scores = {one["key"]: one["value"] for one in get(browser, case("a", "scores"), source="drawn")["values"]}
    assert scores["ged_u"] is None
    assert scores["ged_v"] is not None
    assert listed(browser)["score"] is None
    assert finished(browser, start(browser, count=2))["state"] == "finished"
    found, truth = drawn(browser), drawer.sample(CaseFolder(data)[0], 2)
    assert (found["shares"], found["seeds"]) == (None, [str(seed) for seed in truth.seeds])


def test_a_representative_panel_never_joins_masks_on_disk(data, drawer, tmp_path):
    write_mask_set(tmp_path / "masks" / "a", drawer.sample(CaseFolder(data)[0], 2, seed=7))
    browser = client(tmp_path / "masks", data, drawer)
    source = get(browser, "info")["sources"][0]["id"]
    assert finished(browser, start(browser, source=source, panel="representative"))["state"] == "finished"
    assert (drawn(browser, source=source)["samples"], drawn(browser)["shares"] is None) == (2, False)


def test_more_masks_than_the_pool_has_are_refused(data, drawer):
    answer = start(client(data, model=drawer), count=65, panel="representative")
    assert answer.status_code == 422
    assert "pool: expected at least 65 masks to choose from, got 64" in answer.json()["detail"]


def test_samples_drawn_as_another_reader_take_the_place_of_what_is_drawn_here(data):
    known = tiny(method={"name": "one-pass", "readers": ["Ann", "Ben"]} | SMALL["one-pass"], sampler=None)
    browser = client(data, model=known)
    assert get(browser, "info")["model"]["readers"] == ["Ann", "Ben"]
    for asked, samples in (({}, 2), ({"reader": "Ben"}, 2), ({"reader": "Ben"}, 4)):
        answer = start(browser, **asked)
        assert (answer.json()["source"], finished(browser, answer)["state"]) == ("drawn", "finished")
        assert (drawn(browser)["samples"], drawn(browser)["settings"].get("reader")) == (samples, asked.get("reader"))
    sizes = known.as_reader("Ben").sample(CaseFolder(data)[0], 4).masks.sum((1, 2))
    assert drawn(browser)["sizes"] == sizes.tolist()
    answer = start(browser, reader="Cleo")
    assert (answer.status_code, "expected one of Ann, Ben, got Cleo" in answer.json()["detail"]) == (422, True)
