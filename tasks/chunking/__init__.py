"""The parts of the chunker: from Markdown to chunks of bounded size, and a summary.

`front_matter` reads the header; `packing` decides which blocks share a chunk; `pieces` cuts a block that is too large;
`chunks` counts the true tokens and adds overlap and context. Start at `chunks.chunks`, which runs them in this order.
Every chunk is an exact span of the text, and no character outside blank space is lost.
"""
