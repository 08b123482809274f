"""A stand-in for the W&B server on the loopback interface, which the real client and the real agent take for one.

Online runs (configuration, history, summary, console, files, pictures, tables, artifacts), runs that are resumed,
sweeps with their agents and early stops. In a test::

    with serve(tmp_path) as server:
        monkeypatch.setenv(...)  # each of server.environment
        ...
        server.state.runs["<id>"]["history"]

By itself: ``python -m tests.tracking.wandb_server --port 8899 --folder OUT``. GET /_state gives all that it knows, POST
/_stop/<run> marks a run for an early stop, OUT/requests.jsonl has each call.
"""

import argparse
import gzip
import json
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.tracking.wandb_runs import dumps
from tests.tracking.wandb_sweeps import Sweeps

OPERATION = re.compile(r"(?:query|mutation|subscription)\s+(\w+)")


class Server(ThreadingHTTPServer):
    """Answers on ``url``; ``state`` is what it has been told.

    Args:
        folder: where uploads and the log of the calls go.
        port: 0 for any free one.
        agent_stop: see ``Sweeps``.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int = 0, agent_stop: bool = False) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.folder = folder
        self.state = Sweeps(agent_stop)
        self.state.url = self.url
        self.unknown: list[str] = []
        self.lock = threading.RLock()
        self._operations = self.state.operations()
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def environment(self) -> dict[str, str]:
        """What makes the client talk to this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}

    def stored(self, *parts: str) -> Path:
        """An uploaded file: of a run ("runs", id, name), of an artifact ("artifacts", id, name)."""
        return self.folder.joinpath("storage", *parts)

    def answer(self, operation: str, variables: dict[str, Any]) -> dict[str, Any]:
        """To a GraphQL operation."""
        if operation not in self._operations:
            self.unknown.append(operation)
            return {"errors": [{"message": f"the stand-in does not know {operation}"}]}
        try:
            return {"data": self._operations[operation](variables)}
        except Exception as error:
            return {"errors": [{"message": f"{operation}: {type(error).__name__}: {error}"}]}

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    def log(self, kind: str, **call: Any) -> None:
        with (self.folder / "requests.jsonl").open("a") as file:
            file.write(dumps({"time": round(time.time(), 3), "kind": kind, **call}) + "\n")


class Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *args: Any) -> None:
        """Nothing on the terminal."""

    def do_GET(self) -> None:
        if self.path == "/_state":
            state = self.server.state
            known = {name: getattr(state, name) for name in ("runs", "sweeps", "agents", "artifacts")}
            with self.server.lock:
                return self._reply({**known, "unknown": self.server.unknown})
        if self.path.startswith("/storage/") and self._stored().is_file():
            return self._reply(self._stored().read_bytes())
        return self._reply({}, 404 if self.path.startswith("/storage/") else 200)

    def do_PUT(self) -> None:
        content, path = self._body(), self._stored()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        with self.server.lock:
            self.server.log("PUT", path=self.path, bytes=len(content))
        self._reply({})

    def do_POST(self) -> None:
        body, parts = self._body(), self.path.split("/")
        with self.server.lock:
            if self.path.endswith("/file_stream"):
                reply = self.server.state.file_stream(parts[-2], json.loads(body))
                self.server.log("file_stream", run=parts[-2], body=json.loads(body), reply=reply)
            elif self.path.startswith("/_stop/"):
                self.server.state.runs[parts[-1]]["stop"] = True
                reply = {}
            else:
                reply = self._graphql(json.loads(body))
        self._reply(reply)

    def _graphql(self, body: Any) -> dict[str, Any]:
        named = OPERATION.search(body["query"])
        operation = body.get("operationName") or (named and named[1]) or "?"
        reply = self.server.answer(operation, body.get("variables") or {})
        self.server.log("graphql", operation=operation, variables=body.get("variables"), reply=reply)
        return reply

    def _body(self) -> bytes:
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(raw) if self.headers.get("Content-Encoding") == "gzip" else raw

    def _stored(self) -> Path:
        parts = unquote(self.path.split("?")[0]).removeprefix("/storage/").split("/")
        assert ".." not in parts, parts
        return self.server.stored(*parts)

    def _reply(self, content: Any, code: int = 200) -> None:
        out = content if isinstance(content, bytes) else dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)


@contextmanager
def serve(folder: Path, agent_stop: bool = False) -> Iterator[Server]:
    """A server for the time of a test, in a thread of this process."""
    with Server(folder, agent_stop=agent_stop) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8899)
    parser.add_argument("--folder", type=Path, default=Path("wandb_server"))
    parser.add_argument("--agent-stop", action="store_true")
    options = parser.parse_args()
    with Server(options.folder, options.port, options.agent_stop) as own:
        print(f"WANDB_BASE_URL={own.url} WANDB_API_KEY={'0' * 40}", flush=True)
        own.serve_forever()
