"""Make docs/benchmarks.md and its plot from result files; the text around the tables is page.md.

python benchmarks/peers/page.py benchmarks/results/*.json [--out docs]
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from modules import decode_rows, long_context_rows
from plot import Bar, Panel, number, svg
from turns import paired_ratio

HERE = Path(__file__).resolve().parent
PLOT = "benchmarks.svg"
BITS = 2 + 16 / 128  #: of a weight, with the scale of its group
TWO_BITS = "t2"  #: our form
LIMIT = f"reading all weights, {BITS:.3f} bits each"
Result = Mapping[str, Any]


PEERS: Mapping[str, Callable[[str], bool]] = {
    "llama.cpp TQ2_0": lambda n: n.startswith("llama.cpp") and n.endswith(" tq2_0"),
    "llama.cpp Q2_0": lambda n: n.startswith("llama.cpp") and n.endswith(" q2_0"),
    "llama.cpp TQ1_0": lambda n: n.startswith("llama.cpp") and n.endswith("tq1_0"),
    "onnxruntime 2 bits": lambda n: n.startswith("onnxruntime"),
}


def is_ours(name: str) -> bool:
    return name.startswith("chimerac")


def is_plain(name: str) -> bool:
    """Ours with the kernels of every x86-64 processor that we support."""
    return is_ours(name) and name.split()[-1].split(":")[0] == "avx2"


def best_of(seconds: Mapping[str, Sequence[float]], choose: Callable[[str], bool]) -> str:
    """The fastest of some systems, by medians."""
    return min(filter(choose, seconds), key=lambda name: statistics.median(seconds[name]))


def share_of_reading(run: Result, name: str, size: int) -> float:
    """Bytes per second of a system over the fastest reading of the same round; the median of rounds."""
    reads = [max(speeds) for speeds in zip(*run["read"].values(), strict=True)]
    return statistics.median(size / seconds / read for seconds, read in zip(run["seconds"][name], reads, strict=True))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Markdown; the first column is of words, the others are of numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def matvec_table(results: Sequence[Result], threads: int) -> str:
    """A row per system, a column per shape."""
    runs = [(result, next(run for run in result["runs"] if run["threads"] == threads)) for result in results]
    names = list(dict.fromkeys(name for _, run in runs for name in run["seconds"]))
    rows = [["memory read, GB/s: 1 stream, 8 streams a thread"]]
    for _, run in runs:
        rows[0].append(", ".join(f"{statistics.median(speeds) / 1e9:.1f}" for speeds in run["read"].values()))
    for name in names:
        row = [name]
        for result, run in runs:
            if name not in run["seconds"]:
                row.append("")
                continue
            median, size = statistics.median(run["seconds"][name]), result["cases"][name]["bytes"]
            share = 100 * share_of_reading(run, name, size)
            row.append(
                f"{1e6 * median:.0f} µs, {result['rows'] * result['columns'] / median / 1e9:.0f} G/s, {share:.0f} %"
            )
        rows.append(row)
    return table(["", *(f"{result['rows']} × {result['columns']}" for result in results)], rows)


def ratio_rows(label: str, runs: Sequence[Result]) -> list[list[str]]:
    """How much faster our fastest, and our fastest with AVX2 alone, are than the fastest build of each peer.

    From paired rounds; a cell per run.
    """
    rows = []
    for kind, chosen in PEERS.items():
        for name, mine in (("fastest", is_ours), ("avx2", is_plain)):
            row = [f"{label}{name} to {kind}"]
            for run in runs:
                seconds = run["seconds"]
                if not any(map(chosen, seconds)) or not any(map(mine, seconds)):
                    row.append("")
                    continue
                ours, peer = best_of(seconds, mine), best_of(seconds, chosen)
                row.append(f"{paired_ratio(seconds[peer], seconds[ours]):.2f} ×")
            if any(row[1:]):
                rows.append(row)
    return rows


def reading_ratio(result: Result, run: Result, chosen: Callable[[str], bool]) -> float | None:
    """How much faster than a peer a product would be that took as long as reading our two-bit weights."""
    sizes = [case["bytes"] for name, case in result["cases"].items() if is_ours(name) and name.endswith(TWO_BITS)]
    if not sizes or not any(map(chosen, run["seconds"])):
        return None
    reads = [max(speeds) for speeds in zip(*run["read"].values(), strict=True)]
    return paired_ratio(run["seconds"][best_of(run["seconds"], chosen)], [sizes[0] / read for read in reads])


def matvec_ratios(results: Sequence[Result]) -> str:
    rows = []
    for threads in dict.fromkeys(run["threads"] for result in results for run in result["runs"]):
        runs = [next(run for run in result["runs"] if run["threads"] == threads) for result in results]
        rows += ratio_rows(f"{plural(threads)}, ", runs)
        for kind, chosen in PEERS.items():
            limits = [reading_ratio(result, run, chosen) for result, run in zip(results, runs, strict=True)]
            if any(limits):
                cells = [f"{limit:.2f} ×" if limit else "" for limit in limits]
                rows.append([f"{plural(threads)}, reading our {TWO_BITS} bytes to {kind}", *cells])
    return table(["", *(f"{result['rows']} × {result['columns']}" for result in results)], rows)


def plural(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"


def run_title(run: Result) -> str:
    return f"{run['what']}, {plural(run['threads'])}"


def decode_limit(result: Result, run: Result) -> float | None:
    """Tokens per second if a token took as long as reading its weights at BITS; None if that is not what bounds it."""
    if run["what"] != "decode" or "read" not in run:
        return None
    read = statistics.median(max(speeds) for speeds in zip(*run["read"].values(), strict=True))
    return float(read / (sum(result["ours"].values()) * BITS / 8))


def model_table(result: Result) -> str:
    """A row per system, a column per kind of work; tokens per second."""
    runs = result["runs"]
    rows = []
    for name in dict.fromkeys(name for run in runs for name in run["seconds"]):
        facts = result["cases"][name]
        size = f"{facts['weights'] / 1e6:,.0f} M, {facts['bytes'] / 1e6:,.0f} MB"
        speeds = [number(1 / statistics.median(run["seconds"][name])) for run in runs]
        rows.append([name, size, *speeds])
    limits = [decode_limit(result, run) for run in runs]
    if any(limits):
        rows.append([LIMIT, "", *(number(limit) if limit else "" for limit in limits)])
    for row in ratio_rows("ratio of our ", runs):
        rows.append([row[0], "", *row[1:]])
    return table(["tokens/s", "weights a token, file", *map(run_title, runs)], rows)


def browser_table(result: Result) -> str:
    """Tokens per second, and the ratios to wllama and to native."""
    runs = result["runs"]
    rows = [
        [name, *(number(1 / statistics.median(run["seconds"][name])) for run in runs)] for name in runs[0]["seconds"]
    ]
    pairs = {
        "our best module to wllama": lambda n: n.startswith("wllama"),
        "our best module to our native AVX2": lambda n: n.startswith("chimerac native"),
    }
    for label, other in pairs.items():
        row = [label]
        for run in runs:
            seconds = run["seconds"]
            ours = best_of(seconds, lambda n: n.startswith("chimerac wasm"))
            row.append(f"{paired_ratio(seconds[best_of(seconds, other)], seconds[ours]):.2f} ×")
        rows.append(row)
    return table(["tokens/s", *map(run_title, runs)], rows)


def panels(matvecs: Sequence[Result], models: Sequence[Result], browsers: Sequence[Result]) -> list[Panel]:
    """What the plot shows: one shape, the largest model and the browser."""
    found = []
    for result in matvecs[:1]:
        run = result["runs"][-1]
        work = result["rows"] * result["columns"]
        bars = [
            Bar(name, work / statistics.median(seconds) / 1e9, is_ours(name))
            for name, seconds in run["seconds"].items()
        ]
        ours = best_of(run["seconds"], is_ours)
        read = statistics.median(max(speeds) for speeds in zip(*run["read"].values(), strict=True))
        limit = (f"reading the bytes of {ours}", read / result["cases"][ours]["bytes"] * work / 1e9)
        title = f"Matrix–vector {result['rows']} × {result['columns']}, {plural(run['threads'])}"
        found.append(Panel(title, "G multiply–adds/s", tuple(bars), limit))
    for result in [*models[-1:], *browsers[:1]]:
        for run in result["runs"]:
            if run["threads"] != result["runs"][-1]["threads"]:
                continue
            bars = [Bar(name, 1 / statistics.median(s), is_ours(name)) for name, s in run["seconds"].items()]
            where = "Browser" if result["kind"] == "browser" else "Whole model"
            total = sum(result["ours"].values())
            size = f"{total / 1e9:.1f} B" if total >= 1e9 else f"{total / 1e6:.0f} M"
            limit = decode_limit(result, run)
            title = f"{where}, {size} weights a token, {run_title(run)}"
            found.append(Panel(title, "tokens/s", tuple(bars), (LIMIT, limit) if limit else None))
    return found


def sources(results: Sequence[Result]) -> str:
    """Machine, versions and dates."""
    machines, versions = {}, {}
    for result in results:
        machines[json.dumps(result["machine"])] = result["machine"]
        versions |= result["versions"]
    lines = []
    for one in machines.values():
        kind = "virtual machine" if one["virtual"] else "machine"
        lines.append(
            f"* **Machine**: {kind}, {one['processor']} ({one['family']}), {one['cores']} cores, "
            f"{', '.join(one['caches'])}, {one['memory_gib']} GiB, {one['system']}; has {', '.join(one['features'])}"
        )
    lines.append("* **Versions**: " + ", ".join(f"{name} {version}" for name, version in sorted(versions.items())))
    dates = sorted(result["date"] for result in results)
    lines.append(f"* **Date**: {dates[0]} to {dates[-1]}" if dates[0] != dates[-1] else f"* **Date**: {dates[0]}")
    return "\n".join(lines)


def processor(result: Result) -> str:
    """Of the machine that a result is of, in words."""
    machine = result["machine"]
    return f"{machine['processor']} ({machine['family']}), {machine['cores']} cores"


def merged(results: Iterable[Result]) -> list[dict[str, Any]]:
    """Results of one kind and thing as one: pieces of a measurement that took too long for one.

    Published models are told apart by processors, too.
    """
    found: dict[tuple[str, ...], dict[str, Any]] = {}
    for result in results:
        key = tuple(str(result.get(name)) for name in ("kind", "name", "rows", "columns"))
        key += (processor(result),) if result["kind"] == "published" else ()
        if key in found:
            found[key]["runs"] = found[key]["runs"] + result["runs"]
        else:
            found[key] = dict(result)
    return list(found.values())


def make(results: Sequence[Result], template: str) -> tuple[str, str]:
    """The page and the plot."""
    facts = sources(results)
    results = merged(results)
    matvecs, models, browsers = (
        [result for result in results if result["kind"] == kind] for kind in ("matvec", "model", "browser")
    )
    matvecs.sort(key=lambda r: (r["rows"] * r["columns"], -r["rows"]))
    models.sort(key=lambda r: sum(r["ours"].values()))
    parts = {"sources": facts, "ratios": matvec_ratios(matvecs) if matvecs else ""}
    for threads in (1, 2):
        parts[f"matvec {threads}"] = matvec_table(matvecs, threads) if matvecs else ""
    published = [result for result in results if result["kind"] == "published"]
    parts["published"] = "\n\n".join(
        f"`{result['name']}`, {processor(result)}:\n\n{model_table(result)}" for result in published
    )
    parts["models"] = "\n\n".join(model_heading(result) + model_table(result) for result in models)
    parts["browser"] = "\n\n".join(model_heading(result) + browser_table(result) for result in browsers)
    page = template
    folder = HERE.parent / "results" / "modules"
    parts["long context"] = table(*long_context_rows(folder))
    heads, rows = decode_rows(folder)
    parts["modules"] = table(heads, rows) if rows else "Not measured yet."
    for name, part in parts.items():
        page = page.replace(f"<!-- {name} -->", part)
    return page, svg(panels(matvecs, models, browsers), "Speeds of chimerac and peers")


def model_heading(result: Result) -> str:
    ours = result["ours"]
    counts = [f"{ours[name] / 1e6:,.0f} M" for name in ("ternary", "head")]
    return (
        f"`{result['name']}`: {counts[0]} ternary weights a token in the layers, {counts[1]} weights in the head.\n\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, default=HERE.parent.parent / "docs")
    given = parser.parse_args()
    results = [json.loads(path.read_text("utf-8")) for path in given.results]
    page, plot = make(results, (HERE / "page.md").read_text("utf-8"))
    (given.out / "benchmarks.md").write_text(page, encoding="utf-8")
    (given.out / PLOT).write_text(plot, encoding="utf-8")


if __name__ == "__main__":
    main()
