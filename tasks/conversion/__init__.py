"""Readers: one module or package for each way of reading documents, each of which returns a `Reading`.

`readers` chooses one by the type of the document. Most are our own; `xberg_reader` reads through the library xberg what
has none, `pdf` mends what xberg makes of a PDF, and `markdown_writer` writes what all of them found. `reading` is what
all return, with the cleaning that every text passes; `header` writes the YAML header from it. They read one local file
within bounds, use no network and no cache, and raise `EncryptedDocument`, `UnreadableDocument`, `UnsupportedType` or
`TooLarge`.
"""
