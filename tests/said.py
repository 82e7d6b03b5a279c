"""A command as the installed script runs it: what it said and how it ended."""

import sys
from typing import NamedTuple

import pytest

from plurimask.cli import main


class Said(NamedTuple):
    code: int
    out: str
    err: str

    def refused(self, *words):
        """One line, exit code 2, and the words in it."""
        assert self.code == 2
        assert self.err.startswith("plurimask: ")
        assert self.err.count("\n") == 1
        assert not [word for word in words if word not in self.err], self.err
        return True


def command(monkeypatch, capsys, *arguments):
    monkeypatch.setattr(sys, "argv", ["plurimask", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        main()
    return Said(stop.value.code, *capsys.readouterr())
