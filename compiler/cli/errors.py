"""What the command line prints of an error, and its exit code."""

from __future__ import annotations

import errno
from typing import Final

from chimerac.compiler.errors import ChimeracError, InternalError, UserError

#: Characters of a line of an error that are shown.
MAX_LINE: Final = 1000
#: Modules of the ``build`` extra; running a bundle needs none of them.
_BUILD_MODULES = frozenset({"torch", "tvm", "ziglang", "lark", "safetensors", "onnx", "onnxruntime"})

#: What a file system says of a path or of itself, wherever a path is looked at first: no mistake of the program.
_OF_FILES = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP, errno.ENOSPC, errno.EIO, errno.EROFS}
)


def explain(error: Exception) -> tuple[str, int]:
    """What to print for an error and the exit code: 1 for what the user can mend, 2 for a bug of chimerac."""
    from chimerac.runtime.errors import BundleError

    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _BUILD_MODULES:
        hint = "python -m pip install 'chimerac[build]'; bundles run without it"
        error = UserError("CHM304", f"the package {error.name} is not installed", hint=hint)
    if isinstance(error, OSError) and error.filename is not None and error.errno in _OF_FILES:
        error = UserError("CHM400", f"{error.filename}: {error.strerror}")
    if isinstance(error, ChimeracError | BundleError):
        return bounded(error.render()), error.exit_code
    lost = InternalError(f"{type(error).__name__}: {error}")
    return bounded(lost.render()), lost.exit_code


def bounded(text: str) -> str:
    """The text of an error with its long lines cut: what it quotes may be of any length."""
    lines = text.split("\n")
    cut = (line if len(line) <= MAX_LINE else f"{line[: MAX_LINE // 2]} … {line[-MAX_LINE // 4 :]}" for line in lines)
    return "\n".join(cut)
