"""What runs: the thin Python runtime (standard library and numpy only) over the C runtime of a bundle."""

from chimerac.runtime.errors import BundleError
from chimerac.runtime.options import GenerateOptions
from chimerac.runtime.sessions.conversation import ChatPiece
from chimerac.runtime.sessions.interface import Piece, Session
from chimerac.runtime.sessions.loading import load

__all__ = ["BundleError", "ChatPiece", "GenerateOptions", "Piece", "Session", "load"]
