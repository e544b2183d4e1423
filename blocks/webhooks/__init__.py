"""Webhooks: what is signed, where it may go, and one attempt to send it."""
