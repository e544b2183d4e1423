"""Jupyter notebooks (nbformat 2 to 4): cells as they are, outputs as they show. Start at `reader`."""
