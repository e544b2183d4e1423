"""E-mail messages (RFC 5322): headers, the richest version of the text, attachments by name. Start at `reader`."""
