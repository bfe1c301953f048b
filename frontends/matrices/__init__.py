"""Matrices of models: the forms in which they are multiplied, and what their numbers lose by it."""
