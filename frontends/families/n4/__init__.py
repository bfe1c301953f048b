"""N4 ("Nova Nox"): attention over running means, norms that are a tanh, a network with a gate of Swish and GELU."""
