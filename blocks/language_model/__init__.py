"""The language model server that the fact generator may use: its settings, and the Prefect block that stores them.

`settings` is plain data that worker processes get; it refuses addresses that hold a secret. `block` is the Prefect
block that people fill in, and imports Prefect: import each by name. `tasks.extraction.language_model` sends the
requests and checks the answers.
"""
