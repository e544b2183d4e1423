"""Formulas as LaTeX: MathML of pages and books, Office Math of Word and PowerPoint."""
