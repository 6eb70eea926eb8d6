"""Several networks become one, and a network becomes a simpler one that computes the same."""
