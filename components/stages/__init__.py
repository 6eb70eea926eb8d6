"""What the executors of all components share."""
