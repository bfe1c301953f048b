"""Models that others made and published: what their files describe, and modules that compute it."""
