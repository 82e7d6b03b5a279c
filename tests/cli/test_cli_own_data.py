"""The page on own data: the commands of its first model run one after another, on small data of that layout."""

import re
import shlex
from pathlib import Path

from running import SCORES, files
from tiny import write_cases

from plurimask.training.plan import Cost

PAGE = Path(__file__).parents[2] / "docs/own-data.md"


def commands():
    part = PAGE.read_text(encoding="utf-8").partition("## Your first model")[2]
    blocks = re.findall(r"```sh\n(.*?)```", part, re.DOTALL)
    return [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]


def test_the_commands_of_the_page_lead_from_files_to_scores(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("plurimask.training.plan.measure", lambda recipe, dataset: Cost(60.0, 60.0, 0.1, 1.0))
    write_cases(tmp_path / "bu-bil", count=40)
    *work, look = commands()
    assert [words[0] for words in work] == ["prepare", "prepare", "train", "evaluate"]
    assert [(words, said.err) for words in work if (said := run(*words)).code] == []
    assert look[0] == "view"
    assert Path(look[1]).is_dir()
    assert files(tmp_path / "scores") >= SCORES
