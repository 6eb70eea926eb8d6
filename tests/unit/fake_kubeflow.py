"""A server on loopback that speaks the v2beta1 API of Kubeflow Pipelines, as far as schedules and runs need it.

It is a fake: nothing is run. Bodies of requests and answers pass through the models of ``kfp_server_api``: a key that a
model does not know, or a value that it refuses, is answered with status 400.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api

_CODEC = kfp_server_api.ApiClient()
_READY = "PENDING"


def as_model(document: dict[str, Any], model: str) -> Any:
    """The document as a model, which must hold all of it. Whole numbers may be text, as in protobuf's JSON."""
    instance = _CODEC._ApiClient__deserialize(document, model)
    held = _CODEC.sanitize_for_serialization(instance)
    if _as_text(held) != _as_text(document):
        raise ValueError(f"of {document} a {model} holds only {held}")
    return instance


def _as_text(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _as_text(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_as_text(inner) for inner in value]
    return str(value) if isinstance(value, int) else value


class Server:
    """State of the fake.

    Attributes:
      schedules: the recurring runs by id.
      runs: the runs by id.
      requests: method and path of each request; its `headers` and `queries` beside them.
      script: the states of tasks that a run answers, one entry for each question; the last one stays.
      ending: the state of a run once the script is at its end.
      faults: answered instead, first come first served: (status, body), or seconds to hang.
    """

    def __init__(self) -> None:
        self.experiments: dict[str, dict[str, Any]] = {}
        self.schedules: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.queries: list[dict[str, str]] = []
        self.script: list[dict[str, str]] = [{}]
        self.ending = "SUCCEEDED"
        self.faults: list[tuple[int, str] | float] = []
        self.page = 100
        self.host = ""
        self._asked: dict[str, int] = {}
        self._count = 0

    def identity(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count:04d}"

    def answer(self, method: str, path: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        """Raises KeyError for what is not there, and ValueError for what is wrong."""
        base = "/apis/v2beta1/"
        if not path.startswith(base):
            raise KeyError(path)
        place = path.removeprefix(base)
        if place == "experiments":
            return self._experiments(method, query, body)
        if place == "recurringruns":
            return self._recurring_runs(method, query, body)
        if place == "runs" and method == "POST":
            return self._start(body)
        if match := re.fullmatch(r"recurringruns/([\w-]+):(enable|disable)", place):
            schedule = self.schedules[match[1]]
            schedule["mode"] = match[2].upper()
            schedule["status"] = f"{match[2].upper()}D"
            return {}
        if (match := re.fullmatch(r"recurringruns/([\w-]+)", place)) and method == "DELETE":
            del self.schedules[match[1]]
            return {}
        if (match := re.fullmatch(r"runs/([\w-]+)", place)) and method == "GET":
            return self._run(match[1])
        raise KeyError(path)

    def _experiments(self, method: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        if method == "POST":
            as_model(body, "V2beta1Experiment")
            experiment = {**body, "experiment_id": self.identity("experiment")}
            self.experiments[experiment["experiment_id"]] = experiment
            return experiment
        wanted = json.loads(query["filter"])["predicates"][0]
        value = wanted.get("stringValue", wanted.get("string_value"))
        found = [one for one in self.experiments.values() if one["display_name"] == value]
        return {"experiments": found} if found else {}

    def _recurring_runs(self, method: str, query: dict[str, str], body: dict[str, Any]) -> dict[str, Any]:
        if method == "POST":
            as_model(body, "V2beta1RecurringRun")
            schedule = {
                **body,
                "recurring_run_id": self.identity("schedule"),
                "max_concurrency": str(body["max_concurrency"]),
                "status": f"{body['mode']}D",
            }
            self.schedules[schedule["recurring_run_id"]] = schedule
            return schedule
        wanted = query.get("experiment_id")
        found = [one for one in self.schedules.values() if wanted in (None, one["experiment_id"])]
        start = int(query.get("page_token") or 0)
        answer: dict[str, Any] = {"recurringRuns": found[start : start + self.page], "total_size": len(found)}
        if start + self.page < len(found):
            answer["next_page_token"] = str(start + self.page)
        return answer

    def _start(self, body: dict[str, Any]) -> dict[str, Any]:
        as_model(body, "V2beta1Run")
        run = {**body, "run_id": self.identity("run"), "state": _READY}
        self.runs[run["run_id"]] = run
        return run

    def _run(self, run_id: str) -> dict[str, Any]:
        run = self.runs[run_id]
        number = min(self._asked.get(run_id, 0), len(self.script) - 1)
        self._asked[run_id] = number + 1
        details = [
            {"run_id": run_id, "display_name": name, "state": state} for name, state in self.script[number].items()
        ]
        last = number == len(self.script) - 1
        return {
            **run,
            "state": self.ending if last else "RUNNING",
            "run_details": {"task_details": details},
        }


_ANSWERS = {
    ("POST", "experiments"): "V2beta1Experiment",
    ("GET", "experiments"): "V2beta1ListExperimentsResponse",
    ("POST", "recurringruns"): "V2beta1RecurringRun",
    ("GET", "recurringruns"): "V2beta1ListRecurringRunsResponse",
    ("POST", "runs"): "V2beta1Run",
    ("GET", "runs"): "V2beta1Run",
}


@contextlib.contextmanager
def serve() -> Iterator[Server]:
    """Runs the fake on a free port until the context ends."""
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}") if length else {}
            url = urlsplit(self.path)
            state.requests.append((self.command, url.path))
            state.headers.append({key.lower(): value for key, value in self.headers.items()})
            if state.faults:
                fault = state.faults.pop(0)
                if isinstance(fault, tuple):
                    self._send(*fault)
                else:
                    time.sleep(fault)
                return
            query = {key: values[0] for key, values in parse_qs(url.query).items()}
            state.queries.append(query)
            try:
                answer = state.answer(self.command, url.path, query, body or {})
                kind = _ANSWERS.get((self.command, url.path.removeprefix("/apis/v2beta1/").split("/")[0]))
                if kind and answer:
                    as_model(answer, kind)
            except KeyError as error:
                self._send(404, json.dumps({"error": "not found", "code": 5, "message": f"{error} not found"}))
            except ValueError as error:
                self._send(400, json.dumps({"error": str(error), "code": 3, "message": str(error)}))
            else:
                self._send(200, json.dumps(answer))

        do_GET = do_POST = do_DELETE = _handle  # noqa: N815

        def _send(self, status: int, text: str) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if text.startswith("{") else "text/html")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self.wfile.write(content)

        def log_message(self, *unused: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    state.host = f"http://127.0.0.1:{server.server_port}"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
