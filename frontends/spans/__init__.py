"""Banks of spans made of texts."""
