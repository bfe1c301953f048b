"""Before a build, each kernel of another package is called on this machine and compared with the meaning of its op."""

from __future__ import annotations

import math
import pickle
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import numpy as np

from chimerac.compiler.errors import UserError
from chimerac.compiler.ir.custom import CUSTOM, CustomOp
from chimerac.compiler.ir.module import Op, Value
from chimerac.targets.code.codegen import cached_object, compile_object
from chimerac.targets.code.kernel_trial import Trial
from chimerac.targets.code.link import link
from chimerac.targets.code.own_kernels import is_own
from chimerac.targets.isa import Isa, load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.registry import find_target, host_target

_TOKENS: Final = (1, 5)  #: of the calls that are compared
_SECONDS: Final = 60
_CHILD: Final = "from chimerac.targets.code.kernel_trial import main; main()"


def check_own_kernels(specs: Iterable[KernelSpec]) -> None:
    """Compare kernels with their meanings on drawn numbers, bit for bit; those of chimerac's own are passed over.

    Raises:
        UserError: CHM301, an op without a kernel; CHM306, a meaning of other types than the type rule; CHM307, a kernel
            that does not compile, crashes, writes where it must not, or computes something else.
    """
    isa = load_isa(find_target(host_target()).isa)
    for spec in specs:
        if is_own(spec) and CUSTOM[spec.op].kernel is not None:
            _check(CUSTOM[spec.op], spec, isa)


def _check(op: CustomOp, spec: KernelSpec, isa: Isa) -> None:
    place = cached_object(spec, isa)
    if not place.exists():
        compile_object(spec, isa, place)
    with tempfile.TemporaryDirectory() as work:
        library = Path(work) / f"kernel{isa.suffix}"
        symbol = spec.symbol + isa.symbol_suffix
        try:
            link([place], [], isa, library, [symbol])
        except UserError as error:
            raise UserError(
                "CHM307", f"the kernel of {op.torch} needs what a bundle has not: {error.message}"
            ) from None
        for tokens in _TOKENS if spec.dynamic else _TOKENS[:1]:
            _compare(op, spec, tokens, library, symbol)


def _compare(op: CustomOp, spec: KernelSpec, tokens: int, library: Path, symbol: str) -> None:
    values = [Value(f"a{i}", kind) for i, kind in enumerate(spec.operands)]
    results = [Value(f"r{i}", kind) for i, kind in enumerate(spec.results)]
    random = np.random.default_rng(tokens)
    arrays = [
        _drawn(random, kind.dtype, tuple(int(d) for d in kind.bind(tokens).shape), op.ranges.get(name))
        for name, kind in zip(op.operands, spec.operands, strict=True)
    ]
    expected = op.reference(Op(op.name, tuple(values), tuple(results), dict(spec.attributes)), arrays)
    given = tuple(int(a) if a.dtype == np.int32 and a.shape == () else a for a in arrays)
    sizes = tuple(kind.bytes(tokens) for kind in spec.results)
    found = _called(op, Trial(str(library), symbol, given, sizes, tokens if spec.dynamic else None))
    for number, (bytes_, wanted) in enumerate(zip(found, expected, strict=True)):
        here = np.frombuffer(bytes_, wanted.dtype).reshape(wanted.shape)
        same = (here == wanted) & (np.signbit(here) == np.signbit(wanted)) | ((here != here) & (wanted != wanted))
        if not same.all():
            at = tuple(int(i) for i in np.argwhere(~same)[0])
            message = (
                f"the kernel of {op.torch} computes something else than its meaning: result {number} at {list(at)} is "
                f"{here[at]!s} and should be {wanted[at]!s}, {int((~same).sum())} of {same.size} differ"
            )
            hint = "both must round after every operation: docs/numerics.md"
            raise UserError("CHM307", message, hint=hint)


def _drawn(
    random: np.random.Generator, dtype: str, shape: tuple[int, ...], ends: tuple[float, float] | None
) -> np.ndarray:
    """Numbers of the range that the op declares, both ends among them; else floats around zero, small whole numbers."""
    if ends is None and dtype == "f32":
        return (2 * random.standard_normal(shape)).astype(np.float32)
    if ends is None:
        return np.asarray(random.integers(0, 4, shape)).astype(np.int32)
    if dtype == "f32":
        drawn = np.asarray(random.uniform(*ends, shape)).astype(np.float32)
    else:
        drawn = np.asarray(random.integers(math.ceil(ends[0]), math.floor(ends[1]), shape, endpoint=True))
        drawn = drawn.astype(np.int32)
        ends = (math.ceil(ends[0]), math.floor(ends[1]))
    if drawn.size > 1:
        places = random.permutation(drawn.size)[:2]
        drawn.reshape(-1)[places] = ends
    return drawn


def _called(op: CustomOp, trial: Trial) -> list[bytes]:
    """The results of a call in a process of its own."""
    command = [sys.executable, "-I", "-c", f"import sys; sys.path[:] = {sys.path!r}; {_CHILD}"]
    try:
        done = subprocess.run(command, input=pickle.dumps(trial), capture_output=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise UserError("CHM307", f"the kernel of {op.torch} does not end within {_SECONDS} seconds") from None
    if done.returncode < 0:
        name = signal.Signals(-done.returncode).name
        raise UserError("CHM307", f"the kernel of {op.torch} crashes ({name})", hint="is an index out of range?")
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
        raise UserError("CHM307", f"the kernel of {op.torch} cannot be called: {' '.join(last)}")
    answer: list[bytes] | str = pickle.loads(done.stdout)
    if isinstance(answer, str):
        raise UserError("CHM307", f"the kernel of {op.torch} {answer}")
    return answer
