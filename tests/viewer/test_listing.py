"""What is worked out in the background: urgent first, each once, and anew where it has changed meanwhile."""

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from plurimask.errors import InputError
from plurimask.viewer.listing import Summaries

PATIENCE = 30


@pytest.fixture
def gate():
    """Lets the first look end."""
    return Event()


@pytest.fixture
def looks():
    return []


@pytest.fixture
def summaries(gate, looks):
    """Each summary is the number of the look at its case; the first look waits for the gate."""

    def read(source, name):
        looks.append(name)
        if len(looks) == 1:
            assert gate.wait(PATIENCE)
        if name == "broken":
            raise InputError(name, expected="masks", got="none", hint="draw some")
        if name == "odd":
            raise ZeroDivisionError("patient Doe")
        if name == "panic":
            raise BaseException("as extensions of other languages raise it")
        return len(looks)

    with ThreadPoolExecutor(1) as pool:
        yield Summaries(read, pool)


def keys(names):
    return [("source", name) for name in names]


def test_what_a_page_waits_for_comes_before_the_rest(summaries, gate, looks):
    summaries.ask_all(keys("abcdef"))
    while not looks:
        time.sleep(0.001)
    summaries.ask(keys("fe"), 0)
    gate.set()
    summaries.ask(keys("fe"), PATIENCE)
    summaries.ask(keys("abcdef"), PATIENCE)
    assert (looks[1:3], sorted(looks)) == (["f", "e"], list("abcdef"))


def test_a_page_waits_no_longer_than_it_said(summaries, gate):
    started = time.monotonic()
    summaries.ask(keys("a"), 0.05)
    assert time.monotonic() - started < PATIENCE / 2
    assert (summaries.get(("source", "a")), summaries.done(keys("a"))) == (None, 0)
    gate.set()


def test_the_reason_of_a_broken_one_is_kept(summaries, gate):
    gate.set()
    summaries.ask(keys(["broken", "a"]), PATIENCE)
    assert summaries.get(("source", "broken")) == "broken: expected masks, got none; draw some"
    assert summaries.get(("source", "a")) == 2


@pytest.mark.parametrize("name", ["odd", "panic"])
def test_an_accident_with_one_case_stays_with_that_case(summaries, gate, name):
    gate.set()
    summaries.ask(keys([name, "a"]), PATIENCE)
    assert summaries.get(("source", name)) == "it cannot be read; the terminal says why"
    assert summaries.get(("source", "a")) == 2


def test_a_case_that_is_never_read_does_not_keep_the_others_waiting(gate):
    def read(source, name):
        return gate.wait(PATIENCE) if name == "endless" else name

    with ThreadPoolExecutor(1) as pool:
        summaries = Summaries(read, pool, most=0.05)
        summaries.ask(keys(["endless", "a"]), PATIENCE)
        assert summaries.get(("source", "endless")) == "it was not read within 0.05 seconds"
        assert summaries.get(("source", "a")) == "a"
    gate.set()


def test_what_has_changed_is_looked_at_anew(summaries, gate):
    gate.set()
    summaries.ask(keys("a"), PATIENCE)
    summaries.forget(("source", "a"))
    summaries.ask(keys("a"), PATIENCE)
    assert summaries.get(("source", "a")) == 2


def test_what_changes_while_it_is_looked_at_is_not_kept(summaries, gate, looks):
    summaries.ask(keys("a"), 0)
    while not looks:
        time.sleep(0.001)
    summaries.forget(("source", "a"))
    gate.set()
    summaries.ask(keys("a"), PATIENCE)
    assert summaries.get(("source", "a")) == 2


def test_what_was_asked_for_before_is_let_go(summaries, gate, looks):
    summaries.ask_all(keys("abc"))
    while not looks:
        time.sleep(0.001)
    summaries.ask_all(keys("xy"))
    gate.set()
    summaries.ask(keys("xy"), PATIENCE)
    assert looks == ["a", "x", "y"]
