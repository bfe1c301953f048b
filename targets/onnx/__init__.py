"""ONNX: a lowered module as one ONNX model with explicit state, for ONNX Runtime.

``translate`` turns ops into ONNX nodes by a table like that of the kernels, ``model`` puts the nodes into a model and
writes its files. docs/onnx.md describes the result.
"""
