"""A web server for one web bundle on this machine, with the headers that let a page use several threads."""

from __future__ import annotations

from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from chimerac.runtime.bundle_format import MANIFEST_NAME, read_manifest
from chimerac.runtime.errors import BundleError

#: What a server must send for a page's workers to share memory, and what makes a rebuilt bundle show up at once.
HEADERS: Final = (
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Embedder-Policy", "require-corp"),
    ("Cache-Control", "no-cache"),
    ("X-Content-Type-Options", "nosniff"),
)
TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    "": "application/octet-stream",
}


class _Handler(SimpleHTTPRequestHandler):
    extensions_map = TYPES

    def end_headers(self) -> None:
        for name, value in HEADERS:
            self.send_header(name, value)
        super().end_headers()

    def list_directory(self, path: object) -> None:
        """Show no folder."""
        self.send_error(404)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing of requests."""


class BundleServer(ThreadingHTTPServer):
    """Serves the folder of a web bundle; ``url`` is its address. Use it in ``with``."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, folder: str | Path, host: str = "127.0.0.1", port: int = 8000) -> None:
        """Bind the port, a free one for 0.

        Raises BundleError CHM410, CHM411 or CHM405 for a folder that is no bundle, CHM413 for a bundle that is not for
        the web, CHM441 if the address cannot be used.
        """
        manifest = read_manifest(folder)
        if not manifest.target.startswith("wasm32"):
            message = f"the bundle is for {manifest.target}; only bundles for wasm are served"
            raise BundleError("CHM413", message, path=Path(folder) / MANIFEST_NAME, hint="chimerac build --target wasm")
        try:
            super().__init__((host, port), partial(_Handler, directory=str(folder)))
        except (OSError, OverflowError) as error:
            hint = "choose another --port; 0 takes a free one"
            raise BundleError("CHM441", f"cannot serve at {host}, port {port}: {error}", hint=hint) from None
        self.url = f"http://{host}:{self.server_address[1]}/"
