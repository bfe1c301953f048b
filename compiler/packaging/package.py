"""What a package is: the form that bundles of some targets have, made of one build or of several.

A new form is a file here with a ``Package``, and an entry in registry.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from chimerac.compiler.errors import Span
from chimerac.compiler.ir.activity import Activity
from chimerac.compiler.ir.module import Module
from chimerac.compiler.model import Model
from chimerac.compiler.packaging.options import USUAL, PackagingOptions
from chimerac.passes.base import Pass, PassRecord
from chimerac.runtime.bundle_format import CallTest, Manifest, SelfTest
from chimerac.targets.code.codegen import KernelObject
from chimerac.targets.code.kernel_queue import KernelBatch
from chimerac.targets.registry import Target


@dataclass(frozen=True)
class Build:
    """A model lowered for a target.

    Attributes:
        module: as the target's kernels take it.
        passes: what was done to it.
        kernels: being compiled, by the name of the instruction set; none where no code is compiled.
    """

    target: Target
    module: Module
    passes: Sequence[PassRecord]
    kernels: Mapping[str, KernelBatch] = field(default_factory=dict)


class Steps(Protocol):
    """Told what was done, with the seconds it took."""

    @property
    def jobs(self) -> int:
        """Compilers that may run at a time."""

    def of_target(self, target: str, step: str, what: str, seconds: float) -> None: ...
    def kernels(self, target: str, made: Iterable[KernelObject]) -> None: ...
    def link(self, target: str, file: str, seconds: float) -> None: ...


V = TypeVar("V", SelfTest, CallTest)


@dataclass(frozen=True)
class Found(Generic[V]):
    """What the interpreter found.

    Attributes:
        vector: what a bundle's self-test finds again.
        activity: of gated neurons meanwhile.
    """

    vector: V
    activity: Activity


#: Of a language model, or of any other module.
Tested = Found[SelfTest] | Found[CallTest]


def test_fields(tested: Tested) -> dict[str, Any]:
    """The fields of a manifest that hold it."""
    return {"self_test" if isinstance(tested.vector, SelfTest) else "call_test": tested.vector}


@dataclass(frozen=True)
class Job:
    """A bundle to write.

    Attributes:
        builds: one, or as many as the package unites.
        folder: gets the bundle's files; exists and is empty.
        work: folder for everything else.
        self_test: the self-test vector, from the interpreter on a lowered module; asked for once.
        options: what was asked of the package.
    """

    model: Model
    builds: tuple[Build, ...]
    folder: Path
    work: Path
    self_test: Callable[[Module], Tested]
    steps: Steps
    options: PackagingOptions = USUAL

    @property
    def build(self) -> Build:
        """The only build."""
        (build,) = self.builds
        return build


class Naming(Protocol):
    """What a description says of names: of the model, of files by their role, and where it says so."""

    @property
    def name(self) -> str: ...
    @property
    def file_names(self) -> Mapping[str, str]: ...
    @property
    def place(self) -> Callable[[str], Span | None]: ...


class Package(Protocol):
    """How a bundle is put together."""

    def packing(self, target: Target, form: str | None) -> Sequence[Pass]:
        """The passes that lay weights out for the target; ``form`` of all packed trits, None for the fastest."""

    def check_names(self, naming: Naming, target: Target) -> None:
        """Raise UserError CHM322 when a name that a description asks for is that of another file of the bundle."""

    def write(self, job: Job) -> list[str]:
        """Write every file; the manifest comes last.

        Returns:
            the names of the files.

        Raises:
            UserError: CHM28x grammars, CHM301 an op that the target has not, CHM302 from the C compiler.
        """

    def check_weights(self, bundle: Path, manifest: Manifest, module: Module, origin: str) -> None:
        """Raise UserError CHM330 unless the weights in a bundle are those of a lowered module.

        A build with other passes or unrolled loops may have weights that this module has not; they are not compared.
        """
