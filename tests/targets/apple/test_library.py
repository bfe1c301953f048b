"""The dylibs and bundles for Apple's systems: what dyld, the code signature, apps and the command line need of them."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from apple_machine import PAGE, AppleMachine
from apple_models import Built
from cli_tools import Outcome, start
from macho import ADHOC, EXECUTE, WRITE, MachO

import chimerac
from chimerac.compiler.errors import InternalError
from chimerac.runtime.bundle_format import APPLE_DIRECTORY, exported_functions, read_manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.sessions.loading import check_runs_here
from chimerac.targets.code.link import link
from chimerac.targets.code.macho import hide_symbols
from chimerac.targets.isa import load_isa
from chimerac.targets.registry import TARGETS, find_target

#: target → platform and oldest version
SYSTEMS = {"apple-amx": ("macos", (11, 0)), "ios-arm64": ("ios", (15, 0))}
LINKERS_OWN = {"__mh_dylib_header", "___dso_handle"}


def library(built: Built, target: str) -> MachO:
    return MachO((built.paths[target] / "libchimera.dylib").read_bytes())


@pytest.mark.parametrize("target", SYSTEMS)
def test_system_and_dependencies(nano: Built, target: str) -> None:
    image = library(nano, target)
    assert (image.platform, image.minimum_os) == SYSTEMS[target]
    assert image.install_name == "@rpath/libchimera.dylib"
    assert image.dependencies == ["/usr/lib/libSystem.B.dylib"]


@pytest.mark.parametrize("target", SYSTEMS)
def test_exports_are_the_functions_of_the_header(nano: Built, target: str) -> None:
    expected = {f"_{name}" for name in exported_functions(wasm=False)}
    assert set(library(nano, target).exports) - LINKERS_OWN == expected


@pytest.mark.parametrize("target", SYSTEMS)
def test_segments_are_whole_pages_and_never_both_writable_and_executable(nano: Built, target: str) -> None:
    image = library(nano, target)
    assert [s.name for s in image.segments] == ["__TEXT", "__DATA_CONST", "__DATA", "__LINKEDIT"]
    end = 0
    for segment in image.segments:
        assert segment.address % PAGE == segment.file_offset % PAGE == 0
        assert segment.address >= end
        assert segment.file_offset + segment.file_size <= len(image.data)
        assert segment.protection & (WRITE | EXECUTE) != WRITE | EXECUTE
        assert segment.most_protection & (WRITE | EXECUTE) != WRITE | EXECUTE
        end = segment.address + segment.size
    assert all(image.segment("__TEXT").address <= a < end for a in image.exports.values())


def test_imports_for_ios_are_those_that_the_stub_lists(nano: Built) -> None:
    stub = (APPLE_DIRECTORY / "libAppleHost.tbd").read_text()
    symbols = set(stub.split("symbols:")[1].replace("[", " ").replace("]", " ").replace(",", " ").split())
    assert {bind.symbol for bind in library(nano, "ios-arm64").binds} <= symbols


def test_the_macos_library_is_signed_ad_hoc(nano: Built) -> None:
    """Apple's arm64 kernels run no code without a signature; one without a certificate is enough on macOS."""
    image = library(nano, "apple-amx")
    directory = image.code_directory
    assert directory.flags & ADHOC
    assert directory.identifier == "libchimera.dylib"
    assert image.signature_offset + image.signature_size == len(image.data)
    assert len(directory.hashes) > 10
    assert image.signature_errors() == []
    text = image.segment("__TEXT")
    damaged = bytearray(image.data)
    damaged[text.file_offset + text.file_size - 1] ^= 1
    assert len(MachO(bytes(damaged)).signature_errors()) == 1


def test_the_ios_library_is_left_for_xcode_to_sign(nano: Built) -> None:
    """There is room for the load command of a signature, and for another install name."""
    image = library(nano, "ios-arm64")
    assert image.signature_offset == 0
    assert image.header_room >= 4096


SOURCE = """
static int counter;
__attribute__((visibility("default"))) int visible(int a) { return a + ++counter; }
int hidden(int a) { return a - 1; }
"""


def test_linking_again_gives_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for folder in (tmp_path / "a", tmp_path / "another-place"):
        folder.mkdir()
        source, output = folder / "code.c", folder / "out" / "libcode.dylib"
        source.write_text(SOURCE)
        link([], [source], load_isa("macos-arm64"), output, ["visible"])
        found.append(output.read_bytes())
    assert found[0] == found[1]
    assert set(MachO(found[0]).exports) - LINKERS_OWN == {"_visible"}
    machine = AppleMachine(tmp_path / "a" / "out" / "libcode.dylib")
    assert [machine.call("visible", 5) for _ in range(3)] == [6, 7, 8]


def test_symbols_of_objects_are_hidden_but_for_the_exports(tmp_path: Path) -> None:
    source, whole = tmp_path / "code.c", tmp_path / "code.o"
    source.write_text(SOURCE.replace("static int counter", "int counter"))
    command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-macos.11.0", "-O2", "-c", str(source)]
    subprocess.run([*command, "-o", str(whole)], check=True)
    for exports in (["visible"], ["hidden"], ["hidden", "counter"]):
        output = tmp_path / "libcode.dylib"
        link([whole], [], load_isa("macos-arm64"), output, exports)
        assert set(MachO(output.read_bytes()).exports) - LINKERS_OWN == {f"_{name}" for name in exports}
    with pytest.raises(InternalError, match="not a Mach-O object"):
        hide_symbols(output.read_bytes(), [])


@pytest.mark.parametrize("target", SYSTEMS)
def test_bundles_have_what_an_app_needs(nano: Built, target: str) -> None:
    names = {path.name for path in nano.paths[target].iterdir()}
    assert {"libchimera.dylib", "chimera.h", "chm_format.h", "module.modulemap", "manifest.json"} <= names
    manifest = read_manifest(nano.paths[target])
    assert manifest.target == TARGETS[target].isa
    assert {f.name for f in manifest.files} == names - {"manifest.json"}


def test_the_module_can_be_imported(nano: Built, tmp_path: Path) -> None:
    """With clang's modules, on which Swift's import of C rests."""

    def compiles(function: str) -> bool:
        source = tmp_path / "app.m"
        source.write_text(f"@import Chimera;\nint main(void) {{ return {function}() == CHM_ERROR_ARGUMENT; }}\n")
        command = [sys.executable, "-m", "ziglang", "cc", "-target", "aarch64-macos.11.0", "-fmodules"]
        command += [f"-fmodules-cache-path={tmp_path / 'modules'}", f"-I{nano.paths['apple-amx']}"]
        done = subprocess.run([*command, "-c", str(source), "-o", str(tmp_path / "app.o")], capture_output=True)
        return done.returncode == 0

    assert compiles("chm_vocab_size")
    assert not compiles("chm_unknown")


@pytest.mark.parametrize("name", ["apple_amx", "apple_silicon_amx", "macos-arm64", "Apple-AMX", "macos"])
def test_names_of_the_macos_target(name: str) -> None:
    assert find_target(name).name == "apple-amx"


def test_names_of_the_ios_target() -> None:
    assert find_target("ios").name == find_target("ios-arm64").name == "ios-arm64"


@pytest.mark.skipif(platform.system() == "Darwin", reason="some of it runs here")
@pytest.mark.parametrize(("target", "system"), [("apple-amx", "macOS"), ("ios-arm64", "iOS")])
def test_running_elsewhere_is_refused(nano: Built, target: str, system: str) -> None:
    for action in (chimerac.load, check_runs_here):
        with pytest.raises(BundleError, match=f"the bundle is for {system} on arm64, this machine runs") as caught:
            action(nano.paths[target])
        assert caught.value.code == "CHM413"
    process = start("run", nano.paths[target], "hello")
    out, err = process.communicate()
    Outcome(process.returncode, out, err).refused("CHM413", system, "docs/apple.md")


def test_a_mac_takes_what_is_for_macs(nano: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    check_runs_here(nano.paths["apple-amx"])
    with pytest.raises(BundleError, match="this machine runs macOS"):
        check_runs_here(nano.paths["ios-arm64"])
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    with pytest.raises(BundleError, match="this machine runs macOS on x86_64"):
        check_runs_here(nano.paths["apple-amx"])


def test_a_damaged_library_is_noticed(nano: Built, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(nano.paths["apple-amx"], folder)
    (folder / "module.modulemap").unlink()
    with pytest.raises(BundleError) as caught:
        chimerac.load(folder)
    assert caught.value.code == "CHM412"
