"""PDF: the library's Markdown, mended by where the signs of each page stand.

xberg finds headings, columns and tables; it loses hyphens at line ends and the height of raised digits. pdfium says
where each sign stands. `reader` puts both together, `page_signs` asks pdfium, `placement` finds the place in the
Markdown, `mending` makes the changes there.
"""
