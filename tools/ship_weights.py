"""Make built-in weights and their card from a run: half precision, figures from `plurimask evaluate`.

    python tools/ship_weights.py weights RUN/last.safetensors NAME --sampler ddim --steps 10
    python tools/ship_weights.py card RUN NAME --recipe RECIPE --data lidc --history "..." --scores scores/summary.json

The weights come first; the figures are then measured on what is shipped, and go into the card beside it.
"""

import json
from pathlib import Path
from typing import Annotated

import torch
import typer
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.sampling import load
from plurimask.show.charts import training_figure
from plurimask.training.checkpoint import load_weights, save_weights
from plurimask.training.run import RunFolder

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "src/plurimask/weights"
app = typer.Typer()


@app.command()
def weights(
    checkpoint: Path,
    name: str,
    sampler: Annotated[str | None, typer.Option(help="Of a diffusion, chosen on validation cases.")] = None,
    steps: Annotated[int | None, typer.Option(help="Of the sampler.")] = None,
) -> None:
    """Write the averaged weights of a checkpoint in half precision."""
    trained = load_weights(checkpoint)
    chosen = trained.recipe.sampler if sampler is None else SamplerSettings(name=sampler, steps=steps)
    recipe = trained.recipe.model_copy(update={"sampler": chosen})
    save_weights(WEIGHTS / f"{name}.safetensors", trained.method, recipe, trained.step, trained.data, torch.float16)


@app.command()
def card(
    run: Path,
    name: str,
    recipe: Annotated[str, typer.Option(help="The recipe's name, for the commands that reproduce.")],
    data: Annotated[str, typer.Option(help="One of the data sections of the card's template.")],
    history: Annotated[str, typer.Option(help="How the run went: hours, interruptions, what was changed on resuming.")],
    scores: Annotated[list[Path], typer.Option(help="summary.json of `plurimask evaluate`, one for each N.")],
    changes: Annotated[list[str] | None, typer.Option("--set", help="What was changed in the recipe.")] = None,
) -> None:
    """Write the model card and the figure of the training curves."""
    folder = RunFolder(run)
    model = load(name)
    training_figure(folder.metrics).savefig(ROOT / f"docs/figures/{name}-training.png", dpi=120)
    environment = Environment(loader=FileSystemLoader(ROOT / "tools"), undefined=StrictUndefined, trim_blocks=True)
    text = environment.get_template("model_card.md.j2").render(
        name=name,
        recipe_name=recipe,
        data=data,
        history=history,
        changes=changes or [],
        checkpoint=model.checkpoint,
        settings=model.recipe,
        split=json.loads(folder.split.read_text(encoding="utf-8")),
        last=folder.lines("train")[-1],
        validations=folder.lines("val"),
        summaries=[json.loads(path.read_text(encoding="utf-8")) for path in scores],
        megabytes=(WEIGHTS / f"{name}.safetensors").stat().st_size / 1e6,
        parameters=sum(parameter.numel() for parameter in model.method.parameters()),
        one_pass=model.recipe.method.name == "one-pass",
    )
    (WEIGHTS / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    app()
