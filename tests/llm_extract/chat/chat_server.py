"""A small OpenAI-compatible server that can fail in every way; runs in a thread of the test."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class ChatServer:
    """Answers chat completions with ``answer(body) -> str | (status, body) | callable on the handler``."""

    def __init__(
        self,
        answer: Callable[[dict], object],
        *,
        models=("toy",),
        port: int = 0,
        max_model_len=None,
        listing=None,
    ):
        self.bodies: list[dict] = []
        self.headers: list[dict] = []
        self.open = self.most_open = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def send(self, status: int, body: object, headers=()):
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in headers:
                    self.send_header(name, value)
                if "Content-Type" not in dict(headers):
                    self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_GET(self):
                if not self.path.endswith("/v1/models"):
                    return self.send(404, {"error": {"message": "no such path"}})
                if listing is not None:
                    return self.send(*listing)
                cards = [{"id": name, "object": "model", "max_model_len": max_model_len} for name in models]
                return self.send(200, {"object": "list", "data": cards})

            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with outer._lock:
                    outer.bodies.append(body)
                    outer.headers.append({k.lower(): v for k, v in self.headers.items()})
                    outer.open += 1
                    outer.most_open = max(outer.most_open, outer.open)
                try:
                    made = answer(body)
                    if callable(made):
                        made(self)
                    elif isinstance(made, tuple):
                        self.send(*made)
                    else:
                        self.send(200, completion(made))
                except (BrokenPipeError, ConnectionResetError):
                    pass
                finally:
                    with outer._lock:
                        outer.open -= 1

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 512

            def handle_error(self, *args):
                pass

        self._server = Server(("127.0.0.1", port), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def completion(text: object, *, finish_reason: str = "stop", **instead) -> dict:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    usage = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    return {
        "id": "x", "object": "chat.completion", "created": int(time.time()), "model": "toy", "choices": [choice],
        "usage": usage,
    } | instead  # fmt: skip
