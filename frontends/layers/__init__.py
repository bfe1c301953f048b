"""Layers in PyTorch that families share: mixers, norms, linears, and the custom ops they are exported as."""
