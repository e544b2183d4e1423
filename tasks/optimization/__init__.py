"""How Markdown is repaired and normalised without losing a word: one file per kind of change."""
