"""The length of an embedding vector; pure."""

DIMENSIONS = 384  # hidden_size in the model's config.json
