"""A web server on this machine that many clients may ask, and none may tie up: the base of those of bundles.

It has a bounded number of connections that must not dawdle, and knows which requests name it as their host. A page on
another site can therefore not read an answer through a name that it points at this machine (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from typing import Any, Final

from chimerac.runtime.errors import BundleError

#: Connections that are served at a time; browsers open about six.
MAX_CONNECTIONS: Final = 64
#: Seconds from a connection's opening, or from its last answer, to the end of a request.
REQUEST_SECONDS: Final = 10.0


class BoundedServer(ThreadingHTTPServer):
    """``url`` is its address. Use it in ``with``."""

    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = MAX_CONNECTIONS

    def __init__(self, host: str, port: int, handler: Callable[..., Any]) -> None:
        """Bind the port, a free one for 0; raises BundleError CHM441 if the address cannot be used."""
        self._waiting: dict[Any, float] = {}
        self._open: set[Any] = set()
        self._lock = threading.Lock()
        try:
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
