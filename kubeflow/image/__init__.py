"""The container image of a pipeline's tasks: its build context, and `docker build`."""
