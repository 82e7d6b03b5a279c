"""How long a study will take, from its first fields."""

import time
from collections.abc import Callable

_MEASURED = 8


class Pace:
    """Passes progress on, and says once how much time is left.

    Args:
        say: takes a text such as 3 h 20 min; called after a few looks at fields. The first, which is slow, does not
            count.
        progress: as `sample_study` takes it.
        clock: seconds.
    """

    def __init__(
        self,
        say: Callable[[str], object],
        progress: Callable[[int, int], object],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._say, self._progress, self._clock = say, progress, clock
        self._start = 0.0

    def __call__(self, done: int, total: int) -> None:
        """So many looks of `total` are done."""
        if done == 1:
            self._start = self._clock()
        elif done == min(1 + _MEASURED, total):
            self._say(duration((self._clock() - self._start) / (done - 1) * (total - done)))
        self._progress(done, total)


def duration(seconds: float) -> str:
    """In the two largest units that matter: 40 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
