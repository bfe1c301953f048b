"""SECURITY.md: each promise has tests that exist, and the source keeps what no input can show."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from project import ROOT, TESTS

#: Number of a promise → tests of its sentences, by file.
TESTED: Mapping[int, Mapping[str, tuple[str, ...]]] = {
    1: {
        "hostile/test_c_fuzz.py": ("test_nothing_is_found",),
        "hostile/test_c_faults.py": ("test_every_allocation_and_every_call_may_fail",),
        "hostile/test_fuzz.py": ("test_readers_stand_mutated_inputs",),
        "hostile/test_bombs.py": ("test_nothing_takes_much_time_or_memory",),
        "hostile/test_grammar_bombs.py": ("test_nothing_takes_much_time_or_memory",),
        "compiler/test_texts.py": ("test_what_cannot_be_read_is_one_error",),
        "hostile/test_hostile.py": ("test_c_refuses_with_the_same_code", "test_every_prefix_is_refused"),
        "frontends/config/test_fuzz.py": ("test_any_bytes", "test_mutated_configs"),
        "runtime/web/test_web.py": ("test_bytes_that_differ_from_the_manifest", "test_sizes_that_no_memory_has"),
    },
    2: {
        "test_security.py": ("test_nothing_of_outside_is_unpickled_evaluated_or_fetched",),
        "runtime/web/test_web.py": ("test_web_files_need_nothing_from_elsewhere_and_no_eval",),
    },
    3: {
        "compiler/cli/test_code.py": (
            "test_native_code_of_others_is_announced_once",
            "test_bundles_of_others_do_not_run_unless_named",
        ),
        "runtime/bundle_format/test_bundle.py": ("test_damaged_files_do_not_run",),
    },
    4: {
        "compiler/cli/test_interrupted_builds.py": (
            "test_a_kill_at_any_file_operation_loses_nothing",
            "test_killed_builds_leave_nothing_under_the_name",
        ),
        "compiler/build/test_places.py": ("test_the_next_build_brings_back_what_a_killed_one_had_moved_aside",),
    },
    5: {
        "hostile/test_manifests.py": (
            "test_what_is_no_regular_file_is_not_read",
            "test_a_bundle_may_be_reached_through_a_link",
        ),
        "runtime/bundle_format/test_bundle.py": ("test_links_are_not_followed",),
        "hostile/test_inputs.py": (
            "test_what_is_no_file_is_one_error",
            "test_a_link_to_a_file_is_followed",
            "test_what_is_no_file_is_not_replaced",
        ),
    },
    6: {
        "runtime/web/test_server.py": (
            "test_nothing_else_is_served",
            "test_links_pipes_and_folders_in_place_of_files_are_not_served",
            "test_only_requests_for_this_host_are_answered",
            "test_connections_that_dawdle_are_bounded_and_ended",
        ),
        "runtime/serving/test_chat_server.py": (
            "test_what_is_no_request",
            "test_a_request_must_not_dawdle",
            "test_who_goes_away_is_not_answered",
        ),
        "runtime/serving/test_wyoming.py": (
            "test_what_is_no_event_ends_the_connection",
            "test_connections_are_bounded_and_must_not_dawdle",
        ),
    },
    7: {
        "compiler/cli/test_output.py": (
            "test_control_characters_and_reversed_text_are_shown_not_obeyed",
            "test_generated_text_is_exact_in_a_file_and_harmless_on_a_terminal",
        ),
    },
    8: {"e2e/test_bundles.py": ("test_interpreter_native_and_wasm_agree_bit_for_bit",)},
}
ROOMS = ("compiler", "frontends", "passes", "targets", "runtime")
FORBIDDEN = {"pickle", "marshal", "shelve", "socket", "ssl", "http", "urllib.request", "requests"}
#: Where one of these is used, and never on what comes from outside.
ALLOWED = {
    ("targets/code/kernel_queue.py", "pickle"),  # pipes between a build and the workers that it has started
    ("targets/code/kernel_worker.py", "pickle"),
    ("targets/code/own_checks.py", "pickle"),  # and the process that tries the kernels of an own op
    ("targets/code/kernel_trial.py", "pickle"),
    ("runtime/web/bounded.py", "socket"),  # listens
    ("runtime/web/bounded.py", "http"),
    ("runtime/web/requests.py", "http"),
    ("runtime/serving/chat_server.py", "socket"),  # listens, with the bounds of the above
    ("runtime/serving/chat_server.py", "http"),
    ("runtime/serving/wyoming.py", "socket"),  # listens
}


def test_every_promise_has_tests() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    promises = text.partition("## What chimerac promises")[2].partition("\n## ")[0]
    assert [int(number) for number in re.findall(r"^(\d+)\. ", promises, re.MULTILINE)] == sorted(TESTED)


@pytest.mark.parametrize("number", TESTED)
def test_the_tests_are_there(number: int) -> None:
    for file, names in TESTED[number].items():
        tree = ast.parse((TESTS / file).read_text("utf-8"))
        found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert set(names) <= found, file


def uses(path: Path) -> Iterator[str]:
    """Modules that a source imports, and calls that make code of text."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        match node:
            case ast.Import(names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module)):
                yield module
            case ast.Call(func=ast.Name(id="eval" | "exec" | "__import__" as name)):
                yield name
            case ast.Call(func=ast.Attribute(value=ast.Name(id="torch"), attr="load")):
                yield "pickle"


def test_nothing_of_outside_is_unpickled_evaluated_or_fetched() -> None:
    forbidden = {*FORBIDDEN, "eval", "exec", "__import__"}
    found = {
        (path.relative_to(ROOT).as_posix(), name if name in forbidden else name.partition(".")[0])
        for room in ROOMS
        for path in (ROOT / room).rglob("*.py")
        for name in uses(path)
        if name in forbidden or name.partition(".")[0] in forbidden
    }
    assert found == ALLOWED
