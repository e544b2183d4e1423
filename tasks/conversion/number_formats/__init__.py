"""Number formats of spreadsheet programs: what a value looks like in a cell or in a chart.

`number_format` is the way in; the other modules are its grammar and its kinds of rendering.
"""
