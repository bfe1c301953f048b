"""Statuses are true: flipping a key of the document changes what its status says, and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from project import ROOT

from chimerac.compiler.errors import UserError
from chimerac.compiler.verbs.train import DEFAULT_PHASES
from chimerac.frontends.config import ModelConfig, load
from chimerac.frontends.config.fields import FieldInfo, Status, fields_of, is_mapping, is_section, without_none
from chimerac.frontends.config.status import inner_section, statuses
from chimerac.frontends.families.chimera.family import describe
from chimerac.frontends.families.chimera.from_config import shape
from chimerac.frontends.families.chimera.rules import RULES, Facts
from chimerac.frontends.layers.shapes import KnotShape

DOCUMENT = str(ROOT / "tests/data/chimera51_document.txt")

#: Other legal values where none can be made up, with the keys that must follow.
FLIPS: dict[str, list[str]] = {
    "_name_or_path": ["_name_or_path=another-name"],
    "name": ["name=another"],
    "token_ids": ["token_ids=[319, 318]"],
    "hidden_size": ["hidden_size=160"],
    "num_heads": ["num_heads=8", "head_dim=16"],
    "vocab_size": ["vocab_size=330", "token_ids=[318, 319]"],
    "backbone.layer_pattern": ['backbone.layer_pattern="GD XM GD TM GD XM GD GD"'],
    "backbone.layer_pattern_repeat": ["backbone.layer_pattern_repeat=2"],
    "backbone.layer_aliases": ["backbone.layer_aliases.SK=gated_deltanet"],
    "backbone.moe.layers": ["backbone.moe.layers=[3]"],
    "looping.prelude": ["looping.prelude=[0, 2]", "looping.loop=[3, 5]"],
    "looping.loop": ["looping.loop=[2, 4]", "looping.coda=[5, 7]"],
    "looping.coda": ["looping.coda=[5, 7]", "looping.loop=[2, 4]"],
    "looping.loop_range": ["looping.loop_range=[1, 5]"],
    "quantization.group_size": ["quantization.group_size=64"],
    "quantization.activation_block_size": ["quantization.activation_block_size=32"],
    "quantization.runtime_kernel": ["quantization.runtime_kernel=chimerac"],
    "quantization.weight_bits": ["quantization.weight_bits=2"],
    "grammar.modes": ['grammar.modes=["json"]'],
    "grammar.hard_constraints": ['grammar.hard_constraints=["balanced_brackets"]'],
    "grammar.soft_constraints": ["grammar.soft_constraints=[]"],
    "grammar.default": ["grammar.default=json"],
    "grammar.schema": [],
    "grammar.refusal": ["grammar.refusal={threshold: 0.5, temperature: 2, answer: no}"],
    "entropy_valve.metrics": ["entropy_valve.metrics=[]"],
    "debt_ledger.obligations": ['debt_ledger.obligations=["finish_list"]'],
    "debt_ledger.max_outstanding": ["debt_ledger.max_outstanding=8"],
    "entropy_valve.thresholds_bits": ["entropy_valve.thresholds_bits=[1.5, 2]"],
    "generation.temperature": ["generation.temperature=0.5"],
    "semantic_memory.vector_storage": ["semantic_memory.vector_storage=uint64_x17"],
    "semantic_memory.vector_bits": ["semantic_memory.vector_bits=2048"],
    "span_inference.candidate_sources": ["span_inference.candidate_sources=[64, 48, 48, 0]"],
    "span_inference.candidate_source_keys": [
        "span_inference.candidate_source_keys=[semantic_lsh, cache_hits, grammar_allowed, neural_novel]",
        "span_inference.candidate_sources=[64, 40, 56, 32]",
    ],
    "span_inference.scoring_keys": ["span_inference.scoring_keys=[boundary, grammar, memory, debt, semantic]"],
    "span_inference.scoring_weights_fast": ["span_inference.scoring_weights_fast=[1, 0.8, 0.5, 0.7, 0.5]"],
    "span_inference.candidate_sources_reason": ["span_inference.candidate_sources_reason=[100, 128, 128, 85]"],
    "span_inference.scoring_weights_reason": ["span_inference.scoring_weights_reason=[1, 0.8, 0.5, 0.7, 0.5]"],
    "span_inference.certificate_fields": ['span_inference.certificate_fields=["a_u8"]'],
    "training.phases.0.name": ["training.phases.0.name=ctx_extend"],
    "training.phases.0.stages": ["training.phases.0.stages=[[64, 10, 1e-5]]"],
    "training.phases.1.name": ["training.phases.1.name=pretrain"],
    "training.phases.2.name": ["training.phases.2.name=dpo"],
    "training.phases.3.name": ["training.phases.3.name=sft"],
    "training.phases.1.stages": ["training.phases.1.stages=[[64, 10, 1e-5]]"],
    "training.phases.0.tokens": ["training.phases.0.tokens=1000000000"],
    "training.phases.0.schedule": ["training.phases.0.schedule=wsd"],
    "training.phases.0.batch_tokens": ["training.phases.0.batch_tokens=8192"],
    "resolutions.ttt_delta_format": ["resolutions.ttt_delta_format=int8"],
    "§": ["§.r0=null"],
}
#: Keys that a legal flip leaves no choice in, because the rest of the config settles them: CHM120 otherwise.
SETTLED = {
    "num_hidden_layers", "head_dim", "tie_word_embeddings", "gated_deltanet.state_size", "efla.target_layers",
    "xlstm.memory_size_per_head",
}  # fmt: skip
#: Statuses of keys that change something.
ACTIVE = ("compiled", "training")
#: Checked where no rule looks, and what checks them.
CHECKED_ELSEWHERE = {
    "grammar.hard_constraints": "a build refuses unknown names (CHM286)",
    "grammar.storage_mb": "a build refuses larger tables (CHM287)",
}


def evidence(config: ModelConfig) -> dict[str, Any]:
    """What a build and a training plan take from a config.

    Span knots that read no memory have nothing to relax towards, and none has a binding: these numbers are left out.
    """
    built = shape(config)
    knot = dataclasses.replace(built.knot, binding_weight=KnotShape.binding_weight)
    without = dataclasses.replace(built, knot=knot if knot.reads_memory else KnotShape())
    loop = without.loop and dataclasses.replace(without.loop, exit_threshold=0.0)  # it is a default of generations
    made = describe(config)
    grammars = made.grammars()
    return {
        "module": dataclasses.replace(without, loop=loop),
        "generation": made.generation,
        "refusal": made.refusal,
        "names": (made.name, made.file_names),
        "grammars": grammars and dataclasses.replace(grammars, storage_mb=None),  # a limit
        "special tokens": made.specials,
        "plan": dataclasses.replace(made.training(DEFAULT_PHASES), seed=0),
    }


def leaves(section: Any, path: str = "") -> Iterator[tuple[str, FieldInfo, Any]]:
    """Every key with its value; items of lists of sections are numbered."""
    for item in fields_of(type(section)):
        where, value = f"{path}.{item.name}" if path else item.name, getattr(section, item.attribute)
        if is_section(type(value)):
            yield from leaves(value, where)
        elif inner_section(item.type) is not None:
            for index, one in enumerate(value or ()):
                yield from leaves(one, f"{where}.{index}")
        else:
            yield where, item, value


def other_values(path: str, item: FieldInfo, value: Any) -> list[str] | None:
    """Overrides that give a key another legal value; None where there is none."""
    if path in FLIPS:
        return FLIPS[path] or None
    key, (kind, _) = item.key, without_none(item.type)
    if _single(item) and (value is not None or key.only is not None):
        return None
    if kind is bool:
        return [f"{path}={str(not value).lower()}"]
    if key.choices:
        return [f"{path}={next(choice for choice in key.choices if choice != value)}"]
    if kind is int:
        return [f"{path}={(value or 0) + 1 if (value or 0) + 1 <= (key.maximum or 2**53) else value - 1}"]
    if kind is float:
        return [f"{path}={(value or 0.0) / 2 if value else min(0.5, key.maximum or 0.5)}"]
    if kind is str:
        return [f'{path}="{value or ""}x"']
    if typing.get_origin(kind) is tuple and typing.get_args(kind)[-1] is not Ellipsis and value is not None:
        first = value[0] * 2 if isinstance(value[0], float) else value[0] + 1
        rest = ", ".join(f'"{one}"' if isinstance(one, str) else str(one) for one in value[1:])
        return [f"{path}=[{first}, {rest}]"]
    if is_mapping(item.type):
        return [f"{path}.extra=1" if typing.get_args(kind)[1] is int else f'{path}.extra="text"']
    if typing.get_origin(kind) is tuple and typing.get_args(kind)[-1] is Ellipsis:
        return [f'{path}=["another"]' if typing.get_args(kind)[0] is str else f"{path}=[1]"]
    return None


@pytest.fixture(scope="module")
def nano() -> ModelConfig:
    return load(DOCUMENT, scale="nano")


def flips(config: ModelConfig) -> Iterator[tuple[str, Status, list[str]]]:
    """Keys with other values, but those of the document's later phases that stay away there."""
    known = statuses()
    for path, item, value in leaves(config):
        status = known[re.sub(r"\.\d+(?=\.|$)", "", path)]
        away = value in (None, ()) and re.match(r"training\.phases\.[123]", path)
        overrides = None if path in SETTLED or away else other_values(path, item, value)
        assert overrides or away or path in FLIPS or status not in ACTIVE, f"{path} has no other value"
        if overrides:
            yield path, status, overrides


def test_flipping_a_key_that_is_compiled_or_trains_changes_a_bundle_or_a_plan(nano: ModelConfig) -> None:
    before = evidence(nano)
    wrong, flipped = [], 0
    for path, status, overrides in flips(nano):
        if status not in ACTIVE:
            continue
        flipped += 1
        try:
            after = evidence(load(DOCUMENT, scale="nano", overrides=overrides))
        except UserError:  # refused beside the document's other values: it was not passed over
            continue
        changed = {part for part in before if before[part] != after[part]}
        if not changed - ({"plan"} if status == "compiled" else set(before) - {"plan"}):
            wrong.append(f"{path} is {status}, and {overrides} changed {sorted(changed) or 'nothing'}")
    assert not wrong, "\n".join(wrong)
    assert flipped > 70


def test_flipping_all_other_keys_together_changes_nothing(nano: ModelConfig) -> None:
    inert = [o for _, status, overrides in flips(nano) if status not in ACTIVE for o in overrides]
    assert len(inert) > 250
    after = evidence(load(DOCUMENT, scale="nano", overrides=inert))
    assert after == evidence(nano)


@pytest.mark.parametrize("path", sorted(SETTLED))
def test_settled_keys_are_refused_when_they_contradict(path: str, nano: ModelConfig) -> None:
    value = {"tie_word_embeddings": "false", "efla.target_layers": "GD", "xlstm.memory_size_per_head": "[8, 8]"}
    overrides = [f"{path}={value.get(path, 6)}", "efla.enabled=true"]
    with pytest.raises(UserError) as error:
        shape(load("chimera51", overrides=overrides))
    assert error.value.code == "CHM120"


@contextlib.contextmanager
def recorded(config: ModelConfig, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The paths of the keys that are read meanwhile."""
    places: dict[int, str] = {}

    def remember(section: Any, path: str) -> None:
        places[id(section)] = path
        for item in fields_of(type(section)):
            where, value = f"{path}.{item.name}" if path else item.name, getattr(section, item.attribute)
            for one in value if isinstance(value, tuple) else (value,):
                if is_section(type(one)):
                    remember(one, where)

    remember(config, "")
    names = {kind: {i.attribute: i.name for i in fields_of(kind)} for kind in _sections(ModelConfig)}
    read: set[str] = set()

    def recording(self: Any, attribute: str) -> Any:
        kind = type(self)
        if attribute in names[kind] and id(self) in places:
            path = places[id(self)]
            read.add(f"{path}.{names[kind][attribute]}" if path else names[kind][attribute])
        return object.__getattribute__(self, attribute)

    with monkeypatch.context() as patch:
        for kind in names:
            patch.setattr(kind, "__getattribute__", recording)
        yield read


def _sections(section: type) -> set[type]:
    inner = [kind for item in fields_of(section) if (kind := inner_section(item.type))]
    return {section, *(found for kind in inner for found in _sections(kind))}


def test_checked_keys_are_read_and_described_ones_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the rules, the audit and the shape read, of the document at full size and at nano scale."""
    known, seen = statuses(), set[str]()
    opened = ["multimodal.enabled=true", "training.distillation_init.enabled=true", "efla.enabled=true"]
    for config in (load(DOCUMENT), load(DOCUMENT, scale="nano", overrides=opened), load("home")):
        with recorded(config, monkeypatch) as read:
            facts = Facts.of(config)
            for name, rule in RULES.items():
                if name != "I39":  # it looks at the papers of every section
                    rule.run(facts)
        seen |= read
    described = {path for path, status in known.items() if status == "described"}
    assert not described & seen
    infos = {re.sub(r"\.\d+(?=\.|$)", "", path): item for path, item, _ in leaves(load(DOCUMENT))}
    single = {path for path, item in infos.items() if _single(item)}
    checked = {path for path, status in known.items() if status == "checked"} - single - set(CHECKED_ELSEWHERE)
    unread = {path for path in checked - seen if not path.endswith(("§", "§_paradigm"))}  # I39 reads them
    notes = {path for path in unread if path.startswith("P3_ternary_compute.implemented_optimizations.")}
    assert not sorted(unread - notes)
    assert {_note(path) for path in notes} <= {_note(path) for path in seen}


def _note(path: str) -> str:
    """The optimisation that a note is about; the rules read some of the texts of each."""
    return ".".join(path.split(".")[:3])


def _single(item: FieldInfo) -> bool:
    """Whether a key accepts one value only."""
    key = item.key
    limited = key.minimum is not None and key.minimum == key.maximum
    return key.only is not None or len(key.choices) == 1 or limited
