"""How long a study will take, told from its first fields."""

import pytest

from plurimask.sampling.pace import Pace, duration


def run(total, slow_first=5.0, each=2.0):
    """What is said, and all progress: the first look takes longer than the others."""
    now, said, passed = [0.0], [], []
    pace = Pace(lambda left: said.append((len(passed), left)), lambda *at: passed.append(at), lambda: now[0])
    for done in range(1, total + 1):
        now[0] += slow_first if done == 1 else each
        pace(done, total)
    return said, passed


def test_the_time_left_follows_from_the_first_looks_without_the_very_first():
    assert run(1000)[0] == [(8, "33 min")]


def test_a_short_study_is_told_of_too():
    assert run(2)[0] == [(1, "0 s")]


def test_progress_is_passed_on():
    assert run(20)[1] == [(done, 20) for done in range(1, 21)]


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (89, "89 s"), (95, "2 min"), (3580, "1 h 0 min"), (12_000, "3 h 20 min")]
)
def test_durations_are_told_in_two_units(seconds, text):
    assert duration(seconds) == text
