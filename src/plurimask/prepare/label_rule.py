"""Which values of a label file are a reader's mask, where a user says so; and which values there were."""

from pathlib import Path

import numpy as np

from plurimask.errors import SettingsError
from plurimask.files.label import binarise

ANY = "nonzero"
_SHOWN = 6
_ROUNDING = 1e-4  # what a scale factor in a NIfTI header may add to a class number


class ChosenLabel:
    """A rule for labels (`files.label.LabelRule`) that remembers the values it saw.

    Args:
        label: a number: drawn is what equals it. `nonzero`: drawn is everything but 0. None: as `files.label.binarise`
            has it, and integers of more than two values are refused, since they may be classes.

    Raises:
        SettingsError: another word.
    """

    def __init__(self, label: str | None = None) -> None:
        self.label = label
        self.seen: set[float] = set()
        self._value = None if label in (None, ANY) else _number(str(label))
        self._drawn = False

    def __call__(self, subject: str | Path, values: np.ndarray, *, lossy: bool = False) -> np.ndarray:
        """The mask of one file.

        Raises:
            SettingsError: values that need a choice, or a choice that JPEG does not allow.
            InputError: values that are refused in any label.
        """
        present = np.unique(values)
        if present.dtype.kind not in "biuf" or not np.isfinite(present).all():
            return binarise(subject, values)
        self.seen.update(present[: _SHOWN + 1].tolist())
        if self.label is None:
            _refuse_classes(subject, present, lossy)
            return binarise(subject, values, lossy=lossy)
        if lossy:
            raise SettingsError(
                subject,
                expected="labels without loss for --label",
                got="a JPEG",
                hint="write PNG, or leave --label out",
            )
        mask = values != 0 if self._value is None else np.isclose(values, self._value, rtol=0, atol=_ROUNDING)
        self._drawn |= bool(mask.any())
        return mask

    def check_drawn(self, root: Path) -> None:
        """Raises SettingsError where no label held what was chosen."""
        if self.label is not None and not self._drawn:
            raise SettingsError(
                root, expected=f"--label {self.label} in some label", got=shown(self.seen), hint="correct --label"
            )


def shown(values: set[float]) -> str:
    """The first few values, for a line of text."""
    text = ", ".join(f"{value:g}" for value in sorted(values)[:_SHOWN])
    return text + ", ..." if len(values) > _SHOWN else text


def _refuse_classes(subject: str | Path, present: np.ndarray, lossy: bool) -> None:
    """Whole numbers other than 0 beside 1, or beside the type's maximum."""
    if lossy or present.dtype.kind == "b" or not (present == np.rint(present)).all():
        return
    usual = [1, np.iinfo(present.dtype).max] if present.dtype.kind in "iu" else [1]
    if len(present) > 2 or (len(present) == 2 and present[0] != 0) or present[-1] not in (0, *usual):
        raise SettingsError(
            subject,
            expected="labels of one class: 0, and 1 or the type's maximum (255 in 8 bits)",
            got=f"the values {shown(set(present.tolist()))}",
            hint=f"choose one with --label {present[-1]:g}, or all with --label {ANY}; several classes at once are not "
            "supported yet",
        )


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise SettingsError(
            "--label", expected=f"a number or {ANY}", got=f"'{text}'", hint="give the value that was drawn"
        ) from error
