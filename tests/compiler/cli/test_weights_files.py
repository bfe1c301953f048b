"""``--weights``: the right file gives the bytes of the same seed, every wrong one is refused and leaves nothing."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from chimera_weights import initialise
from cli_tools import Command
from safetensors.numpy import load, save

from chimerac.compiler.build.importing import read_description
from chimerac.compiler.ir.module import Constant
from chimerac.compiler.model import Model
from chimerac.frontends.families.chimera.model import ChimeraModel
from chimerac.frontends.weights.checkpoint import save_safetensors
from chimerac.runtime.bundle_format import read_container, read_manifest
from chimerac.runtime.reference.tokenizer import byte_tokenizer, write_tokenizer

Tensors = dict[str, np.ndarray]


SEED = 0  # of the session's bundles


@pytest.fixture(scope="module")
def good(document: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights that fit the document at nano scale."""
    shape = read_description(document, scale="nano").description.shape
    model = ChimeraModel(shape)
    initialise(model, SEED)
    path = tmp_path_factory.mktemp("weights") / "run3.safetensors"
    save_safetensors(model, path)
    return path


@pytest.mark.slow
def test_a_file_and_its_seed_give_the_same_weights(
    chimerac: Command, document: Path, bundles: dict[str, Path], good: Path, tmp_path: Path
) -> None:
    shown = chimerac("build", document, "--scale", "nano", "-t", "wasm", "--weights", good, "-o", tmp_path)
    assert shown.code == 0, shown.err
    assert "random" not in shown.out
    seeded = bundles["wasm"]
    filed = tmp_path / seeded.name
    weights = read_manifest(seeded).file("weights")
    assert weights is not None
    sections = [list(read_container(folder / weights.name).sections.values()) for folder in (seeded, filed)]
    assert sections[0] == sections[1]
    for name in (weights.name, "chimera.wasm"):
        assert (seeded / name).read_bytes() == (filed / name).read_bytes()
    assert read_manifest(seeded).self_test == read_manifest(filed).self_test
    assert read_manifest(seeded).provenance["weights"] == "random, seed 0"
    assert read_manifest(filed).provenance["weights"] == "run3.safetensors"
    assert "learnt nothing" in (seeded / "MODEL_CARD.md").read_text()
    assert "learnt nothing" not in (filed / "MODEL_CARD.md").read_text()


@pytest.mark.slow
def test_verify_compares_with_pytorch(
    chimerac: Command, document: Path, bundles: dict[str, Path], imported: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chimerac.compiler.verbs.verify.TEXT", b"It was a bright day")  # for a quicker test
    shown = chimerac("verify", bundles["wasm"], "--config", document, "--scale", "nano")
    assert shown.code == 0, shown.err
    assert [line.split(":")[0] for line in shown.out.splitlines()] == [
        "files",
        "self-test",
        "kernels",
        "PyTorch",
        "PyTorch without alignment",
        "PyTorch with activations of 32 bits",
    ]


def test_verify_refuses_other_weights(
    chimerac: Command, document: Path, bundles: dict[str, Path], imported: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "layers.4.mixer.q_conv.weight"
    data = imported.module.constants[name].data.copy()
    data[0, 0] = np.nextafter(data[0, 0], np.float32(1))
    constants = {**imported.module.constants, name: Constant(imported.module.constants[name].type, data)}
    module = replace(imported.module, constants=constants)
    other = replace(imported, module=module, provenance={"weights": "other.safetensors"})
    monkeypatch.setattr("chimerac.compiler.build.importing.import_described", lambda *_, **__: other)
    shown = chimerac("verify", bundles["wasm"], "--config", document, "--scale", "nano")
    shown.refused("CHM330", f"the bundle has other weights than other.safetensors: {name} differs", "--seed")


def test_verify_refuses_another_config(chimerac: Command, document: Path, bundles: dict[str, Path]) -> None:
    chimerac("verify", bundles["wasm"], "--config", document).refused("CHM330", "another config", "--scale")
    chimerac("verify", bundles["wasm"], "--config", "home").refused("CHM330", "another config than home")


def edited(change: Callable[[Tensors], object]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        tensors = load(data)
        change(tensors)
        changed: bytes = save(tensors)
        return changed

    return apply


def with_header(change: Callable[[dict[str, dict[str, object]]], object]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        change(header)
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text + data[8 + size :]

    return apply


def pickled(data: bytes) -> bytes:
    return pickle.dumps({"weights": [1, 2, 3]})


def torch_saved(data: bytes) -> bytes:
    buffer = io.BytesIO()
    torch.save({"embed.weight": torch.zeros(2)}, buffer)
    return buffer.getvalue()


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("weights", data[:100])
    return buffer.getvalue()


NORM = "layers.0.mixer_norm.weight"

BAD: dict[str, tuple[str, str, Callable[[bytes], bytes]]] = {
    "empty": ("CHM240", "0 bytes", lambda d: b""),
    "8 bytes": ("CHM240", "8 bytes", lambda d: d[:8]),
    "cut in the header": ("CHM240", "truncated", lambda d: d[:1000]),
    "cut in the data": ("CHM240", "", lambda d: d[: len(d) // 2]),
    "cut by one byte": ("CHM240", "", lambda d: d[:-1]),
    "one byte more": ("CHM240", "", lambda d: d + b"\0"),
    "a web page": ("CHM240", "header claims", lambda d: b"<!doctype html><html>404</html>"),
    "GGUF": ("CHM240", "a GGUF file of llama.cpp", lambda d: b"GGUF\3\0\0\0" + bytes(100)),
    "pickle": ("CHM240", "pickle or zip", pickled),
    "torch.save": ("CHM240", "pickle or zip", torch_saved),
    "zip": ("CHM240", "pickle or zip", zipped),
    "header not JSON": ("CHM240", "", lambda d: d[:8] + b"!" + d[9:]),
    "header of 2**63 bytes": ("CHM240", "header claims", lambda d: (1 << 63).to_bytes(8, "little") + d[8:]),
    "offsets outside": (
        "CHM240",
        "",
        with_header(lambda h: h[NORM].update(data_offsets=[0, 1 << 40])),
    ),
    "shape of 2**62": ("CHM240", "", with_header(lambda h: h[NORM].update(shape=[1 << 62, 1 << 62]))),
    "a tensor missing": ("CHM241", f"missing {NORM} [128]", edited(lambda t: t.pop(NORM))),
    "a wrong name": (
        "CHM241",
        f"unexpected layers.0.mixer_norm.wieght (did you mean '{NORM}'?)",
        edited(lambda t: t.update({"layers.0.mixer_norm.wieght": t.pop(NORM)})),
    ),
    "a wrong shape": (
        "CHM241",
        f"{NORM} has shape [64], expected [128]",
        edited(lambda t: t.update({NORM: t[NORM][:64]})),
    ),
    "one dimension more": (
        "CHM241",
        f"{NORM} has shape [128, 1], expected [128]",
        edited(lambda t: t.update({NORM: t[NORM][:, None]})),
    ),
    "integers": ("CHM241", f"{NORM} has type I32", edited(lambda t: t.update({NORM: t[NORM].astype(np.int32)}))),
    "not a number": ("CHM242", f"{NORM} holds NaN", edited(lambda t: t[NORM].__setitem__(3, np.nan))),
    "infinite": ("CHM242", f"{NORM} holds NaN or inf", edited(lambda t: t[NORM].__setitem__(3, np.inf))),
    "another model": ("CHM241", "and ", edited(lambda t: [t.pop(n) for n in list(t) if n != NORM])),
}


@pytest.mark.parametrize("case", BAD)
def test_wrong_weights_are_refused(chimerac: Command, document: Path, good: Path, tmp_path: Path, case: str) -> None:
    code, part, spoil = BAD[case]
    weights = tmp_path / "spoilt.safetensors"
    weights.write_bytes(spoil(good.read_bytes()))
    shown = chimerac("build", document, "--scale", "nano", "-o", tmp_path / "dist", "--weights", weights)
    shown.refused(code, str(weights), part)
    assert len(shown.err) < 3000
    assert not (tmp_path / "dist").exists()


def test_a_missing_file_is_named(chimerac: Command, tmp_path: Path) -> None:
    shown = chimerac("build", "home", "-o", tmp_path / "dist", "--weights", tmp_path / "gone")
    shown.refused("CHM240", f"can't read {tmp_path / 'gone'}: No such file or directory")
    chimerac("build", "home", "--weights", tmp_path).misused("is a directory")
    assert not (tmp_path / "dist").exists()


def test_wrong_tokenizers_are_refused(chimerac: Command, document: Path, tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.tokenizer"
    garbage.write_bytes(b"<!doctype html>" * 1000)
    long = tmp_path / "long.tokenizer"
    write_tokenizer(long, byte_tokenizer(4096))
    for tokenizer, code, part in (
        (tmp_path / "gone", "CHM400", "No such file"),
        (garbage, "CHM401", ""),
        (long, "CHM244", "has 4096 tokens, the model 320"),
    ):
        shown = chimerac("build", document, "--scale", "nano", "-o", tmp_path / "dist", "--tokenizer", tokenizer)
        shown.refused(code, str(tokenizer), part)
        assert "parameters" not in shown.out
    assert not (tmp_path / "dist").exists()
