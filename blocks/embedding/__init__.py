"""Vectors of texts from all-MiniLM-L6-v2, on this machine and without a network."""
