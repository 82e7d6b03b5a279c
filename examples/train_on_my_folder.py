"""From your files to scores on unseen patients: python train_on_my_folder.py SCANS OUT [KEY=VALUE ...].

SCANS holds SCANS/PATIENT/ct.png and SCANS/PATIENT/reader_1.png, reader_2.png, ...; other names need other patterns
(docs/own-data.md). Settings may follow, such as training.steps=500 (docs/settings.md).
"""

import sys
from pathlib import Path

import plurimask as pm
from plurimask.datasets.open import choose_cases
from plurimask.prepare.folder import FolderSettings, prepare_folder, survey_folder
from plurimask.prepare.survey import render_survey
from plurimask.training.recipe import load_recipe

scans, out = map(Path, sys.argv[1:3])
recipe = load_recipe("cimd-small", tuple(sys.argv[3:]))
settings = FolderSettings(["{patient}/ct.png"], ["{patient}/reader_{reader}.png"], size=recipe.image_size)

print(render_survey(survey_folder(scans, settings)))
prepare_folder(scans, out / "dataset", settings)
dataset = pm.open_dataset(out / "dataset")
pm.train(recipe, dataset, out / "run")

model = pm.load(str(out / "run"))
cases = choose_cases(dataset, "test", None)
panels = [model.sample(case, count=16, seed=0) for case in cases.values()]
for panel in panels:
    pm.write_mask_set(out / "masks" / panel.name, panel)
scores = pm.evaluate(panels, cases)
print(f"U-GED {scores.mean['ged_u']:.3f} on {len(panels)} test cases")
print(f"plurimask view {out / 'masks'} --data {out / 'dataset'} shows them")
