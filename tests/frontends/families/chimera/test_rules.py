"""The consistency rules: each fires on the document, falls silent when its value is mended, and only then."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from config_fixtures import SMALL

from chimerac.compiler.errors import UserError
from chimerac.frontends.config import ModelConfig, load, loads
from chimerac.frontends.config.fields import fields_of
from chimerac.frontends.config.model import to_plain
from chimerac.frontends.config.sections.resolutions import Resolutions
from chimerac.frontends.families.chimera.consistency import CheckReport, check
from chimerac.frontends.families.chimera.family import describe
from chimerac.frontends.families.chimera.rules import RULES
from chimerac.frontends.families.chimera.rules.memory import recall
from chimerac.frontends.families.chimera.rules.spans import tree_nodes
from chimerac.frontends.families.chimera.sizes import audit
from chimerac.frontends.families.chimera.tables import render_check

NOTES = "P3_ternary_compute.implemented_optimizations"

#: Rule to the overrides that mend what it finds in the document.
MENDED: dict[str, Sequence[str]] = {
    "I1": ["backbone.moe.total_params=1579253760", "params.moe_total=1579253760"],
    "I2": ["quantization.group_size=64"],
    "I3": ["self_evolution.tier1.ttt.target_layers=[13]"],
    "I4": ["backbone.type=hybrid_recurrent_windowed_attention", "backbone.kv_cache=bounded_window"],
    "I5": ["quantization.runtime_kernel=chimerac"],
    "I6": ["resolutions.knot_definition=discrete_relaxation"],
    "I7": ["resolutions.loop_state=per_iteration"],
    "I8": ["params.base=2725982880"],
    "I9": ["params.physical=4212532896"],
    "I10": ["params.active_per_token=2911777440"],
    "I11": ["backbone.moe.active_params_per_tok=278691840"],
    "I12": ["params.effective_2loops=6838150896", "params.effective_6loops=17340622896"],
    "I13": ["params.weight_mb=1400"],
    "I14": ["memory_budget_mb.total=6000"],
    "I15": ["quantization.weight_bits=1.6"],
    "I16": ["braid_state.per_stream_mb=132", "deployment.per_stream_mb=132"],
    "I17": ["span_inference.bank_memory_mb=560"],
    "I18": ["resolutions.ttt_delta_format=int8"],
    "I19": ["self_evolution.tier1.ttt.inner_lr=0.3", "self_evolution.tier1.ttt.momentum=0"],
    "I20": ["resolutions.memory_growth=session_overlay"],
    "I21": ["memory_budget_mb.headroom_8gb=5668"],
    "I22": [f'{NOTES}.mezo_optimizer.benefit="Memory = 1× model size"'],
    "I23": [
        f'{NOTES}.ternary_mezo_sparse.description="~31% of ternary weights are skipped"',
        f'{NOTES}.sparse_grad_w_masking.benefit="Saves 19% of grad_w"',
    ],
    "I24": ['P3_ternary_compute.thesis="packed weights are small at run time"'],
    "I25": ["resolutions.wall_clock=counted"],
    "I25b": [f'{NOTES}.ternary_mezo_sparse.description="a counter-based generator"'],
    "I26": ["entropy_valve.loop_depth_router.method=causal_predictor"],
    "I27": [f"{NOTES}.zero_multiply_forward.note=measured"],
    "I28": [f'{NOTES}.parallel_titans_mac.description="gradient of the memory at an anchor"'],
    "I29": ["span_inference.tree_verify.method=block_canonical"],
    "I30": ["training.distillation_init.teacher=null"],
    "I31": ["max_position_embeddings=262144"],
    "I32": ["resolutions.loop_control=cap_pick_shorten"],
    "I33": ["resolutions.token_roles=eos_pad"],
    "I34": ["hidden_act=silu"],
    "I35": ["training.phases.0.batch_tokens=4194304"],
    "I35b": ["training.phases.1.stages=[[16384, 10000, 1e-5], [262144, 2000, 2e-6]]"],
    "I36": ["resolutions.norm_placement=one_per_input"],
    "I37": ["gated_deltanet.chunk_size=64"],
    "I38": ["multimodal.vision.image_size=224", "multimodal.audio={sample_rate: 16000, mel_bins: 80, hop_ms: 10}"],
    "I39": ["§={r35: null, r36: null}"],
    "I40": ["looping.spectral_radius_bound=null"],
    "I42": ["transformers_version=null"],
    "R2": [
        "span_inference.candidate_sources_reason=[171, 128, 128, 85]",
        "span_inference.scoring_weights_reason=[1, 0.8, 0.5, 0.7, 0.35]",
    ],
    "R3": ["resolutions.long_spans=chained"],
    "R4": ["span_inference.tree_verify={tree_width: 2, tree_depth: 4}"],
    "R5": ["modes={fast: {span_avg: 2.5, tps: 100}, balanced: {span_avg: 2, tps: 60}}"],
    "R6": ["resolutions.unaudited_tokens=labelled_approximate"],
    "R8": ["resolutions.draft_head=none"],
    "R9": ["span_inference.lsh_tables=16", "span_inference.lsh_bits_per_table=16"],
    "R10": ["span_inference.fallback_below_acceptance=0.7"],
    "R11": ["memory_budget_mb._vals.9=4"],
    "R12": ["span_inference.scoring_weights_fast=[1, 0.4, 0.3, 0.3, 0.35]"],
    "R13": ["resolutions.memory_reads=every_16_tokens"],
    "R15": ["grammar.representation=deterministic_pushdown_plus_weighted"],
    "R16": ["resolutions.grammar_stack=one_per_open_construct"],
    "R17": ["grammar.jit_compilation=false"],
    "R18": ["grammar.storage_mb=16"],
    "R19": ["span_inference.adaptive_mask_cache=null"],
    "R21": ["resolutions.relations=id_triples_and_index"],
    "R22": ["semantic_memory.lsh_bits_per_table=10"],
    "R23": [
        "semantic_memory.forgetting_policy=random_drop_k_append_k",
        "self_evolution.tier1.memory_growth.pruning=null",
    ],
    "R25": ["self_evolution.tier1.memory_growth.surprise_threshold=titans_gradient_magnitude_above_4_sigma"],
    "R26": ["entropy_valve.thresholds_bits=[1, 2]"],
    "R27": ["resolutions.loop_control=cap_pick_shorten"],
    "R29": ["self_evolution.tier3.loop_depth_learning.classifier_params=492870"],
    "R30": ["looping.adaptive_exit_threshold=0"],
    "R34": ["use_cache=true"],
    "R37": ["resolutions.language_obligations=english_soft"],
    "R40": ["resolutions.ttt_projection=compiled_out"],
    "R41": ["resolutions.ttt_streams=first_only"],
    "R42": ["generation.stream=false"],
    "R37b": ['debt_ledger.obligations=["complete_sentence", "finish_list"]'],
    "R43": ["diagnostics.thresholds.max_cert_fail=0.04"],
    "R44": ['diagnostics.metrics=["rollback_rate"]'],
    "R45": ["diagnostics.report_interval_tokens=8192"],
    "R46": ["deployment.watchdog_tick_ms=60"],
    "R47b": ['entropy_valve.metrics=["grammar_branching"]'],
    "R48": ['deployment.shared=["weights", "experts", "span_bank", "grammar", "semantic_memory"]'],
    "R49": ["resolutions.wasm_files=range_reads"],
    "R51": ["deployment.max_streams=1"],
    "R52": ["context_tiers=[]"],
    "R53": ["memory_budget_mb._vals.0=1050"],
    "R55": ["files.multimodal=encoders.b158"],
    "R56": ["files.tokenizer=chimera51.tokenizer"],
    "R58": ["resolutions.vocabulary_holes=masked"],
    "R60": ["resolutions.telemetry=local_callback"],
    "R61": ["generation.repetition_penalty=1"],
    "R62": ['safety.format_guards=["fence_closure"]'],
    "R63": ["resolutions.state_file=snapshot_and_journal"],
}

#: Rule to an override that breaks what agrees in the document.
BROKEN: dict[str, str] = {
    "X1": "backbone.layer_counts.GD=13",
    "X2": "span_inference.candidates_fast=200",
    "X3": "span_inference.candidate_sources=[64, 48, 48]",
    "X4": "modes.balanced.tps=130",
    "X5": "memory_budget_mb.total=2500",
    "X6": "braid_state.semantic_sketch=[4096, \"uint64_x64\"]",
    "X7": "braid_state.entity_table.slot_bits=256",
    "X8": "braid_state.fast_hidden=[2048, \"int8\"]",
    "X9": "deployment.per_stream_mb=31",
    "X10": "self_evolution.tier2.episodic_cases.case_bytes=4096",
    "X11": "self_evolution.tier2.self_feedback.enabled=false",
    "X12": "self_evolution.tier1.ttt.target_layers=[13, 28]",
    "X13": "semantic_memory.lsh_tables=600",
    "X14": "looping.loop_range=[1, 3]",
}  # fmt: skip


#: Switches that have one position.
FIXED = ("rms_norm_before_every_linear", "xlstm.exponential_gating", "xlstm.covariance_update")


def test_tables_name_all_rules() -> None:
    assert {*MENDED, *BROKEN, "I41"} == set(RULES)
    assert all(rule.doc.endswith(".") for rule in RULES.values())


def test_the_document_has_them_all(document: ModelConfig) -> None:
    report = check(document)
    assert report.buildable
    assert {finding.id for finding in report.findings} == set(RULES) - set(BROKEN)
    order = [finding.severity for finding in report.findings]
    assert order == sorted(order)
    for finding in report.findings:
        assert finding.says
        assert finding.found
        assert finding.resolution
        assert finding.span is not None or finding.id == "I41"


@pytest.fixture(scope="module")
def unmended() -> CheckReport:
    return check(load("chimera51"))


@pytest.mark.parametrize("rule", MENDED)
def test_mended_values_silence_their_rule(rule: str, unmended: CheckReport) -> None:
    assert unmended.get(rule) is not None
    assert check(load("chimera51", overrides=MENDED[rule])).get(rule) is None


@pytest.mark.parametrize("rule", BROKEN)
def test_broken_agreement_is_found(rule: str, unmended: CheckReport) -> None:
    assert unmended.get(rule) is None
    finding = check(load("chimera51", overrides=[BROKEN[rule]])).get(rule)
    assert finding is not None
    assert finding.span is not None


def test_fences(document: ModelConfig, document_json: str) -> None:
    assert check(document).get("I41") is not None
    assert check(loads(document_json)).get("I41") is None


def test_a_consistent_config_has_no_findings() -> None:
    """The document with everything mended at once, and its claims replaced by the computed numbers."""
    mended = [item for rule, items in MENDED.items() for item in items if not rule.startswith(("R51", "R52", "I14"))]
    keys = [
        "ternary_weights", "moe_experts", "span_bank", "grammar", "semantic_mem", "episodic", "guidelines", "braid",
        "activations", "render_queue", "evolution", "runtime_os", "recent_ring", "ttt_compressed", "span_trace",
    ]  # fmt: skip
    streams = 132 * 16
    values = [1090, 350, 384, 64, 320, 8, 2, streams, 80, 4, 128, 1000, 16, 24, 32]
    total = sum(values)
    mended += [
        f"memory_budget_mb._keys={json.dumps(keys)}",
        f"memory_budget_mb._vals={values}",
        f"memory_budget_mb={{total: {total}, headroom_8gb: {8192 - total}, max_with_growth: {total + 650}}}",
        f"params={{weight_mb: {values[0] + values[1]}, total_mb: {total}}}",
        "context_tiers.1.mb=null",
    ]
    config = load("chimera51", overrides=mended)
    report = check(config)
    assert not report.findings, [(finding.id, finding.says, finding.found) for finding in report.findings]
    assert all(claim.holds for claim in audit(config).claims), [c for c in audit(config).claims if not c.holds]


def test_built_in_home_is_consistent() -> None:
    assert not check(load("home")).findings


def test_a_small_config_leaves_questions_only() -> None:
    asked = {finding.id for finding in check(loads(SMALL)).findings}
    assert asked == {"I2", "I6", "I7", "I36"}


def test_unbuildable_configs_are_reported_not_raised() -> None:
    report = check(load("chimera51", overrides=["num_heads=39", "tie_word_embeddings=false"]))
    assert not report.buildable
    assert [(finding.id, finding.severity) for finding in report.findings] == [("CHM120", "A")] * 2
    assert report.findings[0].span is not None


def test_numbers_in_findings_are_computed() -> None:
    """The same rule finds other numbers in another config."""
    base = check(load("chimera51")).get("I8")
    other = check(load("chimera51", overrides=["vocab_size=100000", "token_ids=[1, 2]"])).get("I8")
    assert base is not None
    assert other is not None
    assert "2.726B" in base.found
    assert "2.470B" in other.found


def _switches(value: Any, path: str = "") -> Iterator[tuple[str, bool]]:
    if isinstance(value, bool):
        yield path, value
    elif isinstance(value, dict):
        for name, below in value.items():
            yield from _switches(below, f"{path}.{name}" if path else name)


def test_every_switch_can_be_turned(document: ModelConfig) -> None:
    """No rule relies on a part being there."""
    switches = [(path, value) for path, value in _switches(to_plain(document)) if path not in FIXED]
    assert len(switches) > 40
    for path, value in switches:
        config = load("chimera51", overrides=[f"{path}={str(not value).lower()}"])
        assert render_check(check(config))
    off = load("chimera51", overrides=[f"{path}=false" for path, value in switches if path != "tie_word_embeddings"])
    assert check(off).buildable
    found = check(load("chimera51", overrides=["backbone.moe.enabled=false"])).get("I1")
    assert found is not None
    assert found.found == "no layer has experts"


def test_what_is_not_compiled_is_a_plan(document: ModelConfig) -> None:
    """No finding says that chimerac does something in a part that no bundle has."""
    report = check(document)
    for finding in report.findings:
        assert finding.planned == finding.resolution.startswith("not compiled yet; when it is: ")
        inside = any(finding.path == path or finding.path.startswith(f"{path}.") for path in report.absent)
        assert finding.planned or not inside or finding.id in DOES_IN_ABSENT, finding
    assert sum(finding.planned for finding in report.findings) > 35


#: Findings at keys of parts that are not compiled whose answer holds for bundles of today all the same.
DOES_IN_ABSENT = ("R13",)


def test_resolutions_silence_no_absence() -> None:
    answers = [f"resolutions.{item.name}={item.key.choices[0]}" for item in fields_of(Resolutions)]
    before, after = check(load("chimera51")), check(load("chimera51", overrides=answers))
    assert len(after.findings) < len(before.findings)
    assert after.absent == before.absent


def test_hash_recall() -> None:
    expected = {0.05: 1.0, 0.15: 0.9990, 0.20: 0.9438, 0.25: 0.6836, 0.30: 0.3531, 0.35: 0.1427, 0.50: 0.0039}
    for distance, chance in expected.items():
        assert recall(distance, 64, 14) == pytest.approx(chance, abs=1e-4)


def test_tree_nodes() -> None:
    assert [tree_nodes(4, 5), tree_nodes(1, 5), tree_nodes(2, 3)] == [1364, 5, 14]


def test_thresholds_of_the_valve_are_in_order() -> None:
    with pytest.raises(UserError, match="2 and 1 bits, are not in order") as error:
        describe(load("chimera51", scale="nano", overrides=["entropy_valve.thresholds_bits=[2, 1]"]))
    assert error.value.code == "CHM120"
    assert error.value.span is not None
