"""Text embeddings with all-MiniLM-L6-v2, on this machine and without a network.

`vectors.embed` gives the vectors, `tokenizer.count_tokens` counts in the model's tokens, and `model` builds an int8
graph (`graph`) once from the weights of an installed package. The same text always has the same vector, on any machine.
What is longer than the model reads is not read. Import the modules by name, inside functions where that matters: they
load numpy, the tokenizer and ONNX Runtime. The constants here identify the model.
"""

DIMENSIONS = 384  # hidden_size in the model's config.json
# Raise it whenever `graph.build_graph` would give other vectors: it names the built file and is part of the model's id,
# which is part of the stage key of every output that holds an embedding.
BUILD_VERSION = 1
EMBEDDING_MODEL = f"all-MiniLM-L6-v2/int8.{BUILD_VERSION}"
BUILT_NAME = f"all-MiniLM-L6-v2-int8.{BUILD_VERSION}.onnx"
