"""The machine that a benchmark runs on: its name, its caches, and how fast it reads memory."""

from __future__ import annotations

import ctypes as ct
import mmap
import os
import platform
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from chimerac.runtime.sessions.native_library import NativeLibrary

MIB = 1 << 20
_CPUS = Path("/sys/devices/system/cpu")


@dataclass(frozen=True)
class Machine:
    """What is known of this machine; an unknown number is 0.

    Attributes:
        cores: that this process may use.
        caches: "L1d", "L2", "L3" → bytes of one such cache.
        memory_bytes: of the machine.
    """

    cpu: str
    system: str
    cores: int
    caches: dict[str, int]
    memory_bytes: int

    @property
    def cached_bytes(self) -> int:
        """What the caches of the last level and the level below it, of all cores, hold together at most."""
        return self.caches.get("L3", 0) + self.cores * self.caches.get("L2", 0)


def this_machine() -> Machine:
    """This machine, as far as it can be told."""
    memory = 0
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return Machine(_cpu(), f"{platform.system()} {platform.release()}", cores, _caches(), memory)


def _cpu() -> str:
    if sys.platform == "darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        name = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
        return name or platform.machine()
    found = re.search(r"^(?:model name|Model|Hardware)\s*:\s*(.+)$", _read(Path("/proc/cpuinfo")), re.MULTILINE)
    return f"{found[1].strip()} ({platform.machine()})" if found else platform.processor() or platform.machine()


def _caches() -> dict[str, int]:
    found: dict[str, int] = {}
    for index in sorted(_CPUS.glob("cpu0/cache/index*")):
        level, kind = _read(index / "level").strip(), _read(index / "type").strip()
        size = re.fullmatch(r"(\d+)([KM])", _read(index / "size").strip())
        if size and level and kind != "Instruction":
            found[f"L{level}{'d' if kind == 'Data' else ''}"] = int(size[1]) * (MIB if size[2] == "M" else 1024)
    return found


def available_bytes() -> int:
    """Memory that programs can get without pushing others out; 1 GiB where it cannot be told."""
    found = re.search(r"^MemAvailable:\s*(\d+) kB", _read(Path("/proc/meminfo")), re.MULTILINE)
    return int(found[1]) * 1024 if found else 1024 * MIB


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


class Others:
    """What other programs, and other guests of the same host, take of the processors from now on."""

    def __init__(self) -> None:
        self._begun = time.monotonic(), _busy_seconds(), _own_seconds()

    def cores(self) -> float | None:
        """How many cores they had in use on average up to now; None where that cannot be told."""
        begun, busy, own = self._begun
        now = _busy_seconds()
        if busy is None or now is None:
            return None
        return max(0.0, (now - busy - (_own_seconds() - own)) / max(1e-3, time.monotonic() - begun))


def _busy_seconds() -> float | None:
    """Time that all processors together were not idle, or were taken by the host."""
    found = re.match(r"cpu +(\d+) (\d+) (\d+) \d+ \d+ (\d+) (\d+) (\d+)", _read(Path("/proc/stat")))
    return sum(map(int, found.groups())) / os.sysconf("SC_CLK_TCK") if found else None


def _own_seconds() -> float:
    """Time of this process, and of processes that it started and that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


class Memory:
    """Memory to read from, far larger than the caches: eight times the last one, 512 MiB to 1 GiB, but at most a
    quarter of what is free. ``chm_measure_reading`` of a bundle's library reads it.
    """

    def __init__(self, library: NativeLibrary, machine: Machine) -> None:
        """Every page is written, so that it is there, and large pages are asked for."""
        wanted = max(512 * MIB, min(1024 * MIB, 8 * machine.caches.get("L3", 0)))
        self.bytes = max(16 * MIB, min(wanted, available_bytes() // 4) // MIB * MIB)
        self._library = library
        self._map = mmap.mmap(-1, self.bytes)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            self._map.madvise(mmap.MADV_HUGEPAGE)
        self._start = (ct.c_char * self.bytes).from_buffer(self._map)
        ct.memset(self._start, 1, self.bytes)

    def read(self, threads: int, streams: int) -> float:
        """Read all of it once, each thread as so many streams side by side: bytes per second."""
        nanoseconds = ct.c_int64()
        address = ct.addressof(self._start)
        self._library.call("chm_measure_reading", address, self.bytes, threads, streams, ct.byref(nanoseconds))
        return self.bytes * 1e9 / max(1, nanoseconds.value)

    def close(self) -> None:
        """Give it back."""
        del self._start
        self._map.close()
