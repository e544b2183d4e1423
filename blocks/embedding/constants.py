"""The identity of the embedding model, for code that loads nothing of it; pure."""

DIMENSIONS = 384  # hidden_size in the model's config.json

# Raise it whenever `graph.build_graph` would give other vectors: it names the built file and is part of the model's id,
# which is part of the stage key of every output that holds an embedding.
BUILD_VERSION = 1
EMBEDDING_MODEL = f"all-MiniLM-L6-v2/int8.{BUILD_VERSION}"
BUILT_NAME = f"all-MiniLM-L6-v2-int8.{BUILD_VERSION}.onnx"
