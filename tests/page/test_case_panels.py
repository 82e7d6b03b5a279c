"""The list, the film strip, agreement, sizes and scores say what NumPy and the package say of the same masks."""

import numpy as np
import pytest
from hands import open_case, state_of
from rooms import VOLUME, serving

from plurimask.evaluation import evaluate
from plurimask.viewer.library import name_id

PLANE = "demo-02"


def area(room, name, masks):
    """Sizes in mm² or mm³, counted here."""
    grid = room.cases[name].grid
    return masks.reshape(len(masks), -1).sum(axis=1) * np.prod(grid.spacing_mm)


def written(value):
    """A size as the page writes it: three digits at least."""
    return f"{value:.0f}" if value >= 1000 else f"{float(f'{value:.3g}'):g}"


def listed(page):
    """Names in the list, once no values are being worked out."""
    page.wait_for_selector(".cases-list[aria-busy=false]")
    return page.locator(".case-name").all_inner_texts()


@pytest.fixture
def cases(room, page):
    """The list of the first source."""
    page.goto(room.address)
    listed(page)
    return page


def test_cases_are_listed_by_name_and_the_broken_one_in_its_place(cases, room):
    assert listed(cases) == sorted([*room.cases, "broken"])
    assert (
        cases.locator(".case[data-broken] .case-facts").inner_text().startswith("expected masks of a case of the data")
    )
    assert cases.locator(".cases-broken summary").inner_text() == "1 case cannot be read"


def test_the_largest_comes_first_by_size_and_the_smallest_the_other_way(cases, room):
    sizes = {name: area(room, name, one.masks).mean() for name, one in room.panels["first"].items()}
    cases.locator(".cases-sort").select_option("size")
    assert listed(cases) == [*sorted(sizes, key=sizes.get, reverse=True), "broken"]
    cases.locator(".cases-order").click()
    assert listed(cases) == [*sorted(sizes, key=sizes.get), "broken"]


def test_every_cell_has_the_picture_of_its_own_case_after_sorting(cases, room):
    cases.locator(".cases-sort").select_option("size")
    listed(cases)
    for cell in cases.locator(".case[href]").all():
        picture = cell.locator("img[src]")
        picture.wait_for()
        assert f"/{name_id(cell.locator('.case-name').inner_text())}/" in picture.get_attribute("src")


def test_one_case_can_be_tabbed_to_and_arrows_and_enter_open_another(cases):
    cases.locator(".cases-order").focus()
    for _ in range(2):  # past the list of those that cannot be read
        cases.keyboard.press("Tab")
    assert cases.locator(".case:focus .case-name").inner_text() == "broken"
    cases.keyboard.press("End")
    assert cases.locator(".case:focus .case-name").inner_text() == VOLUME
    cases.keyboard.press("ArrowLeft")
    cases.keyboard.press("Enter")
    cases.wait_for_selector("canvas[data-slice]")
    assert cases.locator(".case[aria-current=page] .case-name").inner_text() == "demo-05"


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """130 mask sets, and 500 broken ones after them."""
    root = tmp_path_factory.mktemp("long")
    np.savez(root / "good-000.npz", masks=np.zeros((2, 8, 8), bool))
    for number in range(1, 130):
        (root / f"good-{number:03}.npz").write_bytes((root / "good-000.npz").read_bytes())
    for number in range(500):
        (root / f"set-{number:03}.npz").write_bytes(b"no archive")
    with serving(root, root.parent / "saved") as place:
        yield place


def test_a_long_list_has_few_cells_and_reaches_its_end(long, page):
    page.goto(long.address)
    page.wait_for_selector(".case-name:text('good-000')")
    page.evaluate("document.querySelector('.cases-box').scrollTop = 1e9")
    page.wait_for_selector(".case-name:text('set-499')")
    assert page.locator(".cases-list li").count() < 100
    assert page.locator(".cases-list li").last.get_attribute("aria-posinset") == "630"


def test_the_list_shows_where_a_case_stands_and_keys_lead_on_from_there(long, page):
    open_case(page, long.to("good-119"))
    page.wait_for_selector(".case[aria-current=page] .case-name:text('good-119')")
    page.keyboard.press("n")
    page.wait_for_selector(".case[aria-current=page] .case-name:text('good-120')")


@pytest.fixture
def plane(room, page):
    open_case(page, room.to(PLANE, "first"))
    page.wait_for_selector(".film[data-slice]")
    return page


def frames(page):
    """Numbers of the samples in the film strip."""
    return [int(one.get_attribute("data-index")) for one in page.locator(".film-frame").all()]


def marked(page):
    """For each frame of the strip, how many of its pixels have the colour of samples."""
    return page.evaluate(
        """() => [...document.querySelectorAll(".film-frame canvas")].map((canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          let count = 0;
          for (let i = 0; i < data.length; i += 4) count += data[i] - data[i + 2] > 60;
          return count;
        })"""
    )


def test_the_page_is_no_higher_than_its_window(plane):
    assert plane.evaluate("document.documentElement.scrollHeight - innerHeight") == 0


def test_the_strip_has_every_sample_with_its_size_the_largest_of_each_group_first(plane, room):
    sizes = area(room, PLANE, room.panels["first"][PLANE].masks)
    order = frames(plane)
    assert sorted(order) == list(range(len(sizes)))
    captions = plane.locator(".film-frame span").all_inner_texts()
    assert captions == [written(sizes[one]) if sizes[one] else "nothing" for one in order]
    for group in plane.locator(".film-group").all():
        members = [sizes[int(one.get_attribute("data-index"))] for one in group.locator(".film-frame").all()]
        assert members == sorted(members, reverse=True)


def test_a_frame_shows_its_sample_and_an_empty_one_none(plane, room):
    sizes = area(room, PLANE, room.panels["first"][PLANE].masks)
    assert [count > 0 for count in marked(plane)] == [sizes[one] > 0 for one in frames(plane)]


def test_the_strip_follows_the_slice_of_a_volume(room, page):
    open_case(page, room.to(VOLUME, "first"))
    masks = room.panels["first"][VOLUME].masks
    for k in (6, 15):
        page.locator("#slice").fill(str(k))
        page.wait_for_selector(f".film[data-slice='{k}']")
        assert [count > 0 for count in marked(page)] == [bool(masks[one, ..., k].any()) for one in frames(page)]


def test_a_click_selects_a_sample_arrows_lead_on_and_enter_shows_it_alone(plane):
    order = frames(plane)
    plane.locator(".film-frame").nth(1).click()
    assert (state_of(plane, "sample"), state_of(plane, "mode")) == (order[1], "outlines")
    plane.keyboard.press("ArrowRight")
    assert plane.locator(".film-frame[aria-selected=true]").get_attribute("data-index") == str(order[2])
    plane.keyboard.press("Enter")
    assert (state_of(plane, "sample"), state_of(plane, "mode")) == (order[2], "sample")


def test_the_slider_tells_the_size_of_what_at_least_k_samples_hold(plane, room):
    masks = room.panels["first"][PLANE].masks
    plane.locator("#agreement input").focus()
    plane.keyboard.press("Home")
    for level in range(1, len(masks) + 1):
        (size,) = area(room, PLANE, (masks.sum(axis=0) >= level)[None])
        words = f"{written(size)} mm²" if size else "nothing"
        assert plane.locator(".agreement-size b").inner_text() == words
        wanted = f"at least {level} of {len(masks)}: {words}"
        assert plane.locator("#agreement input").get_attribute("aria-valuetext") == wanted
        plane.keyboard.press("ArrowRight")
    assert (state_of(plane, "level"), state_of(plane, "mode")) == (len(masks), "consensus")


def test_sizes_have_a_dot_a_sample_and_a_triangle_a_reader_and_the_selected_one_stands_out(plane, room):
    samples, readers = room.panels["first"][PLANE].masks, room.cases[PLANE].readers
    assert plane.locator(".sizes-plot circle").count() == len(samples)
    assert plane.locator(".sizes-plot path").count() == len(readers)
    plane.locator(".film-frame").first.click()
    assert plane.locator(".sizes-plot .chosen").get_attribute("data-sample") == str(frames(plane)[0])
    drawn = area(room, PLANE, samples[samples.any(axis=(1, 2))])
    said = plane.locator("#sizes p").first.inner_text()
    assert said.startswith(f"Samples: median {written(np.median(drawn))} mm² ({written(drawn.min())} to ")
    assert said.endswith(f"; {len(samples) - len(drawn)} of {len(samples)} drew nothing")


def test_scores_of_two_sources_are_those_of_an_evaluation(room, page):
    open_case(page, room.to(PLANE, "first", "second"))
    page.wait_for_selector(".scores tbody")
    page.locator(".scores-more").click()
    for place, source in enumerate(("first", "second")):
        values = evaluate([room.panels[source][PLANE]], {PLANE: room.cases[PLANE]}).rows[0].values
        shown = page.locator(f".scores tbody tr:first-child td:nth-child({place + 2})").all_inner_texts()
        wanted = ["\N{EN DASH}" if np.isnan(value) else f"{value:z.3f}" for value in values.values()]
        assert [one.replace("\N{MINUS SIGN}", "-") for one in shown] == wanted


def test_how_a_score_is_counted_is_told_at_a_key(plane):
    plane.get_by_role("button", name="U-GED").focus()
    plane.keyboard.press("Enter")
    assert "distinct pairs only" in plane.locator(".scores-note:visible").inner_text()


def test_a_case_that_nobody_read_says_so(page, tmp_path, room):
    with serving(room.out.parent / "run" / "masks" / "second", tmp_path / "saved") as bare:
        open_case(page, bare.to(PLANE))
        assert page.wait_for_selector("#scores p:text('nobody')").inner_text() == "No scores: nobody read this case."
