"""Word documents (Office Open XML), read part by part.

`reader.read_word` puts together what the other modules read: `story` the blocks of the main text, a note or a head,
`runs` what stands in a paragraph, `tables`, `drawings`, `notes`, `heads`. `styles` and `numbering` are what their
parts say.
"""
