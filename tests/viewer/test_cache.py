"""Values are made once and kept while they fit."""

from threading import Barrier, Thread

import pytest

from plurimask.viewer.cache import Cache


def test_a_value_is_made_once():
    made = []
    cache = Cache(10, len)
    for _ in range(3):
        assert cache.get("a", lambda: made.append(1) or "value") == "value"
    assert made == [1]


def test_the_least_recently_used_goes_first():
    cache = Cache(10, len)
    for key in "abab":
        cache.get(key, lambda: "1234")
    cache.get("a", lambda: "other")
    cache.get("c", lambda: "1234")
    assert [cache.known(key) for key in "abc"] == ["1234", None, "1234"]


def test_the_last_is_kept_however_large():
    cache = Cache(10, len)
    cache.get("a", lambda: "1234")
    cache.get("b", lambda: "x" * 100)
    assert (cache.known("a"), cache.known("b")) == (None, "x" * 100)


def test_an_error_is_raised_and_not_kept():
    cache = Cache(10, len)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: 1 / 0)
    assert cache.known("a") is None
    assert cache.get("a", lambda: "now") == "now"


def test_threads_that_come_together_make_one():
    made, meeting = [], Barrier(8)
    cache = Cache(10, len)

    def ask():
        meeting.wait()
        cache.get("a", lambda: made.append(1) or "value")

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
