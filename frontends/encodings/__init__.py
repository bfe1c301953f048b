"""How weights are stored by others: bytes to trits with scales, or to float32. Files and tensors are not known here."""
