"""LaTeX documents as a tree of HTML, which is written as a page is.

Owns what a document says when it is typeset, as far as that needs no packages: text, structure, tables, notes,
references by number, quantities, and the author's own commands. Formulas stay LaTeX.
"""
