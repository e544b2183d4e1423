"""Sentences of a text with their exact place in it, for the stages that read language and for search.

`boundaries` has the rule where a sentence ends, `abbreviations` the words with a full stop that do not end one.
"""

from blocks.sentences.boundaries import Span, language_code, sentence_spans

__all__ = ["Span", "language_code", "sentence_spans"]
