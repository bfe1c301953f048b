"""A web server for one web bundle on this machine, with the headers that let a page use several threads.

It serves the regular files that the bundle's manifest lists and nothing else, with the bounds of ``BoundedServer``.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from chimerac.runtime.bundle_format import MANIFEST_NAME, read_manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.web.bounded import BoundedServer
from chimerac.runtime.web.requests import BundleRequests
from chimerac.runtime.web.served_files import ServedFiles


class BundleServer(BoundedServer):
    """Serves the folder of a web bundle; ``url`` is its address. Use it in ``with``.

    A bundle that is built again shows up with the next request.
    """

    def __init__(self, folder: str | Path, host: str = "127.0.0.1", port: int = 8000, *, isolated: bool = True) -> None:
        """Bind the port, a free one for 0; ``isolated`` sends the headers without which a page has one thread.

        Raises BundleError CHM410, CHM411 or CHM405 for a folder that is no bundle, CHM413 for a bundle that is not for
        the web, CHM441 if the address cannot be used.
        """
        manifest = read_manifest(folder)
        if not manifest.target.startswith("wasm32"):
            message = f"the bundle is for {manifest.target}; only bundles for wasm are served"
            raise BundleError("CHM413", message, path=Path(folder) / MANIFEST_NAME, hint="chimerac build --target wasm")
        files = ServedFiles(Path(folder))
        super().__init__(host, port, partial(BundleRequests, files=files, connections=self, isolated=isolated))
