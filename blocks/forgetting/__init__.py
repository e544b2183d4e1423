"""Forgetting: a document goes from files, search index, events, history and logs, with a certificate of what went.

Start at `forget`. `document` says what is known and whether it may go, `rows` takes it out of the catalogue,
`prefect_history` out of Prefect's records, `home_files` out of logs and scratch folders, `rewriting` out of the files
of Postgres.
"""

from blocks.forgetting.certificate import Certificate
from blocks.forgetting.document import KnownDocument, find_documents
from blocks.forgetting.forget import DOCUMENT_FORGOTTEN, Foreseen, Forgetter
from blocks.forgetting.named import forget_named

__all__ = [
    "DOCUMENT_FORGOTTEN",
    "Certificate",
    "Foreseen",
    "Forgetter",
    "KnownDocument",
    "find_documents",
    "forget_named",
]
