"""Models of chimerac's own as PyTorch modules: one file for each, with the names that its document uses.

They are defined in frontends/families/; nothing is imported before it is asked for.
"""
