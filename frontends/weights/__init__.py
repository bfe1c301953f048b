"""Weights from outside: checkpoints, packed checkpoints, random numbers."""
