"""A benchmark's result as aligned text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chimerac.compiler.bench.figures import MemoryUse, Run, Share, TokenTime
from chimerac.compiler.bench.machine import Machine
from chimerac.compiler.units import binary_size, decimal_size

_LABEL, _COLUMN = 40, 13


def render(head: Sequence[str], runs: Sequence[Run], decode_bytes: int, memory: MemoryUse, notes: Sequence[str]) -> str:
    """The table that ``chimerac bench`` prints, under the lines of its head."""
    measured = [(run.threads, run.time) for run in runs if run.time is not None]
    times = time_lines(measured, "Where a token's time goes", "choosing it, its text")
    blocks = [head, _speed(runs), _passes(runs), _weights(runs, decode_bytes), *times, _memory(memory), _notes(notes)]
    return "\n\n".join("\n".join(line.rstrip() for line in block) for block in blocks if block)


def _speed(runs: Sequence[Run]) -> list[str]:
    lines = [row("Speed", [f"{run.threads} thread{'s' * (run.threads != 1)}" for run in runs])]
    lines += [
        row("  decode: tokens/s", [_rate(run.decode.tokens_per_second if run.decode else None) for run in runs]),
        row("    best", [_rate(run.decode.best_tokens_per_second if run.decode else None) for run in runs]),
        row("    90 % of tokens within ms", [_milli(run.decode.p90_seconds if run.decode else None) for run in runs]),
    ]
    for length in dict.fromkeys(rate.tokens for run in runs for rate in run.decode_after):
        rates = [next((rate for rate in run.decode_after if rate.tokens == length), None) for run in runs]
        found = [_rate(rate.tokens_per_second if rate else None) for rate in rates]
        lines.append(row(f"  decode after {length}: tokens/s", found))
    lengths = dict.fromkeys(rate.tokens for run in runs for rate in run.prefill)
    for length in lengths:
        rates = [next((rate for rate in run.prefill if rate.tokens == length), None) for run in runs]
        lines.append(row(f"  prompt of {length}: tokens/s", [_rate(r.tokens_per_second if r else None) for r in rates]))
    first = [run.first_token for run in runs]
    if any(first):
        length = next(one.prompt_tokens for one in first if one)
        lines += [
            row("  first token in a fresh process: ms", [_milli(one.seconds if one else None) for one in first]),
            row("    opening the bundle", [_milli(one.open_seconds if one else None) for one in first]),
            row(
                f"    prompt of {length} and the token", [_milli(one.prompt_seconds if one else None) for one in first]
            ),
        ]
    return lines


def _passes(runs: Sequence[Run]) -> list[str]:
    """What trees of guesses take, of bundles that guess."""
    if not all(run.passes for run in runs):
        return []
    lines = [row("Passes with guesses, in passes of one token", [])]
    return lines + [row(f"  {n} tokens", [f"{run.passes[n - 1]:.2f}" for run in runs]) for n in (2, 4, 8, 12, 20)]


def _weights(runs: Sequence[Run], decode_bytes: int) -> list[str]:
    if not decode_bytes:
        return []
    lines = [row("Weights", []), row("  read for a token", [_size(decode_bytes)])]
    lines.append(row("  decode streams: GB/s", [_giga(run.weight_bytes_per_second) for run in runs]))
    read = [run.read_bytes_per_second for run in runs]
    if any(read):
        lines += [
            row("  this machine reads: GB/s, one stream", [_giga(one.one_stream if one else None) for one in read]),
            row("    eight streams a thread", [_giga(one.eight_streams if one else None) for one in read]),
            row("  decode's part of the faster", [_percent(run.part_of_read_speed) for run in runs]),
        ]
    return lines


def time_lines(measured: Sequence[tuple[int, TokenTime]], title: str, outside: str) -> Iterator[list[str]]:
    """Tables of parts and of kernels, a column for each number of threads.

    Args:
        measured: number of threads and times.
        title: of the first table.
        outside: what the time that no kernel took was for.
    """
    if measured:
        yield _shares(title, measured, [time.parts for _, time in measured], outside)
        yield _shares("By kernel", measured, [time.ops for _, time in measured], "")


def _shares(
    title: str, measured: Sequence[tuple[int, TokenTime]], columns: Sequence[Sequence[Share]], others: str
) -> list[str]:
    """A row for each name, and for each number of threads its time, share and weights a second; rare ones together."""
    unit, scale = ("ms", 1e3) if max(time.seconds for _, time in measured) >= 0.01 else ("us", 1e6)
    heads = [f"{unit:>8}{'%':>7}{'GB/s':>8}" for _ in measured]
    over = [f"{threads} thread{'s' * (threads != 1)}" for threads, _ in measured]
    lines = []
    if others:
        lines.append(" " * 30 + "".join(f"{text:>23}" for text in over))
    lines.append(f"{title:<30}" + "".join(heads))
    names = [share.name for share in columns[0]]
    if not others:  # kernels: the longest first, in the first column
        names.sort(key=lambda name: -_of(columns[0], name).seconds)
    small = [name for name in names if all(_of(column, name).share < 0.005 for column in columns)]
    for name in names:
        if name not in small:
            count = _of(columns[0], name).parts
            label = f"  {name}" + (f" ({count})" if count > 1 and others else "")
            lines.append(f"{label:<30}" + "".join(_share(_of(column, name), scale) for column in columns))
    if small:
        sums = [[_of(column, name) for name in small] for column in columns]
        rest = [Share("", 0, sum(s.seconds for s in one), sum(s.share for s in one), 0) for one in sums]
        lines.append(f"{f'  {len(small)} others':<30}" + "".join(_share(one, scale) for one in rest))
    if others:
        outside = [Share("", 0, time.other_seconds, time.other_seconds / time.seconds, 0) for _, time in measured]
        lines.append(f"{f'  {others}':<30}" + "".join(_share(one, scale) for one in outside))
    return lines


def _of(column: Sequence[Share], name: str) -> Share:
    return next(share for share in column if share.name == name)


def _share(share: Share, scale: float) -> str:
    speed = share.bytes_per_second
    time = f"{scale * share.seconds:.{1 if scale > 1e3 else 2}f}"
    return f"{time:>8}{100 * share.share:>7.1f}{'' if speed is None else f'{speed / 1e9:.1f}':>8}"


def _memory(memory: MemoryUse) -> list[str]:
    lines = [
        "Memory",
        row("  weights file, mapped and shared", [_size(memory.weights_bytes)]),
        row("  a session", [_size(memory.session_bytes)]),
        row("    recurrent state", [_size(memory.state_bytes)]),
        row("    scratch (arena)", [_size(memory.arena_bytes)]) if memory.arena_bytes else "",
        row("  a fresh process at its peak", [_size(memory.peak_bytes)]) if memory.peak_bytes is not None else "",
        row("    before it opens the bundle", [_size(memory.before_bytes)]) if memory.before_bytes is not None else "",
        row("    without mapped files", [_size(memory.private_bytes)]) if memory.private_bytes is not None else "",
    ]
    return [line for line in lines if line]


def _notes(notes: Sequence[str]) -> list[str]:
    return [f"* {note}" for note in notes]


def head_lines(
    name: str, target: str, kernels: str, emulated: bool, machine: Machine, date: str, chimerac: str, made_by: str
) -> list[str]:
    """What was measured, on which machine, when and by what."""
    facts = [machine.cpu, f"{machine.cores} core{'s' * (machine.cores != 1)}"]
    facts += [f"{level} {binary_size(size)}" for level, size in machine.caches.items() if level != "L1d"]
    facts += [binary_size(machine.memory_bytes)] if machine.memory_bytes else []
    return [
        f"{name} for {target}, kernels {kernels}{', in an emulator' if emulated else ''}",
        ", ".join([*facts, machine.system]),
        f"{date[:16].replace('T', ' ')} UTC, chimerac {chimerac}; bundle made by {made_by}",
    ]


def speed_row(label: str, seconds: Sequence[float | None]) -> str:
    """Seconds as milliseconds."""
    return row(label, [_milli(one) for one in seconds])


def row(label: str, cells: Sequence[str]) -> str:
    """A label and its cells."""
    return f"{label:<{_LABEL}}" + "".join(f"{cell:>{_COLUMN}}" for cell in cells)


def _rate(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _milli(value: float | None) -> str:
    return "-" if value is None else _rate(1e3 * value)


def _giga(value: float | None) -> str:
    return "-" if value is None else f"{value / 1e9:.1f}"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.0f} %"


def _size(value: int | None) -> str:
    return "-" if value is None else decimal_size(value)
