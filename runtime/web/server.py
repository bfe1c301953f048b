"""A web server for one web bundle on this machine, with the headers that let a page use several threads.

It serves the regular files that the bundle's manifest lists and nothing else, to requests that name this server as
their host, over a bounded number of connections that must not dawdle. A page on another site can therefore neither
read a bundle through a name that it points at this machine (DNS rebinding) nor tie the server up.
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from chimerac.runtime.bundle_format import MANIFEST_NAME, read_manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.web.requests import BundleRequests
from chimerac.runtime.web.served_files import ServedFiles

#: Connections that are served at a time; browsers open about six.
MAX_CONNECTIONS: Final = 64
#: Seconds from a connection's opening, or from its last answer, to the end of a request's headers.
REQUEST_SECONDS: Final = 10.0


class BundleServer(ThreadingHTTPServer):
    """Serves the folder of a web bundle; ``url`` is its address. Use it in ``with``.

    A bundle that is built again shows up with the next request.
    """

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, folder: str | Path, host: str = "127.0.0.1", port: int = 8000, *, isolated: bool = True) -> None:
        """Bind the port, a free one for 0; ``isolated`` sends the headers without which a page has one thread.

        Raises BundleError CHM410, CHM411 or CHM405 for a folder that is no bundle, CHM413 for a bundle that is not for
        the web, CHM441 if the address cannot be used.
        """
        manifest = read_manifest(folder)
        if not manifest.target.startswith("wasm32"):
            message = f"the bundle is for {manifest.target}; only bundles for wasm are served"
            raise BundleError("CHM413", message, path=Path(folder) / MANIFEST_NAME, hint="chimerac build --target wasm")
        self._waiting: dict[Any, float] = {}
        self._open: set[Any] = set()
        self._lock = threading.Lock()
        try:
            files = ServedFiles(Path(folder))
            handler = partial(BundleRequests, files=files, connections=self, isolated=isolated)
            super().__init__((host, port), handler)
        except (OSError, OverflowError) as error:
            hint = "choose another --port; 0 takes a free one"
            raise BundleError("CHM441", f"cannot serve at {host}, port {port}: {error}", hint=hint) from None
        self._host = host
        self.url = f"http://{host}:{self.server_address[1]}/"

    def is_for_this_server(self, host: str | None) -> bool:
        """Whether a ``Host`` header names this server: an address, ``localhost``, or the name it was bound to."""
        if host is None:
            return False
        name, colon, port = host.rpartition(":") if not host.endswith("]") else (host, "", "")
        if not colon:
            name, port = host, "80"
        if port != str(self.server_address[1]):
            return False
        name = name.lower().rstrip(".")
        if name in ("localhost", self._host.lower()) or name.endswith(".localhost"):
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True  # an address cannot be made to point elsewhere

    # connections ------------------------------------------------------------------------------------------------

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether there is room for another connection."""
        with self._lock:
            if len(self._open) >= MAX_CONNECTIONS:
                return False
            self._open.add(request)
            self._waiting[request] = time.monotonic()
            return True

    def waits(self, connection: Any) -> None:
        """A connection's next request has ``REQUEST_SECONDS`` from now on."""
        with self._lock:
            self._waiting[connection] = time.monotonic()

    def has_asked(self, connection: Any) -> None:
        """A connection's request is there."""
        with self._lock:
            self._waiting.pop(connection, None)

    def service_actions(self) -> None:
        """End the connections that have waited too long; called twice a second."""
        now = time.monotonic()
        with self._lock:
            late = [connection for connection, since in self._waiting.items() if now - since > REQUEST_SECONDS]
            for connection in late:
                del self._waiting[connection]
        for connection in late:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # its thread has just closed it

    def shutdown_request(self, request: Any) -> None:
        """Close a connection and free its place."""
        with self._lock:
            self._open.discard(request)
            self._waiting.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away, or is sent away, is no event."""
