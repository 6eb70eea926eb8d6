"""A Transform graph inside of the model that needs it."""
