"""How Markdown becomes chunks: header, blocks, pieces, packing, summary. Pure functions over one text."""
