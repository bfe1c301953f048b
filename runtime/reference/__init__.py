"""Engines in plain Python: what the C runtime is compared with, and what ONNX bundles run with."""
