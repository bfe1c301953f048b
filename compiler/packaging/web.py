"""Static folders for web servers: WebAssembly modules, the loader and a page; each is an npm package, too."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from chimerac.compiler.packaging.code import CodePackage
from chimerac.compiler.packaging.compressed import compress_files
from chimerac.compiler.packaging.npm import (
    INDEX,
    INDEX_TYPES,
    PACKAGE_FILE,
    index_module,
    index_types,
    model_package,
)
from chimerac.compiler.packaging.options import npm_name, npm_name_of
from chimerac.compiler.packaging.package import Job, Package
from chimerac.compiler.packaging.scripts import place_of, write_web_files
from chimerac.runtime.bundle_format import DEMO_FILES, PAGE_FILES, WEB_FILES

#: Prompts that the page proposes: a list of texts.
EXAMPLES: Final = "examples.json"
#: Files of a page that are not copied as they are, and lines of the first that only the demo has.
PAGE_INDEX, APP = "index.html", "app.webmanifest"
_DEMO_LINE: Final = re.compile(r".*<!-- demo -->\n")

#: Everything that may be beside the model's code and data.
PLACES: Final[Mapping[str, Path]] = {
    name: place_of(name) for name in (*WEB_FILES, *PAGE_FILES, *DEMO_FILES, INDEX, INDEX_TYPES, PACKAGE_FILE, EXAMPLES)
}


class WebPackage(CodePackage):
    """A folder for a web server that is an npm package as well."""

    def write_runtime(self, job: Job, roles: Mapping[str, str]) -> dict[str, str]:
        """The loader, the page and the npm package, as far as they are wanted; their roles by name."""
        folder, options, model = job.folder, job.options, job.model
        page, made = options.chosen_page, dict[str, str]()
        shown = {"none": (), "plain": PAGE_FILES, "demo": (*PAGE_FILES, *DEMO_FILES)}[page]
        files = (*(() if options.runtime else WEB_FILES), *shown)
        write_web_files(folder, files)
        made |= dict.fromkeys(files, "runtime")
        if page == "plain":
            text = (folder / PAGE_INDEX).read_text("utf-8")
            (folder / PAGE_INDEX).write_text(_DEMO_LINE.sub("", text), "utf-8")
        if page == "demo":
            app = json.loads((folder / APP).read_text("utf-8")) | {"name": model.name, "short_name": model.name}
            (folder / APP).write_text(json.dumps(app, indent=2, ensure_ascii=False) + "\n", "utf-8")
        examples = options.examples or model.examples
        if examples and page != "none":
            text = json.dumps(examples, indent=0, ensure_ascii=False) + "\n"
            (folder / EXAMPLES).write_text(text, "utf-8")
            made[EXAMPLES] = "data"
        made |= dict.fromkeys((INDEX, INDEX_TYPES, PACKAGE_FILE), "runtime")
        runtime = npm_name(options.runtime).name if options.runtime else None
        every = {**roles, **made}
        package = npm_name(options.npm or npm_name_of(model.name))
        (folder / INDEX).write_text(index_module(model.name, every, runtime), "utf-8")
        (folder / INDEX_TYPES).write_text(index_types(runtime), "utf-8")
        (folder / PACKAGE_FILE).write_text(model_package(package, model.name, every, runtime), "utf-8")
        return made

    def compress(self, folder: Path, names: Sequence[str], jobs: int) -> dict[str, int]:
        """As of ``CodePackage``."""
        return compress_files(folder, names, jobs)


PACKAGE: Final[Package] = WebPackage(PLACES)
