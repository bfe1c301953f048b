"""chimerac: an ahead-of-time compiler for ternary and recurrent language models."""

from chimerac.version import __version__

__all__ = ["__version__"]
