"""After the run: a report of it, its results as tables, and a copy without texts, for sharing."""
