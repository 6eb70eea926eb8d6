"""Where a pushed file came from, as ML Metadata tells it."""
