"""Kernels of another processor: a static program that serves calls on a pipe, run by qemu's user emulation."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from chimerac.targets.code.link import link
from chimerac.targets.isa import Isa
from chimerac.targets.kernel_spec import KernelSpec

#: machine → processors of qemu that have no more than a set of features, so that any other instruction is a fault
PROCESSORS = {
    "aarch64": {(): "cortex-a53", ("dotprod",): "cortex-a76"},
}
SERVER = r"""
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

%(declarations)s
typedef void (*call)(void **a, const int32_t *v);
static const call calls[] = {%(names)s};

static void take(void *to, size_t bytes) {
  if (bytes && fread(to, bytes, 1, stdin) != 1) exit(feof(stdin) ? 0 : 1);
}

int main(void) {
  for (;;) {
    int32_t header[5]; /* kernel, arguments, n, begin, end */
    take(header, sizeof header);
    void *pointers[32];
    int32_t values[35];
    int64_t sizes[32];
    memcpy(values + 32, header + 2, 3 * sizeof *values);
    for (int32_t i = 0; i < header[1]; ++i) {
      take(&sizes[i], sizeof sizes[i]);
      pointers[i] = NULL;
      if (sizes[i] < 0) take(&values[i], sizeof values[i]);
      else if (!(pointers[i] = aligned_alloc(64, ((size_t)sizes[i] + 127) / 64 * 64))) return 1;
      else take(pointers[i], (size_t)sizes[i]);
    }
    calls[header[0]](pointers, values);
    for (int32_t i = 0; i < header[1]; ++i)
      if (sizes[i] > 0) fwrite(pointers[i], (size_t)sizes[i], 1, stdout);
    for (int32_t i = 0; i < header[1]; ++i) free(pointers[i]);
    fflush(stdout);
  }
}
"""


@cache
def emulator(machine: str) -> str | None:
    """qemu's user emulation of a machine, if it is installed."""
    return shutil.which(f"qemu-{machine}-static") or shutil.which(f"qemu-{machine}")


def processor(isa: Isa) -> str:
    """The smallest processor that runs an instruction set."""
    return PROCESSORS[isa.name.partition("-")[0]][isa.needs]


def link_server(objects: Sequence[Path], specs: Sequence[KernelSpec], isa: Isa, output: Path) -> None:
    """The program with these kernels, for any Linux of the instruction set."""
    declarations, names = [], []
    for i, spec in enumerate(specs):
        types = spec.c_parameters
        counts = ["v[32]"] * spec.dynamic + ["v[33]", "v[34]"] * (spec.sharing is not None)
        tensors = len(types) - len(counts)
        values = [f"v[{j}]" if types[j] == "int32_t" else f"a[{j}]" for j in range(tensors)] + counts
        symbol = spec.symbol + isa.symbol_suffix
        declarations += [
            f"extern void {symbol}({', '.join(types)});",
            f"static void call{i}(void **a, const int32_t *v) {{ (void)a, (void)v; {symbol}({', '.join(values)}); }}",
        ]
        names.append(f"call{i}")
    source = output.with_suffix(".c")
    source.write_text(SERVER % {"declarations": "\n".join(declarations), "names": ", ".join(names)})
    machine = isa.name.partition("-")[0]
    static = replace(isa, triple=f"{machine}-linux-musl", link_flags=("-static",), export_flag="-DEXPORTS_{}")
    link(objects, [source], static, output, [])


class EmulatedKernels:
    """A running server."""

    def __init__(self, program: Path, isa: Isa) -> None:
        qemu = emulator(isa.name.partition("-")[0])
        assert qemu is not None
        environment = {**os.environ, "QEMU_CPU": processor(isa)}
        self._process = subprocess.Popen(
            [qemu, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
        )

    def call(self, kernel: int, arguments: Sequence[np.ndarray | int], n: int, begin: int, end: int) -> None:
        """Run a kernel on arrays, which take what it wrote, and int32 scalars."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        message = [struct.pack("<5i", kernel, len(arguments), n, begin, end)]
        for argument in arguments:
            if isinstance(argument, int):
                message.append(struct.pack("<qi", -1, argument))
            else:
                message.append(struct.pack("<q", argument.nbytes) + argument.tobytes())
        try:
            self._process.stdin.write(b"".join(message))
            self._process.stdin.flush()
            for argument in arguments:
                if not isinstance(argument, int) and argument.nbytes:
                    data = self._process.stdout.read(argument.nbytes)
                    assert len(data) == argument.nbytes
                    argument.reshape(-1).view(np.uint8)[:] = np.frombuffer(data, np.uint8)
        except (OSError, AssertionError):
            raise AssertionError(f"the emulated program ended with status {self._process.wait()}") from None

    def close(self) -> None:
        """End the program."""
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait(timeout=300)
