"""HTML trees as Markdown: pages, HTML parts of mails and notebooks, chapters of books.

Owns what a browser shows of a tree (`tree`), its notes and formulas (`notes`, `formulas`), and how blocks (`writer`),
tables, lists and forms are written. Styles of style sheets are not read: what only they hide is shown.
"""
