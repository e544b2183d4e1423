"""Outlook messages (.msg).

`storage` reads the compound file, `properties` what an item of it says, `compressed_rtf` and `encapsulated` a text that
is stored as RTF. Start at `reader.read_outlook`.
"""
