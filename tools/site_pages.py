"""Pages of the site that do not lie in docs/: the models' cards, examples, files of the root, the command line.

mkdocs calls both functions (`hooks` in mkdocs.yml). Links to such a file, or from it, are made links of the site.
"""

import os
import re
from pathlib import Path, PurePosixPath
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.cli import get_docs_for_click
from typer.main import get_command

from plurimask.cli import app

ROOT = Path(__file__).parents[1]
PAGES = {
    "NOTICE": "notice.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
} | {
    str(file.relative_to(ROOT)): f"{page}/{file.relative_to(ROOT / folder).as_posix().removesuffix('.md')}.md"
    for page, folder in {"cards": "src/plurimask/weights", "examples": "examples"}.items()
    for file in (ROOT / folder).rglob("*.*")
    if file.suffix in (".md", ".py", ".toml")
}
"""The site's page for a file of the repository, by their paths."""
_FILES = {page: file for file, page in PAGES.items() if page != "index.md"}


def on_files(files: Files, config: Any) -> Files:
    """Add a page for each of these files."""
    for page, file in _FILES.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        if not file.endswith(".md"):
            text = f"# {Path(file).name}\n\n```{Path(file).suffix[1:] or 'text'}\n{text}```\n"
        files.append(File.generated(config, page, content=text))
    command = get_command(app)
    context = command.make_context("plurimask", [], resilient_parsing=True)
    text = get_docs_for_click(obj=command, ctx=context, name="plurimask", title="Command line")
    files.append(File.generated(config, "reference/cli.md", content=re.sub(r"\[/?bold\]", "**", text)))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """The page's text, whose links between files of the repository are links between pages of the site."""
    here = page.file.src_uri
    folder = PurePosixPath(_FILES.get(here, f"docs/{here}")).parent

    def link(found: re.Match[str]) -> str:
        target, anchor = found.groups(default="")
        if "://" in target or not target:
            return found[0]
        file = os.path.normpath(folder / target)
        uri = PAGES.get(file, file.removeprefix("docs/"))
        return f"]({os.path.relpath(uri, PurePosixPath(here).parent)}{anchor})"

    return re.sub(r"\]\(([^)#\s]*)(#[^)\s]*)?\)", link, markdown)
