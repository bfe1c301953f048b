"""``chimerac serve``: a web bundle at an address of this machine."""

from __future__ import annotations

from pathlib import Path

from chimerac.compiler.errors import as_user_error
from chimerac.runtime.errors import BundleError
from chimerac.runtime.web.server import BundleServer


def serve(bundle: str | Path, *, host: str = "127.0.0.1", port: int = 8000, isolated: bool = True) -> BundleServer:
    """A server of a web bundle's folder. Use it in ``with``.

    It has its port and its ``url`` at once, and answers while ``serve_forever()`` runs, which ``shutdown()`` ends.

    Args:
        bundle: folder.
        host: address to serve at.
        port: 0 takes a free one.
        isolated: send the headers that threads need.

    Raises:
        UserError: CHM405, CHM410 or CHM411 for a folder that is no bundle, CHM413 for a bundle that is not for the web,
            CHM441 if the address cannot be used.
    """
    try:
        return BundleServer(bundle, host, port, isolated=isolated)
    except BundleError as error:
        raise as_user_error(error) from None
