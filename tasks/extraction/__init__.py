"""The parts of the fact generator: mentions and facts of a document's passages, each with its quote.

`passages` reads the chunks; `evidence` has the types and the rule that every fact is quoted. Two methods fill them:
`rules` finds mentions (`references`, `amounts`, `dates`, `names`, `gazetteer`) and selects sentences; `language_model`
asks a server and accepts only what it quotes. `vocabulary` has the word lists of the rules. Start at
`rules.find_mentions`. Rules open no file and no connection, and give the same result for the same passages.
"""
