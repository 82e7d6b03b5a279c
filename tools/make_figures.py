"""Make the pictures of the README: readers beside samples.

    python tools/make_figures.py demo
    python tools/make_figures.py lidc --data lidc-slices-128

`demo` shows cases of `plurimask demo`; `lidc` six other slices of test patients (LIDC-IDRI, see NOTICE).
"""

from pathlib import Path
from typing import Annotated

import typer

import plurimask as pm
from plurimask.datasets.demo_cases import demo_cases
from plurimask.datasets.open import choose_cases
from plurimask.show.figures import samples_figure

FIGURES = Path(__file__).parents[1] / "docs/figures"
SAMPLES = 8
app = typer.Typer()


@app.command()
def demo() -> None:
    """Every second case of the demo, by the `lidc` weights."""
    _draw("lidc", demo_cases()[::2], FIGURES / "demo.png")


@app.command()
def lidc(data: Annotated[Path, typer.Option(help="A lidc-slices release.")]) -> None:
    """Six test slices, each of another patient, by the `lidc` weights."""
    cases = choose_cases(pm.open_dataset(data), "test", 6)
    _draw("lidc", list(cases.values()), FIGURES / "lidc.png")


def _draw(name: str, cases: list[pm.Case], path: Path) -> None:
    model = pm.load(name)
    figure = samples_figure(cases, [model.sample(case, SAMPLES) for case in cases])
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    app()
