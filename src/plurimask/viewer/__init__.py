"""The reading room: a server of this machine whose page shows panels to people."""

from plurimask.errors import need

for _package in ("cachetools", "fastapi", "uvicorn"):
    need(_package, "view")

from plurimask.viewer.run import serve  # noqa: E402

__all__ = ["serve"]
