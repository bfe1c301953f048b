"""Write a GGUF file's model with all its weights as float32, so that llama.cpp rounds nothing.

    ENVIRONMENT/bin/python float_file.py IN.gguf OUT.gguf

ENVIRONMENT has ``gguf==0.19.0`` and numpy.
"""

from __future__ import annotations

import sys

import gguf
import numpy as np


def main(source: str, target: str) -> None:
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        kind, *parts = field.types
        writer.add_key_value(name, field.contents(), kind, parts[-1] if parts else None)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
