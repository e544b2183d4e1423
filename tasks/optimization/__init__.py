"""The parts of the Markdown optimizer: one module per kind of change, none of which loses a word.

`repair` (characters, line ends, empty lines), `running_lines` (what a PDF repeats on every page) and `hyphenation`
(words split by a line end) change text only where the document itself proves them right. `formatting` normalises the
Markdown in `segments`, and keeps each segment unchanged whose meaning or words would change (`proof`). Start at
`tasks.optimize`, which runs them in this order.
"""
