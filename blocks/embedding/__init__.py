"""Text embeddings with all-MiniLM-L6-v2, on this machine and without a network.

`vectors.embed` gives the vectors, `tokenizer.count_tokens` counts in the model's tokens. The weights come with an
installed package; `model` checks them and builds an int8 graph (`graph`) once into the home's models folder. The same
text always has the same vector, whatever stands next to it in a batch and whichever machine computes it. Refuses other
weights than the published ones, and does not cut text: what is longer than the model reads is not read.

Import the modules by name, inside functions where that matters: they load numpy, the tokenizer and ONNX Runtime. What
identifies the model is here, for code that loads nothing of it.
"""

DIMENSIONS = 384  # hidden_size in the model's config.json
# Raise it whenever `graph.build_graph` would give other vectors: it names the built file and is part of the model's id,
# which is part of the stage key of every output that holds an embedding.
BUILD_VERSION = 1
EMBEDDING_MODEL = f"all-MiniLM-L6-v2/int8.{BUILD_VERSION}"
BUILT_NAME = f"all-MiniLM-L6-v2-int8.{BUILD_VERSION}.onnx"
