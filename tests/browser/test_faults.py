"""Web bundles in Chromium under faults of servers, storage and policies: they heal, or say in a class what is wrong.

Which test has which fault:

- a page of HTML in place of a file, with 404 and with 200; ranges that are ignored; an answer that ends in the middle;
  other bytes of the same size: ``test_faults_of_a_server`` and ``test_faults_of_a_server_in_node``, of
  ``support/faulty_server.py``
- no room left; no OPFS: ``test_storage_that_is_missing_or_full``
- a cache that is half filled, or damaged: ``test_a_cache_that_is_half_filled``,
  ``test_what_is_kept_is_compared_and_heals``
- no SIMD: ``test_what_an_engine_lacks``
- no threads; a page that is not isolated:
  ``test_page.py``, ``test_without_the_headers_the_page_has_one_thread_and_says_why``
- a strict content security policy: ``test_content_security_policies``
- a second tab: ``test_two_tabs_share_a_download``
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from faulty_server import FaultyServer, faulty

from chimerac.compiler.packaging.scripts import write_web_files
from chimerac.runtime import bundle_format as bf
from chimerac.runtime import load

HERE = Path(__file__).parent
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CHUNK = 4096

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium"),
    pytest.mark.skipif(not (HERE / "node_modules").exists(), reason="run scripts/setup-browser.sh"),
]


@pytest.fixture(scope="module")
def site(wasm_toy: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The toy with its runtime and the test's pages; its weights come in small parts."""
    folder = tmp_path_factory.mktemp("site") / "toy"
    shutil.copytree(wasm_toy.folder, folder)
    write_web_files(folder, bf.WEB_FILES)
    files = [
        bf.chunked(entry, folder / entry.name, CHUNK) if entry.role == "weights" else entry
        for entry in wasm_toy.manifest.files
    ]
    bf.write_manifest(folder, replace(wasm_toy.manifest, files=tuple(files)))
    for script in (HERE / "policy.mjs", HERE / "service.mjs", HERE.parent / "runtime/web/faults.mjs"):
        shutil.copy(script, folder)
    (folder / "empty.html").write_text("<!doctype html><meta charset=utf-8>")
    (folder / "policy.html").write_text(
        "<!doctype html><meta charset=utf-8><script type=module src=policy.mjs></script>"
    )
    return folder


@pytest.fixture(scope="module")
def servers(site: Path) -> Iterator[tuple[FaultyServer, ...]]:
    """Three, each with an origin and counts of its own."""
    with faulty(site, "toy.b158") as one, faulty(site, "toy.b158") as other, faulty(site, "toy.b158") as third:
        foreign = f'import "{other.url}plain/worker.mjs";\n'
        (site / "foreign.mjs").write_text(foreign)
        yield one, other, third


@pytest.fixture(scope="module")
def found(servers: tuple[FaultyServer, ...]) -> dict[str, Any]:
    command = ["node", "faults.mjs", servers[0].url, servers[1].url, str(CHROMIUM)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results


@pytest.fixture(scope="module")
def tokens(toy: Any) -> list[int]:
    with load(toy.folder) as session:
        list(session.generate("hello", max_tokens=8))
        return list(session.tokens())


def total(site: Path) -> int:
    return sum(entry.bytes for entry in bf.read_manifest(site).files)


def failure(row: Any) -> tuple[str, str]:
    assert isinstance(row, list), row
    return row[0], row[1]


def check_faults(found: dict[str, Any], tokens: list[int], size: int, *, kept: bool) -> None:
    """What comes of each fault. kept: whether parts are asked for and stored, or whole files read as they come."""
    for name in ("plain", "no-ranges", "no-ranges-cut", "cut", "stall", "busy", "wrong-once"):
        came = found[name]["came"]
        assert isinstance(came, dict), (name, came)
        assert came["tokens"] == tokens, name
        assert found[name]["rising"], name
        assert found[name]["last"] == size, name
        storage = came["storage"]
        assert storage["cached"] == 0
        assert storage["downloaded"] >= size
        assert storage["kind"] == ("opfs" if kept else "memory")
    for name in ("plain", "busy"):
        assert found[name]["came"]["storage"]["downloaded"] == size, "nothing is asked for twice"
    assert failure(found["html404"]["came"]) == ("HttpError", "CHM400")
    assert failure(found["html"]["came"]) == ("HtmlError", "CHM412")
    assert failure(found["wrong"]["came"]) == ("IntegrityError", "CHM412")
    assert "toy.b158" in found["wrong"]["came"][2]
    assert failure(found["gone"]["came"]) == ("NetworkError", "CHM442")


@pytest.mark.slow
@pytest.mark.parametrize("where", ["worker", "thread"])
def test_faults_of_a_server(found: dict[str, Any], site: Path, tokens: list[int], where: str) -> None:
    check_faults(found[f"faults {where}"], tokens, total(site), kept=True)


def test_faults_of_a_server_in_node(servers: tuple[FaultyServer, ...], site: Path, tokens: list[int]) -> None:
    program = f"""
        import {{ Chimera }} from "{(bf.WEB_DIRECTORY / "chimera.mjs").as_uri()}";
        import {{ aborts, faults }} from "{(site / "faults.mjs").as_uri()}";
        const [base, own] = ["{servers[1].url}", {{ worker: false }}];
        const proxied = {{ fetch: (...given) => fetch(...given) }}; // of the caller's thread, used by the worker
        const found = [await faults(Chimera, base, own), await aborts(Chimera, base, own)];
        found.push(await faults(Chimera, "{servers[2].url}", proxied), await aborts(Chimera, base, {{}}));
        console.log(JSON.stringify(found));
        """
    command = ["node", "--input-type=module", "-e", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    own, own_aborts, proxied, worker_aborts = json.loads(done.stdout)
    check_faults(own, tokens, total(site), kept=False)
    check_aborts(own_aborts, tokens)
    check_faults(proxied, tokens, total(site), kept=False)
    check_aborts(worker_aborts, tokens)


def check_aborts(found: dict[str, Any], tokens: list[int]) -> None:
    for phase in ("download", "compile"):
        aborted, after = found[phase]
        assert aborted is True, "the reason of the signal"
        assert after["tokens"] == tokens
    for phase, most in (("prompt", 200_000), ("generate", 100_000)):
        name, position, after = found[phase]
        assert name == "AbortError"
        assert 0 < position < most
        assert after == tokens


@pytest.mark.slow
@pytest.mark.parametrize("where", ["worker", "thread"])
def test_aborts_in_each_phase(found: dict[str, Any], tokens: list[int], where: str) -> None:
    check_aborts(found[f"aborts {where}"], tokens)


@pytest.mark.slow
def test_what_is_kept_is_compared_and_heals(found: dict[str, Any], site: Path, tokens: list[int]) -> None:
    size = total(site)
    assert found["again"]["tokens"] == tokens
    assert found["again"]["storage"] == {"kind": "opfs", "downloaded": 0, "cached": size}
    (bundle,) = found["cached"]
    assert bundle["url"].endswith("/plain/manifest.json")
    assert {key: bundle[key] for key in ("name", "kind", "bytes", "stored", "complete")} == {
        "name": "toy",
        "kind": "opfs",
        "bytes": size,
        "stored": size,
        "complete": True,
    }
    damaged = found["damaged"]
    assert damaged["tokens"] == tokens
    assert damaged["storage"] == {"kind": "opfs", "downloaded": damaged["changed"], "cached": size - damaged["changed"]}


@pytest.mark.slow
def test_a_cache_that_is_half_filled(found: dict[str, Any], site: Path, tokens: list[int]) -> None:
    half = found["half"]
    assert half["parts"] > 2
    assert half["tokens"] == tokens
    assert half["storage"] == {"kind": "opfs", "downloaded": half["gone"], "cached": total(site) - half["gone"]}


@pytest.mark.slow
def test_without_a_network_what_is_kept_runs(found: dict[str, Any], tokens: list[int]) -> None:
    thread, worker, other = found["offline"]
    assert thread["tokens"] == worker["tokens"] == tokens
    assert thread["storage"]["downloaded"] == worker["storage"]["downloaded"] == 0
    assert failure(other) == ("NetworkError", "CHM442")


@pytest.mark.slow
def test_a_bundle_is_forgotten(found: dict[str, Any]) -> None:
    assert found["deleted"] == {"first": [True, False], "names": []}


@pytest.mark.slow
def test_two_tabs_share_a_download(found: dict[str, Any], site: Path, tokens: list[int]) -> None:
    size = total(site)
    assert [tab["tokens"] for tab in found["tabs"]] == [tokens] * 2
    assert sum(tab["storage"]["downloaded"] for tab in found["tabs"]) == size
    assert [tab["storage"]["downloaded"] + tab["storage"]["cached"] for tab in found["tabs"]] == [size] * 2


@pytest.mark.slow
def test_storage_that_is_missing_or_full(found: dict[str, Any], tokens: list[int]) -> None:
    kinds = {name: found[name]["storage"] for name in ("no opfs", "no storage", "quota", "full")}
    assert {name: storage["kind"] for name, storage in kinds.items()} == {
        "no opfs": "cache",
        "no storage": "memory",
        "quota": "memory",
        "full": "memory",
    }
    assert "room for 100" in kinds["quota"]["reason"]
    assert "full" in kinds["full"]["reason"]
    assert all(found[name]["tokens"] == tokens for name in kinds)
    for name in ("opfs named, and none", "quota named", "full, named"):
        assert failure(found[name]) == ("QuotaError", "CHM443"), name


@pytest.mark.slow
def test_what_an_engine_lacks(found: dict[str, Any]) -> None:
    assert failure(found["no WebAssembly"]) == ("WebAssemblyError", "CHM444")
    assert failure(found["no SIMD"]) == ("FeatureError", "CHM414")
    assert "SIMD" in found["no SIMD"][2]


@pytest.mark.slow
def test_content_security_policies(found: dict[str, Any], tokens: list[int]) -> None:
    assert found["strict"]["tokens"] == found["strict thread"]["tokens"] == tokens
    advice = {
        "no-eval": "'wasm-unsafe-eval'",
        "no-connect": "connect-src",
        "no-worker": "worker-src",
        "no-policy": "trusted-types chimera",
    }
    for name, directive in advice.items():
        assert failure(found[name]) == ("ContentSecurityError", "CHM445"), name
        assert directive in found[name][2]


@pytest.mark.slow
def test_workers_of_other_origins_and_service_workers(found: dict[str, Any], tokens: list[int]) -> None:
    assert failure(found["foreign"]) == ("WorkerError", "CHM446")
    assert "workerUrl" in found["foreign"][2]
    for name in ("foreign with workerUrl", "foreign, bundle here", "service worker"):
        assert found[name]["tokens"] == tokens, name


BACKGROUND = """import { Chimera } from "./toy/static.mjs";
import { outcome } from "./toy/faults.mjs";
globalThis.loads = () => outcome(() => Chimera.load(new URL("toy/", location.href)));
"""


@pytest.mark.slow
def test_an_extension(site: Path, tokens: list[int], tmp_path: Path) -> None:
    """Manifest V3: the service worker loads a bundle and keeps it, a page of the extension finds it kept."""
    shutil.copytree(site, tmp_path / "toy")
    manifest = {
        "manifest_version": 3,
        "name": "toy",
        "version": "1",
        "background": {"service_worker": "background.mjs", "type": "module"},
        "content_security_policy": {"extension_pages": "script-src 'self' 'wasm-unsafe-eval'"},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "background.mjs").write_text(BACKGROUND)
    command = ["node", "extension.mjs", str(tmp_path), str(CHROMIUM)]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["service"]["tokens"] == found["page"]["tokens"] == tokens
    size = total(site)
    assert found["service"]["storage"] == {"kind": "opfs", "downloaded": size, "cached": 0}
    assert found["page"]["storage"] == {"kind": "opfs", "downloaded": 0, "cached": size}


CYCLES = """
import { Chimera } from "%s";
const run = async (worker) => {
  const model = await Chimera.load("%s", { worker });
  for await (const piece of model.generate("hello", { maxTokens: 4 })) void piece;
  await model.dispose();
};
const grown = [];
for (const worker of [true, false]) {
  for (let i = 0; i < 10; i += 1) await run(worker);
  gc();
  const before = process.memoryUsage.rss();
  for (let i = 0; i < 50; i += 1) await run(worker);
  gc();
  grown.push(process.memoryUsage.rss() - before);
}
console.log(JSON.stringify(grown));
"""


@pytest.mark.slow
def test_fifty_models_leave_no_memory_behind(wasm_toy: Any) -> None:
    """Each has 2.3 MB of its own, and a worker several more."""
    program = CYCLES % ((bf.WEB_DIRECTORY / "chimera.mjs").as_uri(), wasm_toy.folder)
    command = ["node", "--expose-gc", "--input-type=module", "-e", program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert max(json.loads(done.stdout)) < 50 * 2.3e6 / 3, done.stdout


@pytest.mark.slow
def test_fifty_models_leave_no_memory_behind_in_chromium(servers: tuple[FaultyServer, ...]) -> None:
    command = ["node", "cycles.mjs", str(CHROMIUM), f"{servers[0].url}plain/", "50"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, timeout=300, check=True)
    assert max(json.loads(done.stdout)) < 50 * 2.3e6 / 3, done.stdout
