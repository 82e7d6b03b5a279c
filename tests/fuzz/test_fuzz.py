"""Damage at random: a spoiled file gives what its bytes say by another reader, or one of our errors that names it.

The mutants are the same at every run; `judge` says what is held against each, `subjects` what is spoiled.
"""

from collections import Counter

import pytest
from judge import judged
from subjects import subjects

AT_LEAST, OPEN_SHARE = 5000, 0.15


def fuzz(root, first, last, names=""):
    """Counts by family and outcome, and the faults, of the mutants `first` to `last` of all subjects."""
    counts, faults = Counter(), []
    for subject in subjects(root):
        if names not in subject.name:
            continue
        assert subject.is_right(subject.path), f"{subject.name} is not right unspoiled"
        for outcome in judged(subject, range(first, last)):
            counts[subject.family, outcome.kind] += 1
            if outcome.kind not in ("right", "refused"):
                faults.append(outcome)
    return counts, faults


def told(faults):
    return "\n".join(f"{one.kind}: {one.subject} {one.number}: {one.said}" for one in faults)


@pytest.mark.filterwarnings("ignore")  # by the plain readers
def test_spoiled_files_are_read_rightly_or_refused_by_name(tmp_path):
    counts, faults = fuzz(tmp_path, 0, 4)
    assert not faults, told(faults)
    assert counts.total() >= 300, counts


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_five_thousand_spoiled_files_are_read_rightly_or_refused_by_name(tmp_path):
    counts, faults = fuzz(tmp_path, 4, 116)
    assert not faults, told(faults)
    assert counts.total() >= AT_LEAST, counts
    assert sum(count for (_, kind), count in counts.items() if kind == "right") >= OPEN_SHARE * counts.total(), counts
