"""Language in Markdown: sentences, plain words, key phrases. Pure; shared by the stages that read text."""
