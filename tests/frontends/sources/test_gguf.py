"""GGUF files: those of the gguf package are read as it reads them, broken ones are refused with one error."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_files import Gguf, Tensor, integer_value, random_blocks, small_gguf, text, text_value, texts_value, u32, u64

from chimerac.compiler.errors import UserError
from chimerac.frontends.encodings.two_bits import Q2_0_64, Q2_0_128
from chimerac.frontends.sources.gguf import GgufFile, open_gguf
from chimerac.frontends.sources.gguf_metadata import MAX_KEYS, MAX_STRINGS, Strings

RANDOM = np.random.default_rng(5)


def opened(folder: Path, content: Gguf | bytes) -> GgufFile:
    path = folder / "model.gguf"
    path.write_bytes(content if isinstance(content, bytes) else content.bytes())
    return open_gguf(path)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of the gguf package with values of every type."""
    path = tmp_path_factory.mktemp("gguf") / "theirs.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("a.u8", 255)
    writer.add_int8("a.i8", -128)
    writer.add_uint16("a.u16", 65535)
    writer.add_int16("a.i16", -32768)
    writer.add_uint32("a.u32", 2**32 - 1)
    writer.add_int32("a.i32", -(2**31))
    writer.add_uint64("a.u64", 2**64 - 1)
    writer.add_int64("a.i64", -(2**63))
    writer.add_float32("a.f32", 0.1)
    writer.add_float64("a.f64", 0.1)
    writer.add_bool("a.bool", True)
    writer.add_string("a.text", "é\n𝄞")
    writer.add_array("a.texts", ["x", "", "𝄞", "y" * 300])
    writer.add_array("a.integers", [1, -2, 3])
    writer.add_array("a.floats", [0.5, 0.25])
    writer.add_array("a.truths", [True, False])
    writer.add_tensor("f32", RANDOM.standard_normal((3, 5)).astype(np.float32))
    writer.add_tensor("f16", RANDOM.standard_normal((2, 3, 4)).astype(np.float16))
    for kind in ("Q4_0", "Q8_0", "TQ1_0", "TQ2_0", "BF16"):
        quant = gguf.GGMLQuantizationType[kind]
        data = gguf.quants.quantize(RANDOM.standard_normal((6, 512)).astype(np.float32), quant)
        writer.add_tensor(kind, data, raw_dtype=quant)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_keys_are_those_of_the_gguf_package(written: Path) -> None:
    mine, theirs = open_gguf(written), gguf.GGUFReader(written)
    keys = [name for name in theirs.fields if not name.startswith("GGUF.")]
    assert list(mine.metadata) == keys
    for name in keys:
        value, expected = mine.metadata.values[name], theirs.fields[name].contents()
        if isinstance(value, Strings):
            assert value[:] == expected
        elif isinstance(value, np.ndarray):
            assert value.tolist() == expected
        else:
            assert value == expected
            assert type(value) is type(expected)
    assert mine.architecture == "llama"
    assert mine.metadata.need("a.u32", float) == 2**32 - 1


def test_tensors_are_those_of_the_gguf_package(written: Path) -> None:
    mine, theirs = open_gguf(written), gguf.GGUFReader(written)
    assert list(mine.tensors) == [tensor.name for tensor in theirs.tensors]
    for tensor in theirs.tensors:
        found = mine.tensors[tensor.name]
        expected = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        assert found.type_name == tensor.tensor_type.name
        assert found.shape == tuple(reversed(tensor.shape.tolist())) == expected.shape
        assert (found.offset, found.size) == (tensor.data_offset, tensor.n_bytes)
        assert np.array_equal(found.floats(), expected)
        parts = [found.floats(i, i + 2) for i in range(0, found.shape[0], 2)]
        assert np.array_equal(np.concatenate(parts), expected)


def test_a_vector_is_read_in_parts_too(tmp_path: Path) -> None:
    norm = opened(tmp_path, small_gguf()).tensors["output_norm.weight"]
    assert norm.floats(3, 7).tolist() == [1.0] * 4


def test_codes_and_scales_of_a_part(tmp_path: Path) -> None:
    tensor = opened(tmp_path, small_gguf()).tensors["blk.0.attn_q.weight"]
    codes, scales = tensor.integers(2, 5)
    assert (codes.shape, scales.shape) == ((3, 256), (3, 4))
    with np.errstate(invalid="ignore"):
        product = codes * np.repeat(scales.astype(np.float32), 64, axis=1)
        assert np.array_equal(product, tensor.floats(2, 5), equal_nan=True)


@pytest.mark.parametrize("version", [2, 3])
def test_versions(version: int, tmp_path: Path) -> None:
    found = opened(tmp_path, small_gguf().but(version=version))
    assert found.version == version
    assert found.metadata.need("llama.block_count", int) == 2
    assert found.metadata.get("nothing", str) is None
    assert [t.type_name for t in found.tensors.values()] == ["F32", Q2_0_64.name, "TQ2_0", "F16"]


def test_a_file_without_tensors(tmp_path: Path) -> None:
    assert opened(tmp_path, small_gguf().but(tensors=())).tensors == {}


@pytest.mark.parametrize("encoding", [Q2_0_64, Q2_0_128])
def test_both_kinds_of_type_42_are_told_by_length(encoding: object, tmp_path: Path) -> None:
    assert encoding in (Q2_0_64, Q2_0_128)
    group, size = (64, 18) if encoding is Q2_0_64 else (128, 34)
    large = Tensor("large", (512, 16), 42, random_blocks(3, 512 * 16 // group, size))
    # 64 bytes with the padding in both kinds: only the large one tells
    small = Tensor("small", (128, 1), 42, random_blocks(4, 128 // group, size))
    found = opened(tmp_path, small_gguf().but(tensors=(small, large)))
    assert {tensor.encoding for tensor in found.tensors.values()} == {encoding}
    with pytest.raises(UserError, match="too small to tell") as caught:
        opened(tmp_path, small_gguf().but(tensors=(small,)))
    assert caught.value.code == "CHM233"


def test_i2_s_has_one_scale(tmp_path: Path) -> None:
    blocks, scale = random_blocks(5, 6, 32), 0.37
    tensor = Tensor("w", (256, 3), 36, blocks + struct.pack("<f", scale) + bytes(28))
    found = opened(tmp_path, small_gguf().but(tensors=(tensor, small_gguf().tensors[0]))).tensors["w"]
    assert found.scale == np.float32(scale)
    codes, ones = found.integers(1, 2)
    assert (ones == 1).all()
    assert np.array_equal(found.floats(1, 2), codes * np.float32(scale))
    broken = Tensor("w", (256, 3), 36, blocks + struct.pack("<f", np.nan) + bytes(28))
    with pytest.raises(UserError, match="NaN") as caught:
        opened(tmp_path, small_gguf().but(tensors=(broken,))).tensors["w"].floats()
    assert caught.value.code == "CHM242"


def test_a_file_that_becomes_shorter_is_an_error(tmp_path: Path) -> None:
    found = opened(tmp_path, small_gguf())
    found.path.write_bytes(found.path.read_bytes()[:200])
    with pytest.raises(UserError, match="can't read") as caught:
        found.tensors["blk.0.ffn_up.weight"].floats()
    assert caught.value.code == "CHM230"
    assert "changed" in str(caught.value.hint)


GOOD = small_gguf()
ONE_KEY = GOOD.but(keys=GOOD.keys[:1])
UNREAD = Tensor("iq", (256, 2), 16, bytes(132))


def test_types_that_are_not_read_are_listed_and_refused_when_they_are_used(tmp_path: Path) -> None:
    tensor = opened(tmp_path, GOOD.but(tensors=(UNREAD,))).tensors["iq"]
    assert (tensor.type_name, tensor.size) == ("IQ2_XXS", 132)
    with pytest.raises(UserError, match="IQ2_XXS, which chimerac does not read"):
        tensor.floats()


#: What is wrong → the error's code, words of its message, the file.
BROKEN: dict[str, tuple[str, str, Gguf | bytes]] = {
    "empty": ("CHM230", "does not begin with GGUF", b""),
    "three bytes": ("CHM230", "does not begin with GGUF", b"GGU"),
    "another file": ("CHM230", "does not begin with GGUF", b"GGML" + bytes(100)),
    "only the magic": ("CHM231", "the version", b"GGUF"),
    "version 0": ("CHM231", "version 0", GOOD.but(version=0)),
    "version 1": ("CHM231", "version 1;", GOOD.but(version=1)),
    "version 4": ("CHM231", "version 4;", GOOD.but(version=4)),
    "big-endian": ("CHM231", "big-endian", GOOD.but(version=3 << 24)),
    "no counts": ("CHM231", "the number of tensors", b"GGUF" + u32(3)),
    "half a count": ("CHM231", "the number of keys", b"GGUF" + u32(3) + u64(1) + b"\0\0\0"),
    "too many tensors": ("CHM231", "tensors, the most", GOOD.but(tensor_count=1 << 40)),
    "more tensors than listed": ("CHM231", "", GOOD.but(tensor_count=1000)),
    "too many keys": ("CHM231", "keys, the most", GOOD.but(key_count=MAX_KEYS + 1)),
    "keys of 2**64": ("CHM231", "keys, the most", GOOD.but(key_count=2**64 - 1)),
    "more keys than there are": ("CHM231", "", GOOD.but(key_count=60000)),
    "a key beyond the end": ("CHM231", "follow", b"GGUF" + u32(3) + u64(0) + u64(1) + u64(1000) + b"abc"),
    "a key of 2**63 bytes": ("CHM231", "the most is", b"GGUF" + u32(3) + u64(0) + u64(1) + u64(1 << 63)),
    "a key that is no text": ("CHM231", "not UTF-8", GOOD.but(keys=((b"\xff\xfe", integer_value(1)),))),
    "a key twice": ("CHM231", "is there twice", GOOD.but(keys=GOOD.keys * 2)),
    "an unknown type of value": ("CHM231", "of type 13", ONE_KEY.key("x", u32(13) + u64(0))),
    "a type of value of 2**32": ("CHM231", "of type 4294967295", ONE_KEY.key("x", u32(2**32 - 1))),
    "a text of 2**60 bytes": ("CHM231", "the most is", ONE_KEY.key("x", u32(8) + u64(1 << 60))),
    "a text that is none": ("CHM231", "not UTF-8", ONE_KEY.key("x", text_value(b"\xed\xa0\x80"))),
    "a truth of 2": ("CHM231", "neither", ONE_KEY.key("x", u32(7) + b"\2")),
    "truths of 3": ("CHM231", "neither", ONE_KEY.key("x", u32(9) + u32(7) + u64(2) + b"\1\3")),
    "an array of arrays": ("CHM231", "array of arrays", ONE_KEY.key("x", u32(9) + u32(9) + u64(1) + bytes(12))),
    "an array of nothing known": ("CHM231", "of type 77", ONE_KEY.key("x", u32(9) + u32(77) + u64(1))),
    "an array of 2**61 numbers": ("CHM231", "all arrays together", ONE_KEY.key("x", u32(9) + u32(4) + u64(1 << 61))),
    "an array beyond the end": ("CHM231", "follow", ONE_KEY.key("x", u32(9) + u32(12) + u64(1 << 20))),
    "too many texts": ("CHM231", "all arrays together", ONE_KEY.key("x", u32(9) + u32(8) + u64(MAX_STRINGS + 1))),
    "texts beyond the end": ("CHM231", "follow", ONE_KEY.key("x", u32(9) + u32(8) + u64(1 << 20))),
    "a text of an array beyond": (
        "CHM231",
        "text 1 of x",
        ONE_KEY.key("x", u32(9) + u32(8) + u64(2) + text("a") + u64(1 << 50)),
    ),
    "alignment 0": ("CHM231", "general.alignment", GOOD.key("general.alignment", integer_value(0))),
    "alignment 24": ("CHM231", "general.alignment", GOOD.key("general.alignment", integer_value(24))),
    "alignment 2**31": ("CHM231", "general.alignment", GOOD.key("general.alignment", integer_value(1 << 31))),
    "alignment as a text": ("CHM231", "expected a whole number", GOOD.key("general.alignment", text_value("32"))),
    "another alignment": ("CHM232", "not at a multiple of 64", GOOD.key("general.alignment", integer_value(64))),
    "no name": ("CHM231", "has no name", GOOD.tensor(0, name="")),
    "a name of 2000 bytes": ("CHM231", "the most is", GOOD.tensor(0, name="x" * 2000)),
    "a name that is no text": ("CHM231", "not UTF-8", GOOD.tensor(0, name=b"\xff")),
    "a name twice": ("CHM232", "two tensors", GOOD.tensor(2, name="token_embd.weight")),
    "no dimensions": ("CHM231", "0 dimensions", GOOD.tensor(0, dims=())),
    "five dimensions": ("CHM231", "5 dimensions", GOOD.tensor(0, dims=(64, 1, 1, 1, 4))),
    "2**31 dimensions": ("CHM231", "dimensions, not 1 to 4", GOOD.but(dimensions=1 << 31)),
    "a dimension of 0": ("CHM231", "has the shape", GOOD.tensor(0, dims=(64, 0))),
    "dimensions that overflow": ("CHM231", "has the shape", GOOD.tensor(0, dims=(1 << 32, 1 << 32))),
    "rows of parts of blocks": ("CHM232", "blocks of 256", GOOD.tensor(2, dims=(128, 6))),
    "an unknown type": ("CHM233", "of type 1234", GOOD.tensor(0, type=1234)),
    "a type that was taken away": ("CHM233", "of type 4,", GOOD.tensor(0, type=4)),
    "an odd place": ("CHM232", "not at a multiple of 32", GOOD.tensor(1, offset=1025)),
    "a place beyond the end": ("CHM232", "is cut short", GOOD.tensor(3, offset=1 << 40)),
    "a place of 2**64": ("CHM232", "is cut short", GOOD.tensor(3, offset=2**64 - 32)),
    "two at one place": ("CHM232", "begins after 0", GOOD.tensor(1, offset=0)),
    "two that overlap": ("CHM232", "begins after", GOOD.tensor(1, offset=992)),
    "larger than the file": ("CHM232", "is cut short", GOOD.but(tensors=(GOOD.tensors[0],)).tensor(0, dims=(64, 5))),
    "larger than its place": ("CHM232", "begins after", GOOD.tensor(0, dims=(64, 5))),
    "cut in the data": ("CHM232", "is cut short", GOOD.bytes()[:-200]),
    "cut in the list": ("CHM231", "follow", GOOD.head()[:-3]),
    "cut in the keys": ("CHM231", "follow", GOOD.head()[:100]),
    "type 42 of neither length": ("CHM233", "not Q2_0", GOOD.tensor(1, data=random_blocks(1, 32 * 5, 18))),
    "type 42 of both lengths": (
        "CHM233",
        "not Q2_0",
        GOOD.but(tensors=(*GOOD.tensors, Tensor("x", (256, 32), 42, random_blocks(1, 32 * 2, 34)))),
    ),
    "type 36 of another length": ("CHM233", "not I2_S", GOOD.tensor(1, type=36, data=bytes(256 * 32 * 9 // 16))),
    "type 36 in blocks of 64": ("CHM232", "blocks of 128", GOOD.tensor(1, type=36, dims=(64, 32))),
    "one part of several": ("CHM230", "one of 3 parts", GOOD.key("split.count", integer_value(3))),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files_are_refused_with_one_error(name: str, tmp_path: Path) -> None:
    code, words, content = BROKEN[name]
    with pytest.raises(UserError) as caught:
        opened(tmp_path, content)
    error = caught.value
    assert error.code == code, error.message
    assert words in error.message
    assert str(tmp_path / "model.gguf") in error.message


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: folder / "none.gguf", "No such file"),
        (lambda folder: folder, "directory"),
    ],
    ids=["missing", "a folder"],
)
def test_what_cannot_be_read(make: Callable[[Path], Path], words: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=words) as caught:
        open_gguf(make(tmp_path))
    assert caught.value.code == "CHM230"


def test_values_of_another_type_are_refused_when_they_are_asked_for(tmp_path: Path) -> None:
    found = opened(tmp_path, GOOD.key("x", texts_value(["a"])).key("general.architecture", integer_value(1)))
    for ask, words in (
        (lambda: found.architecture, "expected a text"),
        (lambda: found.metadata.need("none", str), "has no none"),
        (lambda: found.metadata.get("x", int), "an array of texts, expected a whole number"),
        (lambda: found.metadata.get("llama.block_count", bool), "expected true or false"),
    ):
        with pytest.raises(UserError, match=words) as caught:
            ask()
        assert caught.value.code == "CHM231"
    strings = opened(tmp_path, GOOD.key("x", u32(9) + u32(8) + u64(1) + text(b"\xff"))).metadata.need("x", Strings)
    assert strings.raw(0) == b"\xff"
    with pytest.raises(UserError, match="string 0 of x is not UTF-8"):
        strings[0]
