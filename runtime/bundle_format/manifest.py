"""The manifest of a bundle: what it is, for which machine, and size and SHA-256 of each of its files."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from chimerac.runtime.bundle_format import constants as c
from chimerac.runtime.bundle_format.atomic import write_atomically
from chimerac.runtime.bundle_format.chat import Chat, chat_fields, read_chat
from chimerac.runtime.bundle_format.checked import (
    UNPRINTABLE,
    InvalidError,
    count_of,
    list_of,
    need,
    object_of,
    text_of,
)
from chimerac.runtime.bundle_format.compared import remember, was_compared
from chimerac.runtime.bundle_format.entries import CallTest, Entry, read_call_test, read_entries
from chimerac.runtime.bundle_format.generation import Generation, generation_fields, read_generation
from chimerac.runtime.bundle_format.refusal import Refusal, read_refusal
from chimerac.runtime.bundle_format.regular import open_input, open_regular
from chimerac.runtime.bundle_format.strict_json import nesting
from chimerac.runtime.errors import BundleError

#: Key of ``provenance``: how many weights were read for a token, of a model with gated neurons.
ACTIVE: Final = "active weights"
FILE_ROLES: Final = ("code", "variant", "weights", "tokenizer", "grammar", "spans", "data", "runtime", "document")
#: Bytes of a part of a file that is downloaded in parts, and how many parts there are at most.
CHUNK_BYTES: Final = 1 << 20
MOST_CHUNKS: Final = 1024
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HASH64 = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True)
class Chunks:
    """SHA-256 of each part of a file: ``bytes`` are those of a part, of which the last one may have fewer."""

    bytes: int
    sha256: tuple[str, ...]


@dataclass(frozen=True)
class FileEntry:
    """A file in the folder of the bundle. ``role`` is one of FILE_ROLES; code, weights, tokenizer and spans are single.

    ``chunks`` are there where loaders get the file in parts, over a network.
    """

    name: str
    role: str
    bytes: int
    sha256: str
    chunks: Chunks | None = None


@dataclass(frozen=True)
class Memory:
    """Bytes that the bundle needs at run time.

    ``decode_bytes`` are the bytes of weights that are read for one decoded token, with the default number of loop
    iterations, each of which counts, and of experts the chosen ones; 0 where it is not known.
    """

    weights_bytes: int
    state_bytes: int
    arena_bytes: int
    decode_bytes: int = 0


@dataclass(frozen=True)
class SelfTest:
    """What the model computed when it was built: greedy tokens after a prompt, and hashes at the end (16 hex)."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    logits_hash: str
    state_hash: str


@dataclass(frozen=True)
class Manifest:
    """See docs/bundle.md for each field.

    ``context`` is 0 where a sequence may have 2**31 - 1 tokens. ``entries`` and ``call_test`` are of modules that are
    no language models.
    """

    name: str
    target: str
    config_sha256: str
    weights_sha256: str
    chimerac: str
    files: tuple[FileEntry, ...]
    memory: Memory
    cpu: tuple[str, ...] = ()
    self_test: SelfTest | None = None
    model_sha256: str = ""
    provenance: Mapping[str, str] = field(default_factory=dict)
    generation: Generation | None = None
    refusal: Refusal | None = None
    chat: Chat | None = None
    context: int = 0
    entries: tuple[Entry, ...] = ()
    call_test: CallTest | None = None
    abi: str = c.ABI
    schema: int = c.MANIFEST_SCHEMA

    def file(self, role: str) -> FileEntry | None:
        """The first file of a role."""
        return next((entry for entry in self.files if entry.role == role), None)


def file_entry(path: str | Path, role: str) -> FileEntry:
    """The manifest's entry for a file on disk; raises BundleError CHM400 if it cannot be read."""
    digest, size = _digest(Path(path))
    return FileEntry(Path(path).name, role, size, digest)


def chunked(entry: FileEntry, path: str | Path, size: int = CHUNK_BYTES) -> FileEntry:
    """The entry with the SHA-256 of parts of so many bytes, or as many times two that there are at most 1,024."""
    while size * MOST_CHUNKS < entry.bytes:
        size *= 2
    with open_regular(Path(path)) as file:
        parts = iter(lambda: file.read(size), b"")
        return replace(entry, chunks=Chunks(size, tuple(hashlib.sha256(part).hexdigest() for part in parts)))


def manifest_json(manifest: Manifest) -> bytes:
    """The text of manifest.json; raises ValueError if ``parse_manifest`` would refuse it.

    Control characters in the name and the provenance, such as those of a file's path, are written as escapes.
    """
    fields = asdict(manifest) | {
        "name": _escaped(manifest.name),
        "provenance": {key: _escaped(text) for key, text in sorted(manifest.provenance.items())},
    }
    del fields["generation"]
    del fields["chat"]
    if manifest.chat is not None:
        fields["chat"] = chat_fields(manifest.chat)
    for entry in fields["files"]:
        if entry["chunks"] is None:
            del entry["chunks"]
    if manifest.refusal is None:
        del fields["refusal"]
    if not manifest.context:
        del fields["context"]
    if not manifest.entries:  # a language model
        del fields["entries"], fields["call_test"]
    for port in (p for e in fields.get("entries", ()) for p in (*e["inputs"], *e["results"]) if p["values"] is None):
        del port["values"]
    if manifest.generation is not None:
        fields["generation"] = generation_fields(manifest.generation)
    order = (
        "schema",
        "abi",
        "name",
        "target",
        *(key for key in fields if key not in ("schema", "abi", "name", "target")),
    )
    text = json.dumps({key: fields[key] for key in order}, indent=2, ensure_ascii=True).encode() + b"\n"
    try:
        parse_manifest(text)
    except BundleError as error:
        raise ValueError(error.message) from None
    return text


def _escaped(text: str) -> str:
    return UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)


def write_manifest(folder: str | Path, manifest: Manifest) -> None:
    """Write manifest.json into a bundle's folder; write it last, so that a bundle with a manifest is whole."""
    write_atomically(Path(folder) / c.MANIFEST_NAME, manifest_json(manifest))


def _file(value: object) -> FileEntry:
    row = object_of(value, "a file", {"name", "role", "bytes", "sha256"})
    name = text_of(row["name"], "the file name", _FILE_NAME)
    role = text_of(row["role"], f"the role of {name}")
    need(role in FILE_ROLES, f"the role {role!r} of {name} is unknown")
    size, digest = count_of(row["bytes"], f"the size of {name}"), text_of(row["sha256"], "a sha256", _SHA256)
    return FileEntry(name, role, size, digest, _chunks(row.get("chunks"), name, size))


def _chunks(value: object, name: str, file_bytes: int) -> Chunks | None:
    if value is None:
        return None
    row = object_of(value, f"the chunks of {name}", {"bytes", "sha256"})
    parts = tuple(text_of(part, "a sha256", _SHA256) for part in list_of(row["sha256"], f"the chunks of {name}"))
    size = count_of(row["bytes"], f"the size of the chunks of {name}")
    fit = size > 0 and len(parts) == -(-file_bytes // size)
    need(fit, f"the chunks of {name} are not those of {file_bytes} bytes")
    return Chunks(size, parts)


def _self_test(value: object) -> SelfTest | None:
    if value is None:
        return None
    row = object_of(value, "self_test", {"prompt", "tokens", "logits_hash", "state_hash"})
    prompt = tuple(count_of(token, "a token") for token in list_of(row["prompt"], "self_test.prompt"))
    tokens = tuple(count_of(token, "a token") for token in list_of(row["tokens"], "self_test.tokens"))
    need(bool(prompt) and bool(tokens), "self_test has no tokens")
    hashes = (text_of(row["logits_hash"], "a hash", _HASH64), text_of(row["state_hash"], "a hash", _HASH64))
    return SelfTest(prompt, tokens, *hashes)


def _context(value: object) -> int:
    context = count_of(value, "context")
    need(context < 1 << 31, "context is not a number in range")
    return context


def _json(text: str) -> object:
    """JSON as JavaScript reads it too: bounded nesting, no NaN, and 1.0 is 1."""
    if nesting(text, c.MAX_MANIFEST_DEPTH)[0] > c.MAX_MANIFEST_DEPTH:
        raise ValueError(f"nested deeper than {c.MAX_MANIFEST_DEPTH}")
    value: object = json.loads(text, parse_float=_number, parse_constant=_no_number)
    return value


def _number(text: str) -> float | int:
    value = float(text)
    return int(value) if value.is_integer() else value


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is not JSON")


def parse_manifest(data: bytes, *, path: str | Path | None = None) -> Manifest:
    """Check and parse the text of a manifest; raises BundleError CHM410, CHM411 or CHM405."""
    if len(data) > c.MAX_MANIFEST_BYTES:
        raise BundleError("CHM410", f"the manifest has more than {c.MAX_MANIFEST_BYTES} bytes, the limit", path=path)
    try:
        value = _json(data.decode("utf-8"))
        row = object_of(value, "the manifest", {"schema", "abi"})
        schema, abi = count_of(row["schema"], "schema"), text_of(row["abi"], "abi")
        made_by = text_of(row.get("chimerac", "(unknown)"), "chimerac")
        hint = f"the bundle was made by chimerac {made_by}; build it again or install that version"
        if schema != c.MANIFEST_SCHEMA:
            message = f"manifest version {schema}; this runtime reads version {c.MANIFEST_SCHEMA}"
            raise BundleError("CHM411", message, path=path, hint=hint)
        if abi.split(".")[0] != str(c.ABI_MAJOR):
            raise BundleError("CHM405", f"bundle version {abi!r}; this runtime reads {c.ABI}", path=path, hint=hint)
        return _manifest(row, schema, abi)
    except (InvalidError, ValueError) as error:
        raise BundleError("CHM410", f"the manifest is not valid: {error}", path=path) from None


def _manifest(row: dict[str, Any], schema: int, abi: str) -> Manifest:
    keys = {"name", "target", "config_sha256", "weights_sha256", "chimerac", "files", "memory", "cpu", "self_test"}
    row = object_of(row, "the manifest", keys | {"provenance"})
    files = tuple(_file(entry) for entry in list_of(row["files"], "files"))
    names = [entry.name.lower() for entry in files]
    need(len(set(names)) == len(names), "a file is listed twice")
    roles = [entry.role for entry in files]
    for role in ("code", "weights"):
        need(roles.count(role) == 1, f"{roles.count(role)} files have the role {role}, not one")
    need(max(roles.count("tokenizer"), roles.count("spans")) <= 1, "more than one tokenizer, or bank of spans")
    memory = object_of(row["memory"], "memory", {"weights_bytes", "state_bytes", "arena_bytes"})
    provenance = object_of(row["provenance"], "provenance", set())
    entries = read_entries(row.get("entries", []))
    return Manifest(
        name=text_of(row["name"], "name"),
        target=text_of(row["target"], "target"),
        config_sha256=text_of(row["config_sha256"], "config_sha256"),
        weights_sha256=text_of(row["weights_sha256"], "weights_sha256"),
        chimerac=text_of(row["chimerac"], "chimerac"),
        files=files,
        memory=Memory(
            weights_bytes=count_of(memory["weights_bytes"], "weights_bytes"),
            state_bytes=count_of(memory["state_bytes"], "state_bytes"),
            arena_bytes=count_of(memory["arena_bytes"], "arena_bytes"),
            decode_bytes=count_of(memory.get("decode_bytes", 0), "decode_bytes"),
        ),
        cpu=tuple(text_of(feature, "a cpu feature") for feature in list_of(row["cpu"], "cpu")),
        self_test=_self_test(row["self_test"]),
        model_sha256=text_of(row.get("model_sha256", ""), "model_sha256"),
        provenance={
            text_of(key, "a key of provenance"): text_of(value, f"provenance.{key[:70]}")
            for key, value in provenance.items()
        },
        generation=read_generation(row.get("generation")),
        refusal=read_refusal(row.get("refusal")),
        chat=read_chat(row.get("chat")),
        context=_context(row.get("context", 0)),
        entries=entries,
        call_test=read_call_test(row.get("call_test"), entries, _HASH64),
        abi=abi,
        schema=schema,
    )


def read_manifest(folder: str | Path) -> Manifest:
    """The manifest of a bundle's folder; raises BundleError CHM410, CHM411 or CHM405."""
    path = Path(folder) / c.MANIFEST_NAME
    try:
        with open_regular(path) as file:
            data = file.read(c.MAX_MANIFEST_BYTES + 1)  # one more than a manifest may have, so that it is refused
    except OSError as error:
        hint = "give the folder that `chimerac build` wrote"
        raise BundleError("CHM410", f"there is no bundle here: {error.strerror}", path=path, hint=hint) from None
    return parse_manifest(data, path=path)


def verify_files(folder: str | Path, manifest: Manifest, *, again: bool = True) -> None:
    """Compare size and SHA-256 of every file with the manifest; raises BundleError CHM412 for the first difference.

    Without ``again``, large files that were compared before and have not been changed since are not read.
    """
    for entry in manifest.files:
        path = Path(folder) / entry.name
        try:
            status = os.lstat(path)
        except OSError as error:
            raise BundleError("CHM412", f"the file is missing: {error.strerror}", path=path) from None
        if not stat.S_ISREG(status.st_mode):
            raise BundleError("CHM412", "not a regular file", path=path)
        if status.st_size != entry.bytes:
            raise BundleError("CHM412", f"{status.st_size} bytes, the manifest says {entry.bytes}", path=path)
        if not again and was_compared(status, entry.sha256):
            continue
        if _digest(path)[0] != entry.sha256:
            hint = "copy or download the bundle again"
            raise BundleError("CHM412", "the SHA-256 differs from the manifest", path=path, hint=hint)
        remember(status, os.lstat(path), entry.sha256)


def _digest(path: Path) -> tuple[str, int]:
    try:
        with open_input(path) as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return digest, file.tell()
    except OSError as error:
        raise BundleError("CHM400", f"cannot read the file: {error.strerror}", path=path) from None
