"""What is to be drawn: datasets, whose cases have the size of the model's field, and studies of any size."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from plurimask.datasets.open import cases_at, is_study
from plurimask.datasets.splits import SplitOrAll
from plurimask.errors import InputError, SettingsError
from plurimask.files.study import study_name
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

    def check(self, region: bool, whole: bool, format: str | None) -> None:
        """Refuse what does not go together: a region of several studies, and studies' options for a dataset.

        Raises:
            SettingsError: these.
        """
        if region and len(self.studies) != 1:
            raise SettingsError("--roi", expected="one study", got=str(len(self.studies)), hint="draw one at a time")
        given = {"--roi": region, "--whole": whole, f"--format {format}": format not in (None, "npz")}
        option = next((option for option, is_given in given.items() if is_given), None)
        if option and self.cases:
            raise SettingsError(
                option,
                expected="studies alone",
                got=f"{len(self.cases)} cases of a dataset",
                hint="leave it out, or give image files or the folders of single cases",
            )


def inputs_at(paths: Sequence[Path], split: SplitOrAll, limit: int | None, names: Sequence[str] | None) -> Inputs:
    """Everything at some paths; `split`, `limit` and `names` choose from each dataset as `choose_cases` does.

    Raises:
        InputError: a path where nothing lies, or two studies or cases of one name.
        DatasetError: as `cases_at`.
    """
    lone = [path for path in paths if is_study(path)]
    cases = cases_at([path for path in paths if path not in lone], split, limit, names)
    studies: dict[str, Path] = {}
    for path in lone:
        name = study_name(path)
        if name in studies or name in cases:
            raise InputError(name, expected="one case of this name", got="a second one", hint="rename a file")
        studies[name] = path
    return Inputs(studies, cases)
