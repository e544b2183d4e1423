"""What the readers of office formats share: packages, charts, diagrams, numbers of lists, symbol fonts, pictures."""
