"""A real Orthanc with its DICOMweb plugin, on a free port and with a storage folder of its own."""

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
ABSENT = "" if shutil.which("Orthanc") and PLUGIN.exists() else "no Orthanc with DICOMweb (orthanc, orthanc-dicomweb)"


class Orthanc:
    """An archive that can be stopped and started, with what it holds.

    Args:
        folder: for its storage; must be there.
        more: settings beside the usual ones, as RegisteredUsers.
    """

    def __init__(self, folder: Path, **more: object) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._settings, self._process = folder / "orthanc.json", None
        settings = {
            "StorageDirectory": str(folder / "stored"),
            "IndexDirectory": str(folder / "stored"),
            "HttpPort": self.port,
            "DicomServerEnabled": False,
            "AuthenticationEnabled": False,
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
        }
        self._settings.write_text(json.dumps(settings | more))

    @property
    def root(self) -> str:
        return f"http://127.0.0.1:{self.port}/dicom-web"

    def start(self) -> "Orthanc":
        """Returns when it answers."""
        silence = subprocess.DEVNULL
        self._process = subprocess.Popen(["Orthanc", self._settings], stdout=silence, stderr=silence)
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert self._process.poll() is None, "Orthanc has ended"
            try:
                urlopen(f"{self.root}/studies", timeout=10).close()
            except URLError as error:
                if getattr(error, "code", None) == 401:
                    return self
                time.sleep(0.05)
            else:
                return self
        raise AssertionError("Orthanc does not answer")

    def stop(self, by: signal.Signals = signal.SIGKILL) -> None:
        """At once, as if its machine lost power; what it has stored stays."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(by)
        self._process.wait()
