"""Text in Markdown: blocks, table rows, plain words and key phrases, for the stages that read language and for people.

Start at `scanner`, which finds the blocks of a text with their exact place; `prose` and `tables` work inside blocks.
`readable` is what people are shown of a passage.
Functions of one string: they open no file, never raise for what a text holds, and take time in proportion to its
length. Places are characters of the given text; only `prose.plain_text` and `key_phrases` return text without a place.
"""
