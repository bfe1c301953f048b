"""A web bundle, or the loader alone, as an npm package: ``package.json`` and the module that names its files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from chimerac.compiler.packaging.options import NpmName
from chimerac.runtime.bundle_format import MANIFEST_NAME
from chimerac.version import __version__

PACKAGE_FILE: Final = "package.json"
#: The module that programs import, and its types.
INDEX, INDEX_TYPES = "index.mjs", "index.d.mts"
#: The loader's module, and its types.
LOADER, LOADER_TYPES = "chimera.mjs", "chimera.d.mts"
#: The worker's module, which some bundlers want to be told of, and its types.
WORKER, WORKER_TYPES = "worker.mjs", "worker.d.mts"
#: The module that compiles grammars, and its types.
COMPILER, COMPILER_TYPES = "compiler.mjs", "compiler.d.mts"
#: The loader with what it loads later elsewhere, for service workers, and its types.
STATIC, STATIC_TYPES = "static.mjs", "static.d.mts"
_OTHERS: Final = ((WORKER, WORKER_TYPES), (COMPILER, COMPILER_TYPES), (STATIC, STATIC_TYPES))
#: Modules that do something when they are imported; all others only define.
WITH_EFFECTS: Final = (WORKER, STATIC)
#: Roles of the files that the loader asks for.
LOADED_ROLES: Final = frozenset({"code", "variant", "weights", "tokenizer", "grammar", "spans", "data"})
#: The version of a model's package where nobody gave one.
FIRST_VERSION: Final = "1.0.0"


def model_package(name: NpmName, title: str, roles: Mapping[str, str], runtime: str | None) -> str:
    """``package.json`` of a bundle, for its files' roles by name; ``runtime`` is the package of its loader."""
    fields: dict[str, Any] = {
        "name": name.name,
        "version": name.version or FIRST_VERSION,
        "description": f"{title}: a model compiled by chimerac, for browsers and Node",
        "type": "module",
        "exports": {
            ".": _typed(INDEX, INDEX_TYPES),
            **({} if runtime else {f"./{file}": _typed(file, types) for file, types in _OTHERS}),
            **{f"./{file}": f"./{file}" for file in (MANIFEST_NAME, PACKAGE_FILE)},
        },
        "files": sorted({*roles, MANIFEST_NAME}),
        "sideEffects": [f"./{file}" for file in WITH_EFFECTS if file in roles],
    }
    if runtime is not None:
        fields["peerDependencies"] = {runtime: f"^{__version__}"}
    return _json(fields)


def runtime_package(name: NpmName, files: Iterable[str]) -> str:
    """``package.json`` of the loader alone."""
    names = sorted(files)
    return _json(
        {
            "name": name.name,
            "version": name.version or __version__,
            "description": "Loads and runs the models of chimerac's web bundles, in browsers and Node",
            "license": "Apache-2.0",
            "type": "module",
            "exports": {
                ".": _typed(LOADER, LOADER_TYPES),
                **{f"./{file}": _typed(file, types) for file, types in _OTHERS},
                f"./{PACKAGE_FILE}": f"./{PACKAGE_FILE}",
            },
            "files": names,
            "sideEffects": [f"./{file}" for file in WITH_EFFECTS if file in names],
        }
    )


def index_module(title: str, roles: Mapping[str, str], runtime: str | None) -> str:
    """The module of a bundle: all of the loader, and ``bundle``, where each of the model's files is.

    Bundlers find the addresses because each is written out as ``new URL("./NAME", import.meta.url)``.
    """
    files = [MANIFEST_NAME, *sorted(file for file, role in roles.items() if role in LOADED_ROLES)]
    rows = "".join(f'    "{file}": new URL("./{file}", import.meta.url),\n' for file in files)
    return (
        f"// The model {title}: const model = await Chimera.load(bundle).\n"
        f'export * from "{runtime or f"./{LOADER}"}";\n\n'
        "/** The address of each file, for Chimera.load. */\n"
        f"export const bundle = {{\n  files: {{\n{rows}  }},\n}};\n"
    )


def index_types(runtime: str | None) -> str:
    """The types of ``index_module``."""
    return (
        f'export * from "{runtime or f"./{LOADER}"}";\n\n'
        "/** The address of each file of the model, for Chimera.load. */\n"
        "export declare const bundle: { readonly files: Readonly<Record<string, URL>> };\n"
    )


def _typed(module: str, types: str) -> dict[str, str]:
    return {"types": f"./{types}", "default": f"./{module}"}


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, indent=2, ensure_ascii=False) + "\n"
