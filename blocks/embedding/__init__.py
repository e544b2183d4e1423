"""Text embeddings with all-MiniLM-L6-v2, on this machine and without a network.

`vectors.embed` gives the vectors, `tokenizer.count_tokens` counts in the model's tokens. The weights come with an
installed package; `model` checks them and builds an int8 graph (`graph`) once into the home's models folder. The same
text always has the same vector, whatever stands next to it in a batch and whichever machine computes it. Refuses other
weights than the published ones, and does not cut text: what is longer than the model reads is not read.

Only the constants are exported here. Import the other modules by name, inside functions where that matters: they load
numpy, the tokenizer and ONNX Runtime.
"""

from blocks.embedding.constants import DIMENSIONS, EMBEDDING_MODEL

__all__ = ["DIMENSIONS", "EMBEDDING_MODEL"]
