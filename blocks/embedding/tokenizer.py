"""The embedding model's WordPiece tokenizer, for counting tokens and for the model's input.

Owns loading it with the right configuration: the published file cuts at 128 tokens and pads to 128, and text that
spells a special token ("[SEP]") would become one. Loads no model, so counting is cheap to start.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache

from tokenizers import Tokenizer

from blocks.embedding.model import package_folder
from blocks.embedding.scripts import unspaced_characters

# The model reads 256 positions (sentence_bert_config.json), of which [CLS] and [SEP] take two.
MAX_POSITIONS = 256
SPECIAL_TOKENS = 2
MAX_TOKENS = MAX_POSITIONS - SPECIAL_TOKENS

# Encodings are large objects (about 150 bytes a token), so long lists are counted in slices.
SLICE_TEXTS = 512
# What a token has in other languages.
CHARACTERS_PER_UNKNOWN_TOKEN = 4


@lru_cache(maxsize=1)
def _tokenizer() -> Tokenizer:
    # Each worker process uses one core; the tokenizer would start a thread per core in each of them.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    tokenizer = Tokenizer.from_file(str(package_folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def count_tokens(texts: Sequence[str]) -> list[int]:
    """Return the tokens of each text, without the two special ones. A word over 100 characters counts as one.

    In scripts without blanks, of which whole clauses are one unknown token, every four characters count as one.
    """
    tokenizer = _tokenizer()
    counts: list[int] = []
    for start in range(0, len(texts), SLICE_TEXTS):
        part = [encodable(text) for text in texts[start : start + SLICE_TEXTS]]
        encodings = tokenizer.encode_batch_fast(part, add_special_tokens=False)
        counts.extend(
            len(encoding) + unspaced_characters(text) // CHARACTERS_PER_UNKNOWN_TOKEN
            for text, encoding in zip(part, encodings, strict=True)
        )
    return counts


def token_offsets(text: str) -> list[tuple[int, int]]:
    """Return start and end of each token in *text*, in characters."""
    return _tokenizer().encode(encodable(text), add_special_tokens=False).offsets


def model_input(text: str) -> list[int]:
    """Return the ids that the model reads: ``[CLS]``, at most `MAX_TOKENS` of the text, ``[SEP]``."""
    ids = _tokenizer().encode(encodable(text)).ids
    return ids if len(ids) <= MAX_POSITIONS else [*ids[: MAX_POSITIONS - 1], ids[-1]]


def encodable(text: str) -> str:
    """Return *text* with lone surrogates, which UTF-8 cannot encode, as ``?``; character positions stay."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text
