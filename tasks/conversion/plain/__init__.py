"""Text that is kept: plain text, Markdown, source code, and the encodings they are in. Start at `reader`."""
