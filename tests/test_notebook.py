"""The quickstart notebook runs from its first cell to its last, and is kept without output."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "docs/quickstart.ipynb"


@pytest.fixture(scope="module")
def executed():
    nbclient = pytest.importorskip("nbclient", reason="nbclient runs notebooks; it is in the extra dev")
    pytest.importorskip("ipykernel", reason="ipykernel runs the cells; it is in the extra dev")
    nbformat = pytest.importorskip("nbformat", reason="nbformat reads notebooks; it comes with nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3").execute()
    return notebook


def result(notebook, source):
    """What the cell that ends with `source` shows, by type."""
    (cell,) = (cell for cell in notebook.cells if cell.source.endswith(source))
    return {kind: data for output in cell.outputs if "data" in output for kind, data in output["data"].items()}


def test_every_cell_of_code_runs(executed):
    assert all(cell.execution_count for cell in executed.cells if cell.cell_type == "code")


@pytest.mark.parametrize("record", ["\ncase", "\npanel"])
def test_records_show_themselves(executed, record):
    assert '<img src="data:image/png;base64,' in result(executed, record)["text/html"]


@pytest.mark.parametrize("figure", ["panel_figure(case, panel)", "agreement_figure(case, panel)"])
def test_figures_are_shown(executed, figure):
    assert "image/png" in result(executed, figure)


def test_scores_are_shown_beside_predictors_without_an_image(executed):
    assert "raters resampled" in result(executed, "render_table(scores)")["text/plain"]


def test_the_notebook_is_kept_without_output():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    assert cells
    assert [cell for cell in cells if cell["outputs"] or cell["execution_count"]] == []
