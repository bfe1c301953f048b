"""Whether a path is a model that others published, without reading more than its first bytes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from chimerac.runtime.bundle_format.regular import open_input

CONFIG: Final = "config.json"
MAGIC: Final = b"GGUF"


def is_model_folder(path: Path) -> bool:
    """Whether there is a folder with a config.json; a bundle has none."""
    return os.path.isfile(path / CONFIG)  # unlike Path.is_file, of whatever path


def is_published(path: Path) -> bool:
    """Whether a path is a model folder or a GGUF file."""
    if is_model_folder(path):
        return True
    try:
        with open_input(path) as file:
            return file.read(len(MAGIC)) == MAGIC
    except (OSError, ValueError):
        return False
