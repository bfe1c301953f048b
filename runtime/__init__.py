"""What runs: the thin Python runtime (standard library and numpy only) over the C runtime of a bundle."""
