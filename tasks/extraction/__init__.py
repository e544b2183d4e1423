"""What can be said of a document's passages: mentions, statements, and the quote that each rests on."""
