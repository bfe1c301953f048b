"""Files that are no model file, by what they begin with: what they are, and how one gets what was meant."""

from __future__ import annotations

from collections.abc import Mapping

_SAFE = "save the weights as safetensors: safetensors.torch.save_file(model.state_dict(), path)"
#: First bytes → what such a file is, and how its weights get here.
MAGICS: Mapping[bytes, tuple[str, str]] = {
    b"GGUF": ("a GGUF file of llama.cpp", "take the safetensors files that it was converted from"),
    b"lmgg": ("a GGML file of llama.cpp", "take the safetensors files that it was converted from"),
    b"tjgg": ("a GGML file of llama.cpp", "take the safetensors files that it was converted from"),
    b"PK\x03\x04": ("a pickle or zip file, which chimerac does not open", _SAFE),
    b"PK\x05\x06": ("an empty zip file", _SAFE),
    b"\x80": ("a pickle or zip file, which chimerac does not open", _SAFE),
    b"\x89HDF\r\n\x1a\n": ("an HDF5 file", _SAFE),
    b"\x93NUMPY": ("a numpy array", _SAFE),
    b"version https://git-lfs": ("a pointer of Git LFS to the file that is meant", "fetch the file: git lfs pull"),
    b"<!DOCTYPE": ("a web page", "the download gave a page and not the file; its address may need a login"),
    b"<html": ("a web page", "the download gave a page and not the file; its address may need a login"),
    b"\x1f\x8b": ("packed with gzip", "unpack it"),
    b"\x28\xb5\x2f\xfd": ("packed with zstd", "unpack it"),
    b"\xfd7zXZ": ("packed with xz", "unpack it"),
}


def known(begin: bytes) -> tuple[str, str] | None:
    """What a file that begins so is, and what to do; None of one that is none of these, or may be safetensors.

    The ninth byte tells: a header of safetensors starts with a brace, whatever its length in the eight bytes before.
    """
    if begin[8:9] == b"{":
        return None
    return next((said for magic, said in MAGICS.items() if begin.startswith(magic)), None)
