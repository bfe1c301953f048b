"""What runs: the thin Python runtime (standard library and numpy only) over the C runtime of a bundle."""

from chimerac.runtime.errors import BundleError
from chimerac.runtime.interface import GenerateOptions, Piece, Session
from chimerac.runtime.session import load

__all__ = ["BundleError", "GenerateOptions", "Piece", "Session", "load"]
