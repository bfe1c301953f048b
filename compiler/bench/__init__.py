"""Measures a bundle, beside what the machine can do."""
