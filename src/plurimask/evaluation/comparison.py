"""Two methods on the same cases: the difference of their means, with a paired patient bootstrap."""

from dataclasses import dataclass

from plurimask.errors import InputError
from plurimask.evaluation.scores import Scores, TableRow, summarise, values_of


@dataclass(frozen=True)
class Comparison:
    """A against B on the cases that both have.

    Args:
        a, b: each one's own row on these cases.
        difference: of A minus B, case by case; a case counts where both values are defined.
        cases, patients: how many were compared.
        left_out: names of the cases that only one of the two has.
    """

    a: TableRow
    b: TableRow
    difference: TableRow
    cases: int
    patients: int
    left_out: tuple[str, ...]

    def outside_zero(self, key: str) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        low, high = self.difference.intervals[key]
        return low > 0 or high < 0


def compare(a: Scores, b: Scores) -> Comparison:
    """Compare two evaluations; patients are resampled once for both, so what cases have in common falls out.

    Raises:
        InputError: different numbers of samples, on which most values depend, or units, or no case in common.
    """
    if a.samples != b.samples:
        raise InputError(
            "comparison",
            expected=f"{a.samples} samples on both sides",
            got=f"{a.samples} and {b.samples}",
            hint="score the first N of each with --count N",
        )
    if a.units != b.units:
        units = [", ".join(dict.fromkeys(scores.units.values())) for scores in (a, b)]
        raise InputError("comparison", expected=f"sizes in {units[0]} on both sides", got=units[1], hint="use one grid")
    rows_a, rows_b = ({row.name: row for row in scores.rows} for scores in (a, b))
    both = [name for name in rows_a if name in rows_b]
    if not both:
        raise InputError("comparison", expected="cases that both have", got="none", hint="score the same cases")
    shared_a, shared_b = [rows_a[name] for name in both], [rows_b[name] for name in both]
    patients = [row.patient for row in shared_a]
    values_a, values_b = values_of(shared_a), values_of(shared_b)
    difference = {key: values_a[key] - values_b[key] for key in values_a}
    labels = [a.table[0].label, b.table[0].label, "A - B"]
    row_a, row_b, row = summarise(labels, [values_a, values_b, difference], a.samples, patients)
    left_out = tuple(name for name in [*rows_a, *rows_b] if name not in rows_a or name not in rows_b)
    return Comparison(row_a, row_b, row, len(both), len(set(patients) - {None}), left_out)
