"""What is to be drawn: cases of datasets and studies."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from plurimask.datasets.changed import split_as_trained
from plurimask.datasets.open import choose_cases, open_dataset
from plurimask.datasets.splits import SplitOrAll
from plurimask.errors import InputError, SettingsError
from plurimask.files.locate import Located, locate, study_name
from plurimask.files.remote import Remote
from plurimask.records import Case


@dataclass(frozen=True)
class Inputs:
    """Studies and cases of datasets by name.

    Args:
        studies: where each lies.
        cases: what reads each.
    """

    studies: Mapping[str, Path]
    cases: Mapping[str, Callable[[], Case]]

    def __len__(self) -> int:
        return len(self.studies) + len(self.cases)

    def check(self, region: bool, format: str | None, engine: str | None = None) -> None:
        """Refuse what does not go together: a region of several studies, DICOM of a dataset's cases, and more.

        Raises:
            SettingsError: these.
        """
        if region and len(self.studies) != 1:
            got, hint = str(len(self.studies)), "draw one at a time: a file, or the folder of one case"
            raise SettingsError("--roi", expected="one study", got=got, hint=hint)
        if engine and self.studies:
            got, hint = f"the study {next(iter(self.studies))}", "leave it out, or draw a dataset's cases"
            raise SettingsError(f"--engine {engine}", expected="cases of a dataset", got=got, hint=hint)
        if engine and format not in (None, "npz"):
            got, hint = f"--format {format}", "leave one of them out"
            raise SettingsError(f"--engine {engine}", expected="masks.npz", got=got, hint=hint)
        option = "--roi" if region else "--format dicom-seg" if format == "dicom-seg" else None
        if option and self.cases:
            raise SettingsError(
                option,
                expected="studies alone",
                got=f"{len(self.cases)} cases of a dataset",
                hint="leave it out, or give image files or the folders of single cases",
            )


def inputs_at(
    paths: Sequence[Path],
    split: SplitOrAll,
    limit: int | None,
    names: Sequence[str] | None,
    split_file: Path | None = None,
    run: Path | None = None,
) -> Inputs:
    """Everything at some paths; `split`, `limit` and `names` choose from each dataset as `choose_cases` does.

    `split_file` says the sides, as `open_dataset` takes it; else `run`, as `split_as_trained` does.

    Raises:
        InputError: a path where neither a study nor a dataset lies, or two studies or cases of one name.
        DatasetError: as `open_dataset` and `choose_cases`.
    """
    found = [_input(path) for path in paths if Remote.at(path) is None]
    studies = [(study_name(one.path), one.path) for one in found if one.kind == "study"]
    inside = {one.path for one in found if one.kind == "study"}
    datasets = [open_dataset(path, split_file) for path in paths if path not in inside]
    if run is not None and split_file is None:
        datasets = [split_as_trained(dataset, run) for dataset in datasets]
    chosen = [choose_cases(dataset, split, limit, names, asked=True) for dataset in datasets]
    cases = [(name, partial(of_dataset.__getitem__, name)) for of_dataset in chosen for name in of_dataset]
    for name, times in Counter(name for name, _ in (*studies, *cases)).items():
        if times > 1:
            raise InputError(name, expected="one case of this name", got="a second one", hint="rename a file")
    return Inputs(dict(studies), dict(cases))


def _input(path: Path) -> Located:
    """What lies at a path: a study, or what `open_dataset` takes or refuses."""
    found = locate(path)
    if found.layout in _NO_INPUT:
        got, hint = _NO_INPUT[found.layout]
        raise InputError(path, expected="an image, a case's folder or a dataset", got=got, hint=hint)
    return found


_NO_INPUT = {
    "absent": ("nothing there", "check the path"),
    "mask file": ("masks", "give the image that they belong to"),
    "mask folder": ("masks", "give the image that they belong to"),
    "weights": ("a model", "name it before the images"),
    "model folder": ("a model", "name it before the images"),
}
