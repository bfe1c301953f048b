"""The 100 Nonu model: a transformer whose neurons are open or shut (docs/nonu.md)."""
