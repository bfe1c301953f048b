"""Numbers of bytes for people: the unit changes where it should."""

from __future__ import annotations

from chimerac.compiler.units import binary_size, decimal_size


def test_decimal_units() -> None:
    said = {17: "17 B", 999: "999 B", 1000: "1.0 kB", 4_249: "4.2 kB", 2_500_000: "2.5 MB", 1_500_000_000: "1.50 GB"}
    assert {count: decimal_size(count) for count in said} == said
    assert decimal_size(5 * 10**12) == "5000.00 GB", "there is no larger unit"


def test_binary_units() -> None:
    said = {49_152: "48 KiB", 1 << 20: "1 MiB", 3 << 19: "1.5 MiB", 8 << 30: "8 GiB", 5 << 28: "1.2 GiB"}
    assert {count: binary_size(count) for count in said} == said
