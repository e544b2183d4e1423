"""OpenDocument text and presentations (ODF 1.3, part 3), as the program shows them.

`document` opens the package and knows its properties, `styles` what a style means, `numbers` the labels of lists and
headings. `paragraphs` reads runs of text, `writer` blocks and tables, `objects` charts and formulas. Start at
`text_document.read_text_document` and at `slides.read_slides`.
"""
