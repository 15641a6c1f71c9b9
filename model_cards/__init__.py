"""Say it: cards and results with measured numbers."""
