"""The page as a reader and an attacker meet it: what it says and shows, that it stands alone, that names stay names."""

import base64
import hashlib
import io
import math
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from plurimask.errors import InputError
from plurimask.evaluation import COLUMNS, GENERAL_CONVENTIONS, HEADLINE, CaseScores, Scores, compare, evaluate
from plurimask.geometry import Grid
from plurimask.records import Case, MaskSet
from plurimask.show.cases import EACH, FEW, STRIP_LENGTH, card_of, cases_to_show, write_report
from plurimask.show.raster import frequency_colours
from plurimask.show.tables import number

GRID = Grid.plane((24, 24), 0.5)
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
VOID = {"meta", "br", "link", "img", "input", "hr"}


def disc(radius: float, grid: Grid = GRID) -> np.ndarray:
    """A disc in the middle of every slice; empty for radius 0."""
    rows, columns = np.indices(grid.shape)[:2]
    return (rows - 12) ** 2 + (columns - 12) ** 2 < radius**2


def make_case(name: str, patient: str | None = None, grid: Grid = GRID) -> Case:
    image = np.random.default_rng(0).normal(size=(1, *grid.shape)).astype(np.float32)
    return Case(name, image, np.stack([disc(4, grid), disc(5, grid), disc(0, grid)]), grid, patient)


def make_panel(name: str, count: int = 4, grid: Grid = GRID, **more: object) -> MaskSet:
    masks = np.stack([disc(0 if k == 0 else 3 + k % 4, grid) for k in range(count)])
    return MaskSet(name, masks, grid, **{"method": "cimd", "seeds": tuple(range(count)), **more})


class Page(HTMLParser):
    """Tags with attributes, and text outside of scripts and styles, of a page whose tags must close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"script", "style"} & set(self.open):
            self.text = " ".join((self.text + data).split()) + " " * data[-1:].isspace()

    @property
    def rows(self) -> list[list[str]]:
        rows = re.findall(r"<tr.*?>(.*?)</tr>", self.html, flags=re.DOTALL)
        return [re.findall(r"<t[hd].*?>(.*?)</t[hd]>", row, flags=re.DOTALL) for row in rows]

    def all(self, tag: str, **attributes: str) -> list[dict[str, str | None]]:
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return [found for name, found in self.tags if name == tag and wanted.items() <= found.items()]


@pytest.fixture(scope="module")
def render(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Page]:
    def run(cases: list[Case], panels: list[MaskSet], **more: object) -> Page:
        path = tmp_path_factory.mktemp("report") / "report.html"
        by_name = {case.name: case for case in cases}
        write_report(evaluate(panels, by_name), path, {one.name: one for one in panels}, by_name, **more)
        return Page(path.read_text(encoding="utf-8"))

    return run


@pytest.fixture(scope="module")
def page(render: Callable[..., Page]) -> Page:
    return render([make_case("one"), make_case("two")], [make_panel("one"), make_panel("two")])


def test_every_tag_is_closed_in_order(page: Page) -> None:
    assert page.open == []


def test_ids_are_unique_and_every_reference_leads_to_one(page: Page) -> None:
    ids = [found["id"] for _, found in page.tags if "id" in found]
    references = {
        str(found[key]).removeprefix("#")
        for _, found in page.tags
        for key in ("href", "aria-labelledby")
        if key in found
    }
    assert len(ids) == len(set(ids))
    assert {name for name in references if not name.startswith("data:")} <= set(ids)


def test_page_asks_nothing_of_the_network(page: Page) -> None:
    addresses = [str(value) for _, found in page.tags for key, value in found.items() if key in ("src", "href")]
    assert all(address.startswith(("#", "data:image/png;base64,")) for address in addresses)
    assert not re.search(r"url\(|@import|https?://", page.html)


def test_policy_lets_only_the_page_s_own_script_run(page: Page) -> None:
    (policy,) = [found["content"] for found in page.all("meta") if found.get("http-equiv") == "Content-Security-Policy"]
    (script,) = re.findall(r"<script>(.*?)</script>", page.html, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in str(policy)
    assert "default-src 'none'" in str(policy)


def test_names_from_files_stay_text(render: Callable[..., Page]) -> None:
    evil = '"><script>alert(1)</script><img src=x onerror=alert(2)>'
    page = render(
        [make_case(evil)],
        [make_panel(evil, method=evil, settings={evil: evil})],
        title=evil,
        data={evil: evil},
        notes=[evil],
    )
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert page.text.count(evil) >= 7


def test_patient_is_not_on_the_page(render: Callable[..., Page]) -> None:
    cases = [make_case("scan-MRN0042-left", patient="mrn0042"), make_case("other", patient="Jane Roe")]
    page = render(cases, [make_panel(case.name) for case in cases])
    assert "mrn0042" not in page.html.casefold()
    assert "Roe" not in page.html
    assert [page.text.count(name) >= 2 for name in ("case 1", "other")] == [True, True]
    assert "case 1, row 1" in page.text  # of scores.csv, which has its name


def test_summary_holds_every_row_and_figure_of_the_table(render: Callable[..., Page]) -> None:
    case, panel = make_case("one"), make_panel("one")
    scores = evaluate([panel], {"one": case})
    page = render([case], [panel])
    expected = [
        [row.label, *(number(row.values[key]) if key in row.values else "\N{EN DASH}" for key in HEADLINE)]
        for row in scores.table
    ]
    assert page.rows[1 : 1 + len(expected)] == [
        [text.replace("-", "\N{MINUS SIGN}") for text in row] for row in expected
    ]


def test_heading_states_the_number_of_samples_and_the_estimators(page: Page) -> None:
    assert "N = 4 samples a case" in page.text
    assert "V-GED (V-statistic)" in page.text
    assert "U-GED (U-statistic)" in page.text


def test_conventions_of_the_scores_are_all_given(page: Page) -> None:
    meanings = [column.convention for column in COLUMNS.values()] + list(GENERAL_CONVENTIONS.values())
    assert [meaning for meaning in meanings if meaning not in page.text] == []


def test_intervals_of_the_headline_values_are_given(render: Callable[..., Page]) -> None:
    cases = [make_case("one", patient="p1"), make_case("two", patient="p2")]
    panels = [make_panel("one"), make_panel("two")]
    scores = evaluate(panels, {case.name: case for case in cases})
    low, high = scores.intervals["dice_max"]
    assert f"{low:.3f} to {high:.3f}" in render(cases, panels).text


def test_undefined_scores_are_dashes_and_counted(render: Callable[..., Page]) -> None:
    case = make_case("one")
    single = Case("one", case.image, case.readers[:1], GRID)
    page = render([single], [make_panel("one")])
    assert "is undefined in 1 of 1 cases" in page.text


def test_card_says_how_often_nothing_was_drawn(page: Page) -> None:
    assert page.text.count("Nothing drawn: 1 of 4 samples, 1 of 3 readers") == 2


def test_sizes_are_given_in_mm2_where_spacing_is_known(page: Page) -> None:
    areas = [disc(radius).sum() * 0.25 for radius in (4, 5)]
    assert f"readers {np.median(areas):.0f} mm² ({areas[0]:.0f} to {areas[1]:.0f})" in page.text


def test_sizes_are_pixels_and_no_scale_bar_is_drawn_without_spacing(render: Callable[..., Page]) -> None:
    grid = Grid((24, 24))
    page = render([make_case("one", grid=grid)], [make_panel("one", grid=grid)])
    assert f"({disc(4).sum()} to {disc(5).sum()})" in page.text
    assert page.all("path", class_="bar") == []


def test_scale_bar_has_its_length_in_voxels(page: Page) -> None:
    """The close-up is 14 voxels of 0.5 mm wide, so that the bar is 2 mm: 4 voxels."""
    assert str(page.all("path", class_="bar")[0]["d"]).endswith("h4.0")
    assert "2 mm" in page.text


def test_every_sample_is_outlined_once_and_used_in_the_strip(page: Page) -> None:
    assert len([found for found in page.all("path") if str(found.get("id", "")).startswith("sample-1-")]) == 3
    assert len([found for found in page.all("use") if str(found["href"]).startswith("#sample-1-")]) == 3
    assert len(page.all("svg", aria_label="Sample 1")) == 0
    assert [len([s for s in page.all("svg") if s.get("aria-label") == f"Sample {k}"]) for k in range(1, 5)] == [2] * 4


def test_sizes_under_the_strip_stand_without_their_unit_which_the_heading_says(page: Page) -> None:
    assert "Samples by size, in mm²" in page.text
    strip = page.html.partition('<ol class="strip">')[2].partition("</ol>")[0]
    assert "mm²" not in strip


def test_long_strip_is_thinned_and_says_so(render: Callable[..., Page]) -> None:
    page = render([make_case("one")], [make_panel("one", count=60)])
    assert f"({STRIP_LENGTH} of 60, evenly spaced)" in page.text


def test_frequency_map_holds_the_colour_of_each_count(page: Page) -> None:
    found = page.all("image", class_="map")[0]
    data = base64.b64decode(str(found["href"]).partition(",")[2])
    counts = make_panel("one").masks.sum(axis=0)
    x, y, width, height = (int(str(found[key])) for key in ("x", "y", "width", "height"))
    expected = np.round(frequency_colours(4) * 255)[counts[y : y + height, x : x + width]]
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(data))), expected)


def test_every_picture_has_a_text_in_its_place(page: Page) -> None:
    pictures = [*page.all("svg", role="img"), *page.all("svg", role="group")]
    assert len(pictures) == 2 * (4 + 4 + 1) + 2
    assert all(found["aria-label"] for found in pictures)


def test_settings_name_method_checkpoint_seeds_and_sampler(render: Callable[..., Page]) -> None:
    panel = make_panel("one", checkpoint="ab" * 32, settings={"sampler": "ddim", "steps": 20})
    text = render([make_case("one")], [panel], data={"digest": "cd"}).text
    for entry in (
        "method cimd",
        f"checkpoint (sha256) {'ab' * 32}",
        "seeds 0 to 3",
        "sampler ddim",
        "steps 20",
        "data, digest cd",
    ):
        assert entry.replace(" ", "") in text.replace(" ", "")


def test_seeds_that_differ_by_case_are_listed(render: Callable[..., Page]) -> None:
    panels = [make_panel("one"), make_panel("two", seeds=(9, 3, 4, 1))]
    assert "0 to 3; 9, 3, 4, 1" in render([make_case("one"), make_case("two")], panels).text


def test_foot_says_research_only_and_repeats_the_notes(render: Callable[..., Page]) -> None:
    text = render([make_case("one")], [make_panel("one")], notes=["LIDC-IDRI, CC BY 3.0"]).text
    assert "For research use only" in text
    assert "LIDC-IDRI, CC BY 3.0" in text


def test_volume_shows_one_slice_and_says_which(render: Callable[..., Page]) -> None:
    grid = Grid((24, 24, 3), np.diag([0.5, 0.5, 2.0, 1.0]))
    page = render([make_case("one", grid=grid)], [make_panel("one", grid=grid)])
    assert "slice 1 of 3" in page.text
    assert "mm³" in page.text


class Counted(dict):
    """A mapping that remembers what was read of it."""

    def __init__(self, *content: object) -> None:
        super().__init__(*content)
        self.read: list[str] = []

    def __getitem__(self, name: str) -> object:
        self.read.append(name)
        return super().__getitem__(name)


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> tuple[Page, Counted, Counted, Scores]:
    """The page of twenty cases, of whose four masks each three were scored, beside another method."""
    patients = {f"case-{k:02d}": f"p{k}" for k in range(19)} | {"case-P77": "P77"}
    cases = Counted({name: make_case(name, patient) for name, patient in patients.items()})
    panels = Counted({name: make_panel(name) for name in cases})
    scores = evaluate([make_panel(name) for name in cases], dict(cases), 3)
    others = evaluate([make_panel(name, 3, method="other") for name in cases], dict(cases))
    path = tmp_path_factory.mktemp("evaluation") / "report.html"
    write_report(scores, path, panels, cases, {"digest": "ab12", "limit": None}, compare(scores, others))
    return Page(path.read_text(encoding="utf-8")), panels, cases, scores


def test_evaluation_reads_the_cases_that_it_shows_and_no_others(evaluation: tuple) -> None:
    _, panels, cases, scores = evaluation
    shown = list(cases_to_show(scores.rows))
    assert (panels.read, cases.read) == (shown, shown)
    assert len(shown) < len(cases)


def test_evaluation_shows_the_masks_that_were_scored(evaluation: tuple) -> None:
    assert "all 3 outlines" in evaluation[0].text
    assert "all 4 outlines" not in evaluation[0].text


def test_evaluation_says_why_each_case_is_shown(evaluation: tuple) -> None:
    page, _, _, scores = evaluation
    assert all(reason and reason in page.text for reason in cases_to_show(scores.rows).values())


def test_evaluation_names_what_was_scored_as_far_as_it_is_known(evaluation: tuple) -> None:
    assert "data, digestab12" in evaluation[0].text.replace("\n", "")
    assert "data, limit" not in evaluation[0].text


def test_comparison_stands_with_both_methods_and_the_difference(evaluation: tuple) -> None:
    text = evaluation[0].text
    assert "Beside other" in text
    assert "A is cimd, B is other, on the 20 cases that both have" in text


def test_every_tag_of_an_evaluation_is_closed_in_order(evaluation: tuple) -> None:
    assert evaluation[0].open == []


def test_patient_of_a_case_that_is_only_scored_is_not_on_the_page(evaluation: tuple) -> None:
    assert "case-P77" not in cases_to_show(evaluation[3].rows)
    assert "P77" not in evaluation[0].html
    assert "of 20 scored cases are shown" in evaluation[0].text


def test_cases_that_nobody_read_are_shown(render: Callable[..., Page]) -> None:
    bare = [Case(name, make_case(name).image, np.zeros((0, 24, 24), bool), GRID) for name in ("a", "b")]
    text = render(bare, [make_panel("a"), MaskSet("b", np.zeros((4, 24, 24), bool), GRID)]).text
    assert "nobody read this case" in text
    assert "Nothing drawn: 4 of 4 samples" in text


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium to run the page's script")
@pytest.mark.parametrize(
    ("clicks", "expected"),
    [(1, ["\N{MINUS SIGN}0.5", "0.2", "\N{EN DASH}"]), (2, ["0.2", "\N{MINUS SIGN}0.5", "\N{EN DASH}"])],
)
def test_headings_sort_by_number_with_undefined_last(tmp_path: Path, clicks: int, expected: list[str]) -> None:
    script = files("plurimask").joinpath("show/templates/report.js").read_text(encoding="utf-8")
    body = "".join(f"<tr><td>{value}</td></tr>" for value in ("0.2", "\N{EN DASH}", "\N{MINUS SIGN}0.5"))
    table = f"<table class=sortable><thead><tr><th>GED</th></tr></thead><tbody>{body}</tbody></table>"
    click = "document.querySelector('th button').click();" * clicks
    page = tmp_path / "page.html"
    page.write_text(f"<meta charset=utf-8>{table}<script>{script}{click}</script>", encoding="utf-8")
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    shown = subprocess.run([str(CHROMIUM), *options, page.as_uri()], capture_output=True, timeout=60, check=True)
    assert re.findall(r"<td>(.*?)</td>", shown.stdout.decode()) == expected


def test_a_panel_of_another_grid_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    case, panel = make_case("one"), make_panel("one")
    scores, other = evaluate([panel], {"one": case}), make_panel("one", grid=Grid((24, 24, 1)))
    with pytest.raises(InputError, match="expected the panel of case one"):
        write_report(scores, tmp_path / "report.html", {"one": other}, {"one": case})
    assert list(tmp_path.iterdir()) == []


def row(name, ged_v, ci=0.5, d_yy=0.5, drawn=4, size=50.0, readers=4):
    return CaseScores(name, "p", readers, drawn, size, 16, {"ged_v": ged_v, "ci": ci, "d_yy": d_yy})


MANY = [row(f"plain-{k:02d}", 0.5 + 0.001 * k) for k in range(30)]


def test_few_cases_are_all_shown_without_a_reason():
    rows = MANY[:FEW]
    assert cases_to_show(rows) == {one.name: "" for one in rows}


@pytest.mark.parametrize(
    ("special", "reason"),
    [
        (row("x", 1.9), "largest V-GED"),
        (row("x", 0.01), "lowest V-GED where most readers drew"),
        (row("x", 0.52, d_yy=0.9), "readers differ most"),
        (row("x", 0.52, drawn=0, size=math.nan), "nobody or a single reader drew"),
        (row("x", 0.52, size=2.0), "smallest lesion that most readers drew"),
        (row("x", 0.503, ci=0.0), "V-GED and CI rank it most differently"),
    ],
)
def test_a_case_of_each_kind_is_found_among_many(special, reason):
    assert cases_to_show([*MANY, special])["x"] == reason


def test_so_many_of_a_kind_are_shown_and_each_once():
    shown = cases_to_show([*MANY, row("empty", 1.9, drawn=0, size=math.nan)])
    assert next(iter(shown)) == "empty"
    assert max(list(shown.values()).count(reason) for reason in shown.values()) == EACH
    assert len(shown) <= 6 * EACH


def test_cases_that_nobody_read_do_not_disturb_the_choice():
    unread = [row(f"unread-{k}", math.nan, math.nan, math.nan, 0, math.nan, 0) for k in range(20)]
    assert cases_to_show(unread) == {}
    assert not [name for name in cases_to_show([*unread, *MANY]) if name.startswith("unread")]


def test_card_of_a_volume_keeps_a_plane_of_it_alone():
    grid = Grid((8, 8, 50))
    masks = np.zeros((3, *grid.shape), dtype=bool)
    masks[:, 2:5, 2:5, 20:22] = True
    case = Case("v", np.random.default_rng(0).normal(size=(1, *grid.shape)).astype(np.float32), masks[:2], grid)
    view = card_of(1, case, MaskSet("v", masks, grid), row("v", 0.5)).view
    assert view.samples.base is None or view.samples.base.nbytes <= view.samples.nbytes
    assert view.readers.base is None or view.readers.base.nbytes <= view.readers.nbytes
