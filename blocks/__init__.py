"""What steps stand on: storage, catalogue, settings, search index. Imports nothing from the floors above."""
