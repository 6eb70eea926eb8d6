"""Which character comes next in a film review: a small language model."""
