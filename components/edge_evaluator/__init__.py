"""EdgeEvaluator: measures an edge model and blesses it or not."""
