"""Rich Text Format (RTF 1.9.1) as the program shows it.

`tokens` cuts the bytes, `state` holds what a group's controls mean, `code_pages` what its bytes mean. `flows` collects
the paragraphs and tables of one text (the body, a head, a note), and `reader` sends each control to where it belongs.
Start at `reader.read_rtf`.
"""
