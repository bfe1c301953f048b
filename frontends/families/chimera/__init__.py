"""Chimera 5.1: a ternary recurrent language model with experts, loops, neural memory and span knots."""
