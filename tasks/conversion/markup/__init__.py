"""Markup languages with one module each: Org, reStructuredText, DocBook and JATS."""
