"""``chimerac serve``: a web bundle at an address of this machine, or a bundle that answers there."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from chimerac.compiler.errors import UserError, as_user_error
from chimerac.compiler.verbs.bundles import open_bundle
from chimerac.compiler.verbs.run import read_names
from chimerac.runtime.errors import BundleError
from chimerac.runtime.serving.chat_server import ChatServer
from chimerac.runtime.serving.wyoming import WyomingServer
from chimerac.runtime.sessions.interface import Session
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


def serve_wyoming(
    bundle: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 10500,
    names: str | Path | None = None,
    languages: Sequence[str] = (),
    threads: int = 1,
) -> WyomingServer:
    """A service of the Wyoming protocol, for voice assistants. Use it in ``with``, as that of ``serve``.

    A bundle of conversations handles texts, any other one finds intents in them.

    Args:
        bundle: folder.
        host: address to serve at; there is no authentication.
        port: 0 takes a free one.
        names: JSON file with the names of a home, for ``Session.set_names``.
        languages: that the model is said to understand, as ``en``; none: any.
        threads: share the work of an answer; 0 takes one per core, at most 8.

    Raises:
        UserError: CHM4xx, a bundle that does not open or holds no language model, or names that are none; CHM304, the
            package wyoming is not installed; CHM441, the address cannot be used.
    """
    session = _opened(bundle, names, threads)
    try:
        return WyomingServer(session, host, port, languages=languages)
    except BundleError as error:
        session.close()
        raise as_user_error(error) from None


def serve_api(
    bundle: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    names: str | Path | None = None,
    threads: int = 1,
) -> ChatServer:
    """A server with the part of OpenAI's API that asks a model; use it in ``with``.

    Args:
        bundle: folder.
        host: address to serve at; there is no authentication.
        port: 0 takes a free one.
        names: JSON file with the names of a home, for ``Session.set_names``.
        threads: share the work of an answer; 0 takes one per core, at most 8.

    Raises:
        UserError: CHM4xx, a bundle that does not open or holds no language model, or names that are none; CHM441, the
            address cannot be used.
    """
    session = _opened(bundle, names, threads)
    try:
        return ChatServer(session, _compiled, host, port)
    except BundleError as error:
        session.close()
        raise as_user_error(error) from None


def _compiled(schema: Mapping[str, Any]) -> bytes:
    try:
        return _compiled_text(json.dumps(schema))
    except UserError as error:
        raise BundleError(error.code, error.message) from None


@lru_cache(maxsize=64)
def _compiled_text(schema: str) -> bytes:
    from chimerac.compiler.packaging.grammar_packs import compile_grammar

    return compile_grammar(schema=schema, whitespace=0)


def _opened(bundle: str | Path, names: str | Path | None, threads: int) -> Session:
    """A session that knows the names."""
    session = open_bundle(bundle, threads)
    try:
        session.need_tokens()
        if names is not None:
            session.set_names(read_names(names))
    except (BundleError, UserError) as error:
        session.close()
        raise (as_user_error(error) if isinstance(error, BundleError) else error) from None
    return session
