"""Drawing further samples with the shipped model, in few steps: they join, a cancelled draw adds nothing, refusals."""

import threading

import numpy as np
import pytest
from hands import drag, open_case, shown, state_of
from rooms import panel, planes, serving, write_images

from plurimask.files.mask_sets import write_mask_set
from plurimask.geometry import Grid
from plurimask.records import Case
from plurimask.sampling import load
from plurimask.seeds import sample_seeds
from plurimask.viewer import jobs

READY = "#draw .row button:enabled"


@pytest.fixture(scope="module")
def drawing(tmp_path_factory):
    """Four samples of two steps each for a shipped plane, others of unknown origin, and a plane without any."""
    root = tmp_path_factory.mktemp("drawing")
    cases = write_images(root / "data", [*planes("demo-01"), large()])
    case, model = cases["demo-01"], load("lidc-cimd")
    few = model.sample(case, 4, sampler=model.sampler(steps=2))
    write_mask_set(root / "masks" / "few" / case.name, few)
    write_mask_set(root / "masks" / "other" / case.name, panel(case, 4, 1))
    with serving(root, root.parent / "saved", root / "data", "lidc-cimd", cases, {"few": {case.name: few}}) as place:
        yield place


def large():
    """A plane that is larger than what the model sees at once."""
    (case,) = planes("demo-01")
    image = np.pad(case.image, ((0, 0), (10, 22), (30, 10)), mode="edge")
    return Case("large", image, np.zeros((0, *image.shape[1:]), bool), Grid(image.shape[1:], case.grid.affine))


@pytest.fixture
def held(monkeypatch):
    """The model looks at an image once, and goes on when this event is set."""
    gate, true = threading.Event(), jobs.Job.tick

    def tick(job, done, total):
        true(job, done, total)
        gate.wait(60)

    monkeypatch.setattr(jobs.Job, "tick", tick)
    yield gate
    gate.set()


def samples(page):
    return state_of(page, "description")["samples"]


def start(page, count):
    page.wait_for_selector(READY)
    page.get_by_role("button", name=f"Draw {count} more samples").click()


def is_over(page):
    """Wait until nothing is being drawn; what was said of it."""
    page.wait_for_selector("#draw .drawing", state="hidden")
    shown(page)
    return page.locator("#said").inner_text()


def test_samples_join_without_a_reload(drawing, page):
    open_case(page, drawing.to("demo-01", "few"))
    page.evaluate("window.isTheSamePage = true")
    before = samples(page)
    start(page, 4)
    page.locator(".facts", has_text=f"{before + 4} samples").wait_for()
    seeds = sample_seeds(drawing.cases["demo-01"].content, 0, before + 4)
    assert state_of(page, "description")["seeds"] == [str(seed) for seed in seeds]
    assert page.locator("#film [role=option]").count() == before + 4
    assert page.evaluate("window.isTheSamePage")


def test_a_cancelled_draw_adds_nothing(drawing, page, held):
    open_case(page, drawing.to("demo-01", "few"))
    before = samples(page)
    start(page, 16)
    page.locator("#draw .drawing", has_text="left").wait_for()
    with page.expect_response(lambda answer: answer.request.method == "DELETE"):
        page.get_by_role("button", name="Cancel; nothing is added").click()
    held.set()
    assert is_over(page) == "Cancelled: nothing was added"
    page.reload()
    shown(page)
    assert samples(page) == before


def test_a_cancel_that_the_server_did_not_hear_can_be_tried_again(drawing, page, held):
    open_case(page, drawing.to("demo-01", "few"))
    start(page, 16)
    page.locator("#draw .drawing", has_text="left").wait_for()
    cancel = page.get_by_role("button", name="Cancel; nothing is added")
    page.route("**/jobs/*", lambda route: route.abort())
    cancel.click()
    page.locator("#draw .fault", has_text="The server does not answer").wait_for()
    page.unroute("**/jobs/*")
    cancel.click()
    held.set()
    assert is_over(page) == "Cancelled: nothing was added"


def test_a_server_that_falls_silent_while_it_draws_is_said(drawing, page, held):
    page.route("**/jobs/*/events", lambda route: route.abort())
    open_case(page, drawing.to("demo-01", "few"))
    start(page, 4)
    page.locator("#draw .drawing", has_text="the server does not answer").wait_for()
    page.unroute("**/jobs/*/events")
    page.locator("#draw .drawing", has_text="left").wait_for()
    held.set()
    is_over(page)


def test_a_page_that_is_loaded_again_finds_what_is_being_drawn(drawing, page, held):
    open_case(page, drawing.to("demo-01", "few"))
    before = samples(page)
    start(page, 4)
    page.locator("#draw .drawing", has_text="left").wait_for()
    page.reload()
    page.locator("#draw .drawing", has_text="left").wait_for()
    held.set()
    page.locator(".facts", has_text=f"{before + 4} samples").wait_for()


def test_samples_of_another_origin_are_refused_with_a_way_on(drawing, page):
    open_case(page, drawing.to("demo-01", "other"))
    start(page, 4)
    page.locator("#draw .fault", has_text="These samples were not drawn by lidc-cimd").wait_for()
    page.get_by_role("button", name="Show what is drawn here").click()
    page.locator(".facts", has_text="0 samples").or_(page.get_by_text("No samples have been drawn")).first.wait_for()
    assert page.url == drawing.to("demo-01", "drawn")


def test_without_a_model_the_reason_is_said(room, page):
    open_case(page, room.to("demo-01", "first"))
    page.locator("#draw", has_text="No model is served; start with --model.").wait_for()
    assert page.locator(READY).count() == 0


def test_a_model_is_waited_for_and_pointed_at_a_region(drawing, page, monkeypatch):
    gate, true = threading.Event(), jobs.sampling().load
    monkeypatch.setattr(jobs.sampling(), "load", lambda *args: (gate.wait(60), true(*args))[1])
    root = drawing.out.parent
    with serving(next(root.glob("drawing*")), root / "saved", next(root.glob("drawing*/data")), "lidc-cimd") as place:
        open_case(page, place.to("large", "drawn"))
        page.locator("#draw", has_text="Lidc-cimd is being loaded.").wait_for()
        gate.set()
        page.get_by_label("Region").wait_for()
        assert page.locator(READY).count() == 0
        page.get_by_role("button", name="Point at the lesion").click()
        drag(page, (75, 98))
        assert page.get_by_label("Region").input_value() == "75,98"
        start(page, 4)
        page.locator("#film [role=option]").nth(3).wait_for()
    assert state_of(page, "description")["settings"]["region"] == [[11, 139], [34, 162], [0, 1]]


def test_a_representative_panel_is_shown_as_drawn_here_with_its_shares(tmp_path, page):
    cases = write_images(tmp_path / "data", planes("demo-01"))
    case = cases["demo-01"]
    few = panel(case, 4, 1)
    write_mask_set(tmp_path / "masks" / "few" / case.name, few)
    with serving(
        tmp_path, tmp_path / "saved", tmp_path / "data", "lidc-one-pass", cases, {"few": {case.name: few}}
    ) as room:
        open_case(page, room.to("demo-01", "few"))
        page.get_by_label("a panel that represents a pool").check()
        start(page, 4)
        page.wait_for_url("**source=drawn**")
        page.locator("#film [role=option]", has_text="%").first.wait_for()
        shares = state_of(page, "description")["shares"]
        assert sum(shares) == pytest.approx(1)
        names = page.locator("#film [role=option]").evaluate_all("all => all.map((one) => one.ariaLabel)")
        told = sorted(int(name.split("; ")[1].split("%")[0]) for name in names)
        assert told == sorted(int(100 * share + 0.5) for share in shares)
