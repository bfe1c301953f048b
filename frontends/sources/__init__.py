"""Models that others made, as files: what is in them, and its numbers part by part. What they compute is not known."""
