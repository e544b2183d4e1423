"""What the flow `process-documents` is made of."""
