"""Models of two tokens: without a tokenizer, whose callers give ids, and with one of characters, whose masks work."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from made_once import Once
from torch import Tensor, nn

import chimerac
from chimerac.compiler.build.importing import model_of_module
from chimerac.compiler.errors import UserError
from chimerac.compiler.model import GrammarRequest
from chimerac.runtime.bundle_format import read_manifest
from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import NO_GRAMMAR
from chimerac.runtime.sessions.native import NativeSession
from chimerac.runtime.sessions.wasm import find_node

TARGETS = ("x86_64-avx2", "wasm", "onnx")
REGEX = "(011?)+"
IDS = [0, 1, 1, 0, 1]

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")


class Coins(nn.Module):
    """Heads or tails, after a mean of what was before."""

    mean: Tensor

    def __init__(self, tokens: int = 2) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(tokens, 8), nn.Linear(8, tokens)
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, tokens: Tensor, position: Tensor) -> Tensor:
        def step(mean: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
            mean = 0.75 * mean + 0.25 * row
            return mean, mean

        mean, means = chimerac.scan(step, self.mean, self.table(tokens))
        self.mean.copy_(mean)
        logits: Tensor = self.head(means)
        return logits


def module(tokens: int = 2) -> nn.Module:
    torch.manual_seed(3)
    return Coins(tokens).eval()


def folder(once: Once, target: str, *, characters: bool) -> Path:
    name = "characters" if characters else "ids"

    def make(out: Path) -> None:
        tokenizer = ["0", "1"] if characters else None
        chimerac.compile(module(), name="coins", targets=TARGETS, out=out, tokenizer=tokenizer)

    return once(f"coins {name}", make) / f"coins.{target}"


def torch_logits(ids: list[int]) -> np.ndarray:
    made = module()
    with torch.no_grad():
        rows = made(torch.tensor(ids, dtype=torch.int32), torch.tensor(0, dtype=torch.int32))
    return np.asarray(rows[-1].numpy())


@pytest.mark.parametrize("target", TARGETS)
def test_ids_go_in_and_come_out_without_a_tokenizer(target: str, once: Once) -> None:
    bundle = folder(once, target, characters=False)
    assert read_manifest(bundle).file("tokenizer") is None
    with chimerac.load(bundle) as session:
        assert session.self_test()
        assert session.vocab_size == 2
        session.prefill(IDS[:3])
        session.prefill(IDS[3:])
        logits = session.logits()
        assert logits is not None
        np.testing.assert_allclose(logits, torch_logits(IDS), atol=1e-6)
        pieces = list(session.generate(IDS, max_tokens=6))
        assert [piece.token for piece in pieces] == session.tokens()
        assert {piece.text for piece in pieces} == {""}
        ids = [*IDS]
        for token in session.tokens():
            assert token == int(torch_logits(ids).argmax())
            ids.append(token)
        drawn = [list(session.generate(IDS, max_tokens=40, temperature=4.0, seed=seed, top_k=2)) for seed in (1, 2)]
        assert {piece.token for piece in drawn[0]} == {0, 1}
        assert drawn[0] != drawn[1]
        held = session.snapshot()
        session.prefill([1])
        after = session.state_hash()
        session.restore(held)
        session.prefill([1])
        assert session.state_hash() == after


@pytest.mark.parametrize("target", TARGETS)
def test_texts_are_refused_where_tokens_are_none(target: str, once: Once) -> None:
    with chimerac.load(folder(once, target, characters=False)) as session:
        for attempt in (lambda: list(session.generate("01")), lambda: session.encode("01")):
            with pytest.raises(BundleError, match="no tokenizer: its model takes and gives token ids") as caught:
                attempt()
            assert caught.value.code == "CHM421"
            assert "ids, of 0 to 1" in (caught.value.hint or "")
        with pytest.raises(BundleError) as caught:
            list(session.generate(IDS, grammar=chimerac.compile_grammar(regex=REGEX)))
        assert caught.value.code == "CHM421"
        session.prefill(IDS)  # it can be used on


def test_run_says_that_there_is_no_text(once: Once) -> None:
    bundle = folder(once, "x86_64-avx2", characters=False)
    with pytest.raises(UserError, match="takes and gives token ids, not text"):
        chimerac.run(bundle, "01")
    assert len(chimerac.run(bundle, IDS, max_tokens=3).tokens) == 3


def test_the_c_library_says_so_too(once: Once) -> None:
    bundle = folder(once, "x86_64-avx2", characters=False)
    with chimerac.load(bundle) as session:
        assert isinstance(session, NativeSession)
        with pytest.raises(BundleError, match="takes and gives token ids, not text"):
            session.invoke("chm_session_prompt", b"01", 2)


@pytest.mark.parametrize("target", TARGETS)
def test_characters_are_tokens_and_masks_hold(target: str, once: Once) -> None:
    with chimerac.load(folder(once, target, characters=True)) as session:
        assert session.self_test()
        assert session.encode("0110 é 1") == [0, 1, 1, 0, 1]  # others are left out
        text = "".join(map(str, session.generate("01", max_tokens=12, grammar=NO_GRAMMAR)))
        assert text == "".join("01"[token] for token in session.tokens())
        for seed in range(3):
            grammar = chimerac.compile_grammar(regex=REGEX)
            pieces = session.generate("1", grammar=grammar, max_tokens=9, temperature=3.0, seed=seed)
            text = "".join(map(str, pieces))
            assert text.startswith("01")
            assert "00" not in text
            assert "111" not in text


def test_javascript_takes_and_gives_ids(once: Once) -> None:
    bundle = folder(once, "wasm", characters=False)
    script = f"""
    import {{ readFile }} from "node:fs/promises";
    import {{ Chimera }} from {json.dumps((bundle / "chimera.mjs").as_uri())};
    const read = (name) => readFile({json.dumps(f"{bundle}/")} + name);
    const [manifest, wasm, weights] = await Promise.all(["manifest.json", "chimera.wasm", "coins.b158"].map(read));
    const model = await Chimera.load({{ manifest, wasm, weights }});
    await model.prefill({IDS});
    const logits = [...(await model.logits())];
    const refused = [];
    for (const attempt of [() => model.tokenize("01"), () => model.generate("01").next()])
      try {{ await attempt(); }} catch (error) {{ refused.push(`${{error.code}}: ${{error.message}}`); }}
    const steps = model.generate({IDS}, {{ maxTokens: 6 }});
    for await (const piece of steps);
    console.log(JSON.stringify({{ logits, refused, tokens: [...(await steps.result).tokens] }}));
    """
    command = [*find_node(), "--input-type=module", "-e", script]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    np.testing.assert_allclose(found["logits"], torch_logits(IDS), atol=1e-6)
    assert (
        found["refused"] == ["CHM421: the bundle has no tokenizer: its model takes and gives token ids, not text"] * 2
    )
    with chimerac.load(folder(once, "x86_64-avx2", characters=False)) as session:
        list(session.generate(IDS, max_tokens=6))
        assert session.tokens() == found["tokens"]


def test_a_file_lists_characters(tmp_path: Path) -> None:
    file = tmp_path / "letters.json"
    file.write_text(json.dumps({"é": 2, "a": 0}))
    table = model_of_module(module(3), tokenizer=file).tokenizer
    assert table is not None
    assert table.tokens == (b"a", b"", "é".encode())
    assert table.encode("aé b\xe9") == [0, 2, 2]
    assert table.decode([2, 0]) == "éa"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('["a", "bc"]', "'bc' is no single character"),
        ('["a", 1]', "'1' is no single character"),
        ('["a", "a"]', "a character is there twice"),
        ('["a", "b", "c"]', "the id of 'c' is 2; the model has 0 to 1"),
        ('{"a": 0, "b": 0}', "'a' and 'b' have the same id, 0"),
        ('{"a": true}', "the id of 'a' is True"),
        ('{"a": "0"}', "the id of 'a' is 0"),
        ("[]", "it lists no characters"),
        ("[1", "it is not JSON"),
        ('["\\ud800"]', "is no single character"),
    ],
)
def test_files_that_list_no_characters_are_refused(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "letters.json"
    file.write_text(text)
    with pytest.raises(UserError) as caught:
        model_of_module(module(), tokenizer=file)
    assert caught.value.code == "CHM260"
    assert why in caught.value.message
    assert str(file) in caught.value.message


def test_grammars_need_texts() -> None:
    with pytest.raises(UserError, match="2 tokens, too few for one per byte") as caught:
        model_of_module(module(), grammars=GrammarRequest(modes=("json",), default="json"))
    assert caught.value.code == "CHM244"
