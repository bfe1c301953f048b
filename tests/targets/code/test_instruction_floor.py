"""No object file has an instruction that the target does not promise, nor a fused multiply-add on any target."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from pathlib import Path

import capstone
import pytest
from nano_model import nano_module

from chimerac.compiler.build.lowering import lower
from chimerac.compiler.ir.types import TensorType, f32, i32
from chimerac.runtime.bundle_format import NATIVE_DIRECTORY, POSIX_SOURCES, RUNNER_SOURCES
from chimerac.targets.code.driver import kernel_specs
from chimerac.targets.code.kernel_queue import compile_kernels
from chimerac.targets.code.link import COMPILE_FLAGS, run_zig
from chimerac.targets.isa import Isa, load_isa
from chimerac.targets.kernel_spec import KernelSpec
from chimerac.targets.kernels import find_kernel
from chimerac.targets.kernels.tensorir import lower as lower_kernel
from chimerac.targets.registry import find_target

#: instruction groups of Haswell, as capstone names them; fused multiply-add is in it, but changes results
X86_GROUPS = {"mode64", "cmov", "jump", "branch_relative", "call", "ret", "int", "novlx", "bmi", "bmi2", "fc16"}
X86_GROUPS |= {"sse1", "sse2", "sse3", "ssse3", "sse41", "sse42", "avx", "avx2"}
#: instructions of ARMv8.0 that compilers choose
AARCH64 = set(
    re.findall(
        r"\S+",
        """
    adc adcs add adds adr adrp and ands asr b bfi bfxil bic bics bl blr br brk cbnz cbz ccmn ccmp cinc cinv cls clz cmn
    cmp cneg csel cset csetm csinc csinv csneg dmb eon eor extr ldar ldarb ldaxr ldaxrb ldp ldpsw ldr ldrb ldrh ldrsb
    ldrsh ldrsw ldur ldurb ldurh ldursb ldursh ldursw ldxr ldxrb lsl lsr madd mneg mov movk movn movz mrs msr msub mul
    mvn neg negs ngc nop orn orr prfm rbit ret rev rev16 rev32 ror sbc sbcs sbfiz sbfx sdiv smaddl smulh smull stlr
    stlrb stlxr stlxrb stp str strb strh stur sturb sturh stxr stxrb sub subs svc sxtb sxth sxtw tbnz tbz tst ubfiz ubfx
    udf udiv umaddl umulh umull uxtb uxth yield clrex hint isb
    abs addhn addp addv bif bit bsl cmeq cmge cmgt cmhi cmhs cmle cmlt cmtst cnt dup ext fabd fabs fadd faddp fcmeq
    fcmge fcmgt fcmle fcmlt fcmp fcsel fcvt fcvtl fcvtl2 fcvtms fcvtn fcvtps fcvtzs fcvtzu fdiv fmax fmaxnm fmaxnmv fmin
    fminnm fminnmv fmov fmul fneg fnmul frinta frinti frintm frintn frintp frintx frintz fsqrt fsub ins ld1 ld1r ld2 ld3
    ld4 mla mls movi mvni not rev64 sadalp saddl saddl2 saddlp saddlv saddw saddw2 scvtf shl shll shll2 shrn shrn2 smax
    smaxp smaxv smin sminp sminv smlal smlal2 smov smull2 sqxtn sri sli sshl sshll sshll2 sshr ssra ssubl ssubl2 ssubw
    st1 st2 st3 st4 tbl tbx trn1 trn2 uadalp uaddl uaddl2 uaddlp uaddlv uaddw uaddw2 ucvtf umax umaxp umaxv umin umov
    uminv umlal umlal2 umull2 ushl ushll ushll2 ushr usra usubl uzp1 uzp2 xtn xtn2 zip1 zip2
    """,
    )
)
FUSED = re.compile(r"v?fn?m(add|sub|la|ls)|fmla|fmls|fn?madd|fn?msub")


def machine_code(path: Path) -> Iterator[bytes]:
    """The executable sections of a 64-bit ELF file."""
    data = path.read_bytes()
    (start,) = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    for i in range(count):
        _, kind, flags, _, offset, length = struct.unpack_from("<IIQQQQ", data, start + i * size)
        if kind == 1 and flags & 4:
            yield data[offset : offset + length]


def violations(path: Path, isa: Isa) -> set[str]:
    """Instructions of an object file that a plain processor has not, or that fuse."""
    x86 = isa.name.startswith("x86")
    machine = (capstone.CS_ARCH_X86, capstone.CS_MODE_64) if x86 else (capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)
    engine = capstone.Cs(*machine)
    engine.detail = engine.skipdata = True
    found = set()
    for code in machine_code(path):
        for instruction in engine.disasm(code, 0):
            name = instruction.mnemonic
            if name == ".byte":
                allowed = False
            elif x86:
                groups = {engine.group_name(g) for g in instruction.groups}
                allowed = groups <= X86_GROUPS and instruction.bytes[0] != 0x62 and not FUSED.match(name)
            else:
                half = (
                    name[0] == "f" and not name.startswith("fcvt") and re.search(r"\.[48]h|\bh\d", instruction.op_str)
                )
                vector = re.search(r"\bz\d", instruction.op_str)  # registers of the scalable extension
                allowed = name.partition(".")[0] in AARCH64 and not half and not vector
            if not allowed:
                found.add(f"{name} {instruction.op_str}")
    return found


def model_specs(target: str) -> list[KernelSpec]:
    """Every kernel of the nano model."""
    return kernel_specs(lower(nano_module(), find_target(target))[0])


@pytest.mark.parametrize("target", [pytest.param("x86_64-avx2", marks=pytest.mark.slow), "aarch64-neon"])
def test_kernels_keep_to_the_declared_features(target: str, tmp_path: Path) -> None:
    isa = load_isa(find_target(target).isa)
    objects = compile_kernels(model_specs(target), isa, tmp_path)
    assert len(objects) > 30
    assert {o.symbol: v for o in objects if (v := violations(o.object_path, isa))} == {}


@pytest.mark.parametrize("target", ["x86_64-avx2", pytest.param("aarch64-neon", marks=pytest.mark.slow)])
def test_c_sources_keep_to_the_declared_features(target: str, tmp_path: Path) -> None:
    isa = load_isa(find_target(target).isa)
    for name in (*POSIX_SOURCES, *RUNNER_SOURCES):
        output = tmp_path / f"{name}.o"
        flags = ("-target", isa.triple, *COMPILE_FLAGS, *isa.compile_flags, "-c", str(NATIVE_DIRECTORY / name))
        run_zig(["cc", *flags, "-o", str(output)])
        allowed = {"cpuid ", "xgetbv "} if name == "chm_cpu.c" else set()
        assert violations(output, isa) <= allowed, name


@pytest.mark.parametrize(
    ("name", "promised", "beyond"),
    [
        ("aarch64-neon+dotprod", "sdot", r"\b(usdot|[su]mmla|bfdot|bfmmla|f[mn]?m(la|add)|z\d+\.)"),
        ("x86_64-avx2+avxvnni", "{vex}\tvpdpbusd", r"%(zmm|k[1-7]|[xy]mm(1[6-9]|[23]\d))|vfm"),
        ("x86_64-avx2+avx512vnni", "vpdpbusd", r"vfm|vpshufbitqmb|vpermi2b|vpmultishiftqb"),
    ],
)
def test_variants_use_what_they_need_and_nothing_else(name: str, promised: str, beyond: str) -> None:
    isa = load_isa(name)
    products = {spec.op: spec for spec in model_specs(name.partition("+")[0]) if spec.integer_product}
    for spec in products.values():
        text = lower_kernel(find_kernel(spec.op)(spec, isa), isa).inspect_source("asm")
        assert spec.op == "int8_matmul" or promised in text
        assert re.search(beyond, text) is None


@pytest.mark.parametrize("cache", ["f32", "f16"])
def test_wide_attention_fills_registers_and_fuses_nothing(cache: str) -> None:
    isa = load_isa("x86_64-avx2+avx512vnni")
    rows = TensorType(cache, (2, 40, 16))
    operands = (f32("T", 4, 16), f32("T", 2, 16), f32("T", 2, 16), rows, rows, i32())
    attributes = (("scale", 0.25), ("window", 0))
    spec = KernelSpec("cached_attention", operands, (f32("T", 4, 16), rows, rows), attributes)
    text = lower_kernel(find_kernel(spec.op)(spec, isa), isa).inspect_source("asm")
    assert re.search(r"vmulps.*%zmm", text)
    assert re.search(r"vfm|vpshufbitqmb|vpermi2b|vpmultishiftqb", text) is None


@pytest.mark.parametrize(
    ("base", "feature", "name"),
    [("aarch64-neon", "sdot", "aarch64-neon+dotprod"), ("x86_64-avx2", "vpdpbusd", "x86_64-avx2+avx512vnni")],
)
def test_the_check_sees_what_it_looks_for(base: str, feature: str, name: str, tmp_path: Path) -> None:
    spec = next(s for s in model_specs(base) if s.op == "ternary_matmul")
    (made,) = compile_kernels([spec], load_isa(name), tmp_path)
    assert any(found.startswith(feature) for found in violations(made.object_path, load_isa(name)))
