"""A student model that learns from a teacher."""
