"""A gRPC server of ML Metadata's service on loopback that forwards every call to a store in this process.

ML Metadata's wheels hold no ``metadata_store_server``, which Kubeflow runs; the service and the messages are the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from concurrent import futures
from functools import partial
from typing import Any

import grpc
import ml_metadata
from ml_metadata import errors
from ml_metadata.proto import metadata_store_service_pb2 as service

_BYTES = 2**30


@contextlib.contextmanager
def forwarding(config: Any) -> Iterator[str]:
    """Serves the store of a `ConnectionConfig`; gives the server's URL."""
    store = ml_metadata.MetadataStore(config)
    description = service.DESCRIPTOR.services_by_name["MetadataStoreService"]
    handlers = {method.name: _handler(store, method.name) for method in description.methods}
    server = grpc.server(
        futures.ThreadPoolExecutor(1),  # a store is not for several threads
        options=[("grpc.max_receive_message_length", _BYTES), ("grpc.max_send_message_length", _BYTES)],
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(description.full_name, handlers)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def _handler(store: ml_metadata.MetadataStore, name: str) -> grpc.RpcMethodHandler:
    request, response = (getattr(service, f"{name}{part}") for part in ("Request", "Response"))
    return grpc.unary_unary_rpc_method_handler(
        partial(_forward, store, name, response), request.FromString, response.SerializeToString
    )


def _forward(store: Any, name: str, response: Any, request: Any, context: grpc.ServicerContext) -> Any:
    answer = response()
    try:
        store._call(name, request, answer)
    except errors.StatusError as error:
        code = next(each for each in grpc.StatusCode if each.value[0] == error.error_code)
        context.abort(code, str(error))
    return answer
