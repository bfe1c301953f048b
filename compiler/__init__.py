"""The trunk of chimerac: IR, pipeline, build driver, CLI, reports, errors."""
