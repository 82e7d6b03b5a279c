"""plurimask: the panel of experts, as software.

    import plurimask as pm
    panel = pm.load("lidc").sample(image, count=16, seed=0)

Names are imported when they are first used, so that `import plurimask` and `plurimask --help` cost little.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from plurimask.benchmark import load_suite, parse_shard, render_results, run_benchmark, suite_names
    from plurimask.benchmark.report import write_benchmark_report
    from plurimask.datasets.dataset import Dataset
    from plurimask.datasets.demo_cases import demo_cases
    from plurimask.datasets.open import choose_cases, open_dataset
    from plurimask.datasets.splits import read_case_list
    from plurimask.datasets.store import open_store
    from plurimask.demo import run_demo
    from plurimask.diffusion.samplers import SamplerSettings
    from plurimask.evaluation import (
        Comparison,
        Scores,
        compare,
        evaluate,
        write_scores,
    )
    from plurimask.export import export_onnx
    from plurimask.files.locate import Study, mask_sets_at, open_study
    from plurimask.files.mask_sets import MaskSets, read_mask_set, write_mask_set
    from plurimask.geometry import Grid
    from plurimask.panel_files import check_place, write_panel
    from plurimask.prepare.folder import FolderSettings, prepare_folder, survey_folder
    from plurimask.prepare.lidc import lidc_settings, prepare_lidc
    from plurimask.prepare.ms_mri import prepare_ms_mri
    from plurimask.prepare.packings import import_packing
    from plurimask.prepare.phantom import phantom_cases, prepare_phantom
    from plurimask.prepare.survey import render_survey, summarise_survey
    from plurimask.records import Batch, Case, MaskSet
    from plurimask.sampling import (
        Model,
        Pace,
        Region,
        inputs_at,
        load,
        needs_region,
        parse_region,
        sample_study,
    )
    from plurimask.show.cases import write_evaluation_report, write_report
    from plurimask.show.score_figures import write_score_figures
    from plurimask.show.tables import render_comparison, render_scores, render_table
    from plurimask.training.loop import train
    from plurimask.training.recipe import Recipe, load_recipe, recipe_names
    from plurimask.viewer import serve

_HOMES = {
    "benchmark.report": ("write_benchmark_report",),
    "benchmark": ("load_suite", "parse_shard", "render_results", "run_benchmark", "suite_names"),
    "datasets.splits": ("read_case_list",),
    "datasets.dataset": ("Dataset",),
    "datasets.demo_cases": ("demo_cases",),
    "datasets.open": ("choose_cases", "open_dataset"),
    "prepare.phantom": ("phantom_cases", "prepare_phantom"),
    "datasets.store": ("open_store",),
    "demo": ("run_demo",),
    "diffusion.samplers": ("SamplerSettings",),
    "evaluation": (
        "Comparison",
        "Scores",
        "compare",
        "evaluate",
        "write_scores",
    ),
    "export": ("export_onnx",),
    "files.mask_sets": ("MaskSets", "read_mask_set", "write_mask_set"),
    "files.locate": ("Study", "mask_sets_at", "open_study"),
    "geometry": ("Grid",),
    "panel_files": ("check_place", "write_panel"),
    "prepare.folder": ("FolderSettings", "prepare_folder", "survey_folder"),
    "prepare.lidc": ("lidc_settings", "prepare_lidc"),
    "prepare.ms_mri": ("prepare_ms_mri",),
    "prepare.packings": ("import_packing",),
    "prepare.survey": ("render_survey", "summarise_survey"),
    "records": ("Batch", "Case", "MaskSet"),
    "sampling": (
        "Model",
        "Pace",
        "Region",
        "inputs_at",
        "load",
        "needs_region",
        "parse_region",
        "sample_study",
    ),
    "show.cases": ("write_evaluation_report", "write_report"),
    "show.score_figures": ("write_score_figures",),
    "show.tables": ("render_comparison", "render_scores", "render_table"),
    "training.loop": ("train",),
    "training.recipe": ("Recipe", "load_recipe", "recipe_names"),
    "viewer": ("serve",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = [
    "Batch",
    "Case",
    "Comparison",
    "Dataset",
    "FolderSettings",
    "Grid",
    "MaskSet",
    "MaskSets",
    "Model",
    "Pace",
    "Recipe",
    "Region",
    "SamplerSettings",
    "Scores",
    "Study",
    "check_place",
    "choose_cases",
    "compare",
    "demo_cases",
    "evaluate",
    "export_onnx",
    "import_packing",
    "inputs_at",
    "lidc_settings",
    "load",
    "load_recipe",
    "load_suite",
    "mask_sets_at",
    "needs_region",
    "open_dataset",
    "open_store",
    "open_study",
    "parse_region",
    "parse_shard",
    "phantom_cases",
    "prepare_folder",
    "prepare_lidc",
    "prepare_ms_mri",
    "prepare_phantom",
    "read_case_list",
    "read_mask_set",
    "recipe_names",
    "render_comparison",
    "render_results",
    "render_scores",
    "render_survey",
    "render_table",
    "run_benchmark",
    "run_demo",
    "sample_study",
    "serve",
    "suite_names",
    "summarise_survey",
    "survey_folder",
    "train",
    "write_benchmark_report",
    "write_evaluation_report",
    "write_mask_set",
    "write_panel",
    "write_report",
    "write_score_figures",
    "write_scores",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'plurimask' has no attribute '{name}'")
    return getattr(import_module(f"plurimask.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
