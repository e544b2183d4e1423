"""AsciiDoc as HTML, which is written as a page is.

`reader` owns blocks, `inline` what stands in a line, `tables` tables.
"""
