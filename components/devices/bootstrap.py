"""Starts the runner where this package is not installed: the ``__main__`` of the archive that is sent to a device.

``python runner.pyz REQUEST.json SECONDS``. The kernel ends the process after so many seconds, whatever it does, with no
help from the machine that asked: it may be out of reach by then. Nothing newer than Python 3.6 is needed to read this
file, so that it can say which Python is.
"""

import importlib
import json
import signal
import sys

OLDEST_PYTHON = (3, 10)


def main(request_path, seconds):  # type: ignore[no-untyped-def]
    """Runs the request, or answers it with what is missing here; returns the exit code."""
    signal.alarm(int(seconds))
    missing = _missing()
    if missing:
        with open(request_path) as file:
            result_path = json.load(file)["result"]
        with open(result_path, "w") as file:
            json.dump({"error": missing, "error_type": "DeviceError"}, file)
        return 1
    return importlib.import_module("tfx_edge.devices.runner").main(request_path)


def _missing():  # type: ignore[no-untyped-def]
    version = "%d.%d" % sys.version_info[:2]  # noqa: UP031
    if sys.version_info < OLDEST_PYTHON:
        wanted = "%d.%d" % OLDEST_PYTHON  # noqa: UP031
        return f"its Python is {version}, but {wanted} or later is needed; name a newer one as `python`"
    try:
        importlib.import_module("numpy")
        importlib.import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        return (
            f"its Python {version} cannot import what the runner needs ({error}); "
            f"run there: {sys.executable} -m pip install numpy ai-edge-litert"
        )
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
