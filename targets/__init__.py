"""IR to code: instruction-set tables, TensorIR kernels, linking, packaging."""
