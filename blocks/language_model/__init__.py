"""The language model server that stages may use: its settings, and the Prefect block that holds them."""
