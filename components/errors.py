"""The errors that a pipeline author may see.

Every message names what was wrong, the value that was found and the remedy.
"""


class EdgeError(Exception):
    """Base of all errors raised on purpose by tfx-edge."""


class ConfigError(EdgeError):
    """A component or a core function was configured with something that cannot work.

    Raised while the pipeline is built wherever the mistake can be known then.
    """


class UserCodeError(EdgeError):
    """The user's module lacks a function that is needed, or the function returned something unusable."""


class ModelError(EdgeError):
    """A model artifact or file cannot be read, converted, carried over or run."""


class DataError(EdgeError):
    """Examples are missing, empty, or lack a feature or label that is needed."""


class DeviceError(EdgeError):
    """A device could not measure a model: it is absent, died, timed out or answered nonsense."""
