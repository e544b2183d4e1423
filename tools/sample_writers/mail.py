"""EML samples: a plain and an HTML body, the letter that it answers quoted below, and a CSV attachment.

Written with the standard library's `email`; boundaries are named, because the library's own are random.
"""

from __future__ import annotations

from email.message import EmailMessage
from email.policy import SMTP
from html import escape

from tools.sample_writers.hypertext import element
from tools.sample_writers.markup import blocks_of, split_header

_PART_BREAK = "\n---\n"


def write_mail(source: str) -> bytes:
    """The message of a source text: a header, the reply, the quoted letter and the attachment, `---` between them."""
    header, rest = split_header(source)
    reply, quoted, attachment = rest.split(_PART_BREAK)
    intro = f"On {header['quoted_date']}, {header['quoted_from']} wrote:"
    message = EmailMessage(policy=SMTP)
    message["From"] = header["from"]
    message["To"] = header["to"]
    message["Cc"] = header["cc"]
    message["Subject"] = header["subject"]
    message["Date"] = header["date"]
    message["Message-ID"] = header["message_id"]
    message["In-Reply-To"] = header["in_reply_to"]
    message.set_content(f"{reply.strip()}\n\n{intro}\n\n{_quote(quoted)}\n")
    message.add_alternative(_html(reply, intro, quoted), subtype="html")
    message.add_attachment(attachment, subtype="csv", filename=header["attachment"])
    for number, part in enumerate(part for part in message.walk() if part.is_multipart()):
        part.set_boundary(f"orvane-{number}")
    return message.as_bytes()


def _quote(letter: str) -> str:
    return "\n".join(f"> {line}".rstrip() for line in letter.strip().splitlines())


def _html(reply: str, intro: str, quoted: str) -> str:
    return (
        f"<html><body>\n{_elements(reply)}\n<p>{escape(intro)}</p>\n"
        f"<blockquote>\n{_elements(quoted)}\n</blockquote>\n</body></html>\n"
    )


def _elements(letter: str) -> str:
    return "\n".join(element(block) for block in blocks_of(letter))
