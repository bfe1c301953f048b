"""Files of bundles of any code: tokenizer, grammars, spans, card, report; and the names of data files."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from chimerac.compiler.errors import Span, UserError
from chimerac.compiler.model import Model
from chimerac.compiler.packaging.grammar_packs import make_pack
from chimerac.compiler.packaging.model_card import render_model_card
from chimerac.compiler.packaging.options import checked_spans
from chimerac.compiler.packaging.package import Build
from chimerac.compiler.packaging.report import ReportInput, render_report
from chimerac.runtime.bundle_format import MANIFEST_NAME, contents_sha256
from chimerac.runtime.bundle_format.fstpack import write_pack
from chimerac.runtime.reference.tokenizer import tokenizer_sections, write_tokenizer
from chimerac.targets.code.codegen import cache_directory

#: Files for people.
CARD, REPORT = "MODEL_CARD.md", "report.html"


def data_names(name: str, asked: Mapping[str, str], weights: str | None = None) -> dict[str, str]:
    """Role → name of a data file: as asked for, or the model's name with an ending that says what it is.

    Args:
        weights: the name of the weights file where the package decides it.
    """
    usual = {"weights": f"{name}.b158", "tokenizer": f"{name}.tokenizer", "grammar": f"{name}.fstpack"}
    usual["spans"] = f"{name}.sfpack"
    return usual | dict(asked) | ({"weights": weights} if weights else {})


def check_names(names: Mapping[str, str], taken: Iterable[str], place: Callable[[str], Span | None]) -> None:
    """Raise UserError CHM322 when a data file would have the name of another file of the bundle."""
    used = {name.lower() for name in (*taken, CARD, REPORT, MANIFEST_NAME)}
    for role, file in names.items():
        if file.lower() in used:  # letter case does not tell files apart everywhere
            message = f"files.{role} is {file!r}, the name of another file of the bundle"
            raise UserError("CHM322", message, span=place(f"files.{role}"))
        used.add(file.lower())


def write_data(folder: Path, model: Model, names: Mapping[str, str]) -> dict[str, str]:
    """Write the tokenizer and the grammars, of a language model; name → role of each.

    Raises:
        UserError: CHM280 to CHM286, and CHM287 where the tables exceed what the description allows.
    """
    if model.tokenizer is None:
        return {}
    write_tokenizer(folder / names["tokenizer"], model.tokenizer, config_sha256=model.digest)
    roles = {names["tokenizer"]: "tokenizer"}
    if model.grammars is not None:
        path = folder / names["grammar"]
        write_pack(path, make_pack(model.grammars, model.tokenizer, cache=cache_directory() / "grammars"), model.digest)
        _check_size(path, model)
        roles[path.name] = "grammar"
    return roles


def write_spans(folder: Path, model: Model, names: Mapping[str, str], bank: Path | None) -> dict[str, str]:
    """Copy the bank of spans, where there is one; its name and role.

    Raises:
        UserError: CHM434, it is for another tokenizer.
    """
    if bank is None:
        return {}
    own = None if model.tokenizer is None else contents_sha256(tokenizer_sections(model.tokenizer))
    if checked_spans(bank).tokenizer_sha256 != own:
        hint = "mine one with a bundle of this model: chimerac spans mine"
        raise UserError("CHM434", f"the spans in {bank} are of another tokenizer", hint=hint)
    shutil.copyfile(bank, folder / names["spans"])
    return {names["spans"]: "spans"}


def _check_size(path: Path, model: Model) -> None:
    size, limit = path.stat().st_size, model.grammars.storage_mb if model.grammars else None
    if limit is not None and size > limit * (1 << 20):
        message = f"the grammars take {size / (1 << 20):.1f} MiB, over grammar.storage_mb of {limit:g}"
        place = model.place("grammar.storage_mb")
        raise UserError("CHM287", message, span=place, hint="leave modes out, or raise it")


def write_card(folder: Path, model: Model, build: Build) -> dict[str, str]:
    """Write the model card; its name and role."""
    (folder / CARD).write_text(render_model_card(model, build.module, build.target), "utf-8")
    return {CARD: "document"}


def write_report(folder: Path, report: ReportInput) -> dict[str, str]:
    """Write the report; its name and role."""
    (folder / REPORT).write_text(render_report(report), "utf-8")
    return {REPORT: "document"}
