"""The server for web bundles: headers, types, ranges, compression, and what it refuses."""

from __future__ import annotations

import gzip
import http.client
import json
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chimerac.runtime import BundleError
from chimerac.runtime.web import bounded as server_module
from chimerac.runtime.web.requests import FOREVER
from chimerac.runtime.web.server import BundleServer


@pytest.fixture
def folder(wasm_toy: Any, tmp_path: Path) -> Path:
    """A web bundle, with things beside its files that are none of them."""
    made = tmp_path / "bundle"
    shutil.copytree(wasm_toy.folder, made)
    (made / "notes.txt").write_text("nobody's business")
    (made / ".secret").write_text("nobody's business")
    (made / "up").symlink_to("/")
    return made


@pytest.fixture
def server(folder: Path) -> Iterator[BundleServer]:
    with BundleServer(folder, port=0) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


class Answer:
    """What came back to one request on a connection of its own."""

    def __init__(self, server: BundleServer, path: str, method: str = "GET", **headers: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        self.status, self.headers, self.body = answer.status, answer.headers, answer.read()
        connection.close()


def listed(folder: Path) -> dict[str, int]:
    return {entry["name"]: entry["bytes"] for entry in json.loads((folder / "manifest.json").read_text())["files"]}


def test_every_listed_file_comes_whole_with_type_and_the_headers_for_threads(
    server: BundleServer, folder: Path
) -> None:
    types = {".json": "application/json", ".wasm": "application/wasm", ".mjs": "text/javascript", ".html": "text/html"}
    for name in (*listed(folder), "manifest.json"):
        answer = Answer(server, f"/{name}")
        assert answer.status == 200
        assert answer.body == (folder / name).read_bytes()
        assert answer.headers["Content-Type"].split(";")[0] == types.get(Path(name).suffix, "application/octet-stream")
        assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"
        assert answer.headers["Cache-Control"] == "no-cache"
        head = Answer(server, f"/{name}?version=2", "HEAD")
        assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(len(answer.body)))


@pytest.mark.parametrize(
    "path",
    [
        *("/nothing.txt", "/notes.txt", "/.secret", "/up/etc/hostname", "/manifest.json/"),
        *(
            "/../bundle/manifest.json",
            "/%2e%2e/bundle/manifest.json",
            "/%00",
            "/chimera.wasm%00.html",
            "/%ff%fe",
            "/a%",
        ),
    ],
)
def test_nothing_else_is_served(server: BundleServer, path: str) -> None:
    assert Answer(server, path).status == 404


def test_links_pipes_and_folders_in_place_of_files_are_not_served(server: BundleServer, folder: Path) -> None:
    first, second, third = list(listed(folder))[:3]
    for name in (first, second, third):
        (folder / name).unlink()
    (folder / first).symlink_to("/etc/hostname")
    os.mkfifo(folder / second)
    (folder / third).mkdir()
    assert [Answer(server, f"/{name}").status for name in (first, second, third)] == [404] * 3
    (folder / "manifest.json").rename(folder / "elsewhere.json")
    (folder / "manifest.json").symlink_to("elsewhere.json")
    assert Answer(server, "/manifest.json").status == 404


@pytest.mark.parametrize(
    ("host", "served"),
    [
        *(("evil.example:{port}", False), ("localhost.evil.example:{port}", False), ("127.0.0.1:1", False)),
        *(("", False), ("localhost", False), ("localhost:{port}", True), ("LOCALHOST:{port}", True)),
        *(("127.0.0.1:{port}", True), ("[::1]:{port}", True), ("chimera.localhost:{port}", True)),
    ],
)
def test_only_requests_for_this_host_are_answered(server: BundleServer, host: str, served: bool) -> None:
    answer = Answer(server, "/manifest.json", Host=host.format(port=server.server_address[1]))
    assert answer.status == (200 if served else 421)


def test_a_rebuilt_bundle_shows_up_with_the_next_request(server: BundleServer, folder: Path) -> None:
    before = Answer(server, "/manifest.json")
    unchanged = Answer(server, "/manifest.json", If_None_Match=before.headers["ETag"])
    assert (unchanged.status, unchanged.body) == (304, b"")
    manifest = json.loads(before.body)
    (folder / "more.mjs").write_text("export {};\n")
    entry = {"name": "more.mjs", "role": "runtime", "bytes": 11, "sha256": "0" * 64}
    changed = folder / "new"
    changed.write_text(json.dumps(manifest | {"files": [*manifest["files"], entry]}))
    assert Answer(server, "/more.mjs").status == 404
    changed.rename(folder / "manifest.json")
    assert Answer(server, "/more.mjs").body == b"export {};\n"
    assert Answer(server, "/manifest.json", If_None_Match=before.headers["ETag"]).status == 200


def test_without_isolation_nothing_but_its_headers_is_missing(folder: Path) -> None:
    isolation = {"Cross-Origin-Opener-Policy", "Cross-Origin-Embedder-Policy"}
    answers = []
    for isolated in (True, False):
        with BundleServer(folder, port=0, isolated=isolated) as server:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            answers.append(Answer(server, "/manifest.json"))
            server.shutdown()
    assert set(answers[0].headers) - set(answers[1].headers) == isolation
    assert "'wasm-unsafe-eval'" in answers[1].headers["Content-Security-Policy"]


def test_an_address_with_the_content_of_its_file_is_kept_for_good(server: BundleServer, folder: Path) -> None:
    entry = json.loads((folder / "manifest.json").read_text())["files"][0]
    for version, caching in (
        *((entry["sha256"][:16], "public, max-age=31536000, immutable"), (entry["sha256"], FOREVER)),
        *((entry["sha256"][:15], "no-cache"), ("0" * 16, "no-cache"), ("", "no-cache")),
    ):
        assert Answer(server, f"/{entry['name']}?v={version}").headers["Cache-Control"] == caching
    assert Answer(server, "/manifest.json?v=0123456789abcdef").headers["Cache-Control"] == "no-cache"


def test_a_bundle_without_a_page_says_what_it_is(server: BundleServer, folder: Path) -> None:
    answer = Answer(server, "/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert b"--page none" in answer.body
    assert Answer(server, "/index.html").status == Answer(server, "/other").status == 404
    (folder / "manifest.json").unlink()
    assert Answer(server, "/").status == 404


def test_compressed_copies_are_sent(server: BundleServer, folder: Path) -> None:
    plain = (folder / "chimera.wasm").read_bytes()
    packed = gzip.compress(plain, 1)
    (folder / "chimera.wasm.gz").write_bytes(packed)
    answer = Answer(server, "/chimera.wasm", Accept_Encoding="gzip, deflate, br")
    assert (answer.headers["Content-Encoding"], answer.body) == ("gzip", packed)
    tag = answer.headers["ETag"]
    assert Answer(server, "/chimera.wasm", Accept_Encoding="gzip", If_None_Match=tag).status == 304
    assert Answer(server, "/chimera.wasm", Accept_Encoding="identity", If_None_Match=tag).status == 200
    assert Answer(server, "/chimera.wasm", Accept_Encoding="gzip;q=0").body == plain
    assert Answer(server, "/chimera.wasm.gz").status == 404


def test_copies_with_brotli_come_first(server: BundleServer, folder: Path) -> None:
    brotli = pytest.importorskip("brotli")
    plain = (folder / "chimera.wasm").read_bytes()
    packed = brotli.compress(plain)
    (folder / "chimera.wasm.br").write_bytes(packed)
    answer = Answer(server, "/chimera.wasm", Accept_Encoding="gzip, br")
    assert (answer.headers["Content-Encoding"], answer.body) == ("br", packed)
    for damaged in (packed[:-1], brotli.compress(plain + b"x"), b"in brotli"):
        (folder / "chimera.wasm.br").write_bytes(damaged)
        answer = Answer(server, "/chimera.wasm", Accept_Encoding="gzip, br")
        assert (answer.headers["Content-Encoding"], gzip.decompress(answer.body)) == ("gzip", plain)


@pytest.mark.parametrize("kind", ["another file", "cut", "longer", "no gzip", "a bomb"])
def test_copies_that_do_not_hold_the_file_are_not_sent(kind: str, server: BundleServer, folder: Path) -> None:
    plain = (folder / "chimera.wasm").read_bytes()
    whole = gzip.compress(plain, 1)
    copies = {
        "another file": gzip.compress(plain[:-1] + b"x", 1),
        "cut": whole[:-1],
        "longer": whole + b"x",
        "no gzip": b"no gzip",
        "a bomb": gzip.compress(bytes(50_000_000)),
    }
    (folder / "chimera.wasm.gz").write_bytes(copies[kind])
    answer = Answer(server, "/chimera.wasm", Accept_Encoding="gzip")
    assert answer.body != copies[kind]
    assert (answer.headers["Content-Encoding"], gzip.decompress(answer.body)) == ("gzip", plain)


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        *(("bytes=0-0", slice(0, 1)), ("bytes=5-9", slice(5, 10)), ("bytes=7-", slice(7, None))),
        *(("bytes=-4", slice(-4, None)), ("bytes=3-999999999", slice(3, None)), ("bytes=-999999999", slice(None))),
    ],
)
def test_a_range_of_bytes(server: BundleServer, folder: Path, asked: str, part: slice) -> None:
    name = max(listed(folder), key=lambda n: listed(folder)[n])
    whole = (folder / name).read_bytes()
    answer = Answer(server, f"/{name}", Range=asked, Accept_Encoding="gzip")
    assert (answer.status, answer.body) == (206, whole[part])
    start, stop, _ = part.indices(len(whole))
    assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(whole)}"
    assert "Content-Encoding" not in answer.headers


def test_ranges_that_are_not_there_or_not_understood(server: BundleServer, folder: Path) -> None:
    name = next(iter(listed(folder)))
    size = listed(folder)[name]
    for asked in (f"bytes={size}-", "bytes=-0"):
        answer = Answer(server, f"/{name}", Range=asked)
        assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
    for asked in ("bytes=9-3", "bytes=1-2,5-6", "lines=1-2", "bytes=-", "bytes=٣-٤".encode().decode("latin-1")):
        assert Answer(server, f"/{name}", Range=asked).status == 200
    stale = Answer(server, f"/{name}", Range="bytes=0-3", If_Range='"older"')
    assert (stale.status, len(stale.body)) == (200, size)


def test_texts_and_modules_are_compressed_for_who_asks(server: BundleServer, folder: Path) -> None:
    plain = Answer(server, "/chimera.wasm")
    packed = Answer(server, "/chimera.wasm", Accept_Encoding="br, gzip;q=0.5")
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body
    assert len(packed.body) < 0.9 * len(plain.body)
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert packed.headers["Vary"] == "Accept-Encoding"
    for refused in ("gzip;q=0", "br", "identity", "gzipped"):
        assert "Content-Encoding" not in Answer(server, "/chimera.wasm", Accept_Encoding=refused).headers


def raw(server: BundleServer, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_requests_that_are_none_get_an_answer_and_no_traceback(
    server: BundleServer, capfd: pytest.CaptureFixture[str]
) -> None:
    host = f"Host: 127.0.0.1:{server.server_address[1]}\r\n".encode()
    for request, status in (
        (b"POST / HTTP/1.1\r\n" + host + b"\r\n", b"405"),
        (b"DELETE /manifest.json HTTP/1.1\r\n" + host + b"\r\n", b"405"),
        (b"GET /manifest.json HTTP/1.1\r\n\r\n", b"400"),
        (b"GET /manifest.json HTTP/1.1\r\n" + host * 2 + b"\r\n", b"400"),
        (b"GET /manifest.json HTTP/1.1\r\n" + host + b"Content-Length: 3\r\n\r\nabc", b"400"),
        (b"GET /manifest.json HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n", b"400"),
        (b"GET /\x00\xff HTTP/1.1\r\n" + host + b"\r\n", b"404"),
        (b"GET http://evil.example/manifest.json HTTP/1.1\r\n" + host + b"\r\n", b"404"),
        (b"GET " + b"a" * 70_000, b"414"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET / HTTP/9.9\r\n\r\n", b"505"),
    ):
        assert status in raw(server, request)[:400], request[:60]
    assert raw(server, b"") == b""
    assert Answer(server, "/manifest.json").status == 200
    assert capfd.readouterr().err == ""


def test_several_requests_on_one_connection(server: BundleServer, folder: Path) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    for name in ("manifest.json", "nothing", "manifest.json"):
        connection.request("GET", f"/{name}")
        answer = connection.getresponse()
        answer.read()
        assert answer.status == (200 if name == "manifest.json" else 404)
    connection.close()


def test_connections_that_dawdle_are_bounded_and_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a request on each of many connections takes no more than the places there are, and no place for ever."""
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 8)
    with BundleServer(folder, port=0) as server:
        before = threading.active_count()
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        connections = [socket.create_connection(("127.0.0.1", server.server_address[1]), timeout=60) for _ in range(60)]
        most = 0
        for connection in connections:
            try:
                connection.sendall(b"GET /manifest.json HT")
            except OSError:
                continue  # it was one too many
            most = max(most, threading.active_count() - before - 1)
        assert most <= 8
        for connection in connections:  # every one is ended by the server
            try:
                assert connection.recv(100) == b""
            except ConnectionResetError:
                continue
        while True:  # and its place is free again
            try:
                assert Answer(server, "/manifest.json").status == 200
                break
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)
        server.shutdown()
        for connection in connections:
            connection.close()


def test_what_cannot_be_served(server: BundleServer, toy: Any, wasm_toy: Any, tmp_path: Any) -> None:
    port = int(server.server_address[1])
    for code, folder, number in (
        ("CHM410", tmp_path, 0),
        ("CHM413", toy.folder, 0),
        ("CHM441", wasm_toy.folder, port),
        ("CHM441", wasm_toy.folder, 70000),
    ):
        with pytest.raises(BundleError) as caught:
            BundleServer(folder, port=number)
        assert caught.value.code == code
        assert caught.value.hint
