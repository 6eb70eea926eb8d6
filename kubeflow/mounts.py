"""Object-store uris and the folders where Kubeflow's launcher mounts them.

The launcher fetches a task's inputs into these folders before it starts the container's command, and uploads from them
afterwards. A component that is given a folder instead of a uri therefore works with any store, also with those that
TensorFlow's file system cannot open. Vertex AI mounts ``gs://`` at the same place.

Source: ``LocalPathForURI`` in kubeflow/pipelines, ``backend/src/v2/component/launcher_v2.go``.
"""

from __future__ import annotations

import os

_FOLDERS = {"gs://": "gcs", "s3://": "s3", "minio://": "minio"}
SCHEMES = tuple(_FOLDERS)
_ROOT_VARIABLE = "TFX_EDGE_MOUNT_ROOT"


def to_path(uri: str) -> str:
    """The mounted folder or file of a uri; anything else is returned as it is."""
    for scheme, folder in _FOLDERS.items():
        if uri.startswith(scheme):
            return os.path.join(_root(), folder, uri[len(scheme) :])
    return uri


def to_uri(path: str) -> str:
    """The uri of a mounted folder or file; anything else is returned as it is."""
    for scheme, folder in _FOLDERS.items():
        mount = os.path.join(_root(), folder, "")
        if path.startswith(mount):
            return scheme + path[len(mount) :]
    return path


def _root() -> str:
    """Where the mounts are: ``/``, unless a container is imitated without the right to write there."""
    return os.environ.get(_ROOT_VARIABLE, "/")
