"""How each family of documents becomes Markdown: one file per way of reading."""
