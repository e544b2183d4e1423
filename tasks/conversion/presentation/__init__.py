"""PowerPoint presentations: slides in order, each as a person reads it, with its notes and comments.

`reader` goes through the slides, `shapes` through the shape tree of one in the order of reading.
`paragraphs` makes Markdown of text with its bullets and numbers, which layout and master define (`inheritance`);
`frames` of tables, charts and diagrams, `remarks` of speaker notes and comments. Start at `reader.read_slides`.
"""
