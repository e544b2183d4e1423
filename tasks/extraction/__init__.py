"""The parts of the fact generator: mentions and facts of a document's passages, each with its quote.

`passages` reads the chunks; `evidence` has the types and the rule that every fact is quoted. Two methods fill them:
`rules` finds mentions (`references`, `amounts`, `dates`, `names`, `gazetteer`) and selects sentences;
`language_model` asks a server and accepts only what it quotes. What a sentence is worth is in `worth`, with
`definitions`, `independence` and `boilerplate`. `vocabulary` has the word lists of the rules, `lexicon` those that
are files: `common_words.txt` and `given_names.txt`. Start at `rules.find_mentions`. Rules open no other file and no
connection, and give the same result for the same passages.
"""
