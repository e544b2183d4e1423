"""The converters: one module per way of reading a family of documents, each of which returns a `Reading`.

`tasks.convert` chooses the converter. `plain_text`, `markdown_source`, `table` and `mail` read text themselves;
`web_page`, `slides` and `xberg_reader` read through the library xberg. `reading` is what all return, with the cleaning
that every text passes; `header` writes the YAML header from it. They read one local file within bounds, use no network
and no cache, and raise `EncryptedDocument`, `UnreadableDocument`, `UnsupportedType` or `TooLarge`.
"""
