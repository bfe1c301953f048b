"""The sections of a config, one module each or one per group of small ones."""
