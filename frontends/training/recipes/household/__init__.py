"""The recipe of a household model: requests in many languages, with and without the names of a home."""
