"""Folders that no disk holds, such as those of an object store, for the nodes of a cluster that share none (fsspec).

A local folder stands for a remote one. It has an empty file for each of the remote ones, and those in use are brought.
It lies at the same path on every node, so that paths below it may be sent to workers.
"""

import atexit
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

from plurimask.errors import InputError, MissingPackageError, PlurimaskError, need
from plurimask.files.stored import reason

_ADDRESS = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)")  # as a path, an address has lost a slash


@dataclass(frozen=True)
class Remote:
    """A remote folder.

    Args:
        url: as fsspec takes it: s3://BUCKET/FOLDER, file:///FOLDER, ... A login comes from the environment.
        root: the local folder that stands for it, in this command alone.
    """

    url: str
    root: Path

    @classmethod
    def at(cls, path: Path) -> Self | None:
        """The remote folder that a path on the command line means, or None for one on a disk."""
        match = _ADDRESS.fullmatch(str(path))
        if match is None or match[1] in ("http", "https"):
            return None
        start = "/" if match[1] in ("file", "local") else ""
        own = Path(tempfile.gettempdir()) / f"plurimask-{uuid4().hex[:16]}"
        atexit.register(shutil.rmtree, own, ignore_errors=True)
        return cls(f"{match[1]}://{start}{match[2]}", own / path.name)

    def listed(self) -> Path:
        """The local folder, with a file for each one that is there. Raises InputError where nothing can be listed."""
        with self._told() as (files, base):
            self.root.mkdir(parents=True, exist_ok=True)
            for name in files.find(base):
                path = self.root / os.path.relpath(name, base)
                if not path.exists():
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.touch()
        return self.root

    def bring(self, paths: Iterable[Path], *, missing: bool = False) -> None:
        """Bring files, or all files of folders, to their local paths. `missing` ones are passed over, or refused."""
        with self._told() as (files, base):
            for path in paths:
                there = self._there(base, path)
                try:
                    names = files.find(there) if not files.isfile(there) else [there]
                    if not names:
                        raise FileNotFoundError(f"nothing at {there}")
                    for name in names:
                        _get(files, name, self.root / os.path.relpath(name, base))
                except FileNotFoundError:
                    if not missing:
                        raise

    @contextmanager
    def brought(self, *paths: Path) -> Iterator[None]:
        """These files and folders are here while the block runs; then they are empty again."""
        self.bring(paths)
        try:
            yield
        finally:
            for path in paths:
                self.drop(path)

    def send(self, path: Path, last: str = "") -> None:
        """Send a local file, or those of a folder. The one named `last`, which completes them, goes last."""
        with self._told() as (files, base):
            found = [path] if path.is_file() else [one for one in sorted(path.rglob("*")) if one.is_file()]
            for one in found:
                if one.name == last:
                    with suppress(FileNotFoundError):
                        files.rm_file(self._there(base, one))
            for one in sorted(found, key=lambda one: one.name == last):
                there = self._there(base, one)
                files.makedirs(os.path.dirname(there), exist_ok=True)
                if getattr(files, "local_file", False):  # of an object store a file is there whole or not at all
                    fresh = f"{os.path.dirname(there)}/.{one.name}"
                    files.put_file(str(one), fresh)
                    files.mv(fresh, there)
                else:
                    files.put_file(str(one), there)

    def drop(self, path: Path) -> None:
        """Take the contents of a local file, or of the files of a folder, off this disk; their names stay."""
        for one in [path] if path.is_file() else list(path.rglob("*")):
            if one.is_file():
                one.unlink()  # and not truncated: it may be mapped into memory
                one.touch()

    def _there(self, base: str, path: Path) -> str:
        return f"{base}/{path.relative_to(self.root).as_posix()}"

    @contextmanager
    def _told(self) -> Iterator[tuple[Any, str]]:
        """The file system and the folder in it; whatever goes wrong in the block is said in a line."""
        hint = "check the address, the login in the environment, and what may be done there"
        try:
            files, base = need("fsspec", "ray").core.url_to_fs(self.url, skip_instance_cache=False)
            files.invalidate_cache()
            yield files, base.rstrip("/")
        except PlurimaskError:
            raise
        except ImportError as error:
            raise MissingPackageError(
                self.url, expected="the package for it", got=reason(error), hint="install what it names"
            ) from error
        except Exception as error:
            got = f"'{reason(error)}'"
            raise InputError(self.url, expected="a folder to read and write", got=got, hint=hint) from error


def _get(files: Any, there: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    own = path.with_name(f".{path.name}.{uuid4().hex[:8]}")
    try:
        files.get_file(there, str(own))
        own.replace(path)
    finally:
        own.unlink(missing_ok=True)
