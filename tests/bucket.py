"""A bucket on this machine: an emulator with the conditions and the errors of a real bucket."""

import contextlib
import json
import logging
import os
import signal
import socket
import socketserver
from collections.abc import Iterator
from unittest import mock
from urllib.parse import parse_qs, unquote, urlparse

NAME = "sicjax-test"


class Bucket:
    """Serves the bucket `NAME` from a thread of this process, and counts requests that write.

    The process `victim` can be killed at request number `kill_at`, before it is carried out or
    `after`.
    """

    def __init__(self) -> None:
        from gcp_storage_emulator import server

        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        self.writes: list[str] = []
        self.kill_at, self.victim, self.after, self.forbidden = 0, 0, False, False
        self._server = server.create_server(
            "127.0.0.1", self._port, in_memory=True, default_bucket=NAME
        )
        self._storage = self._server._storage

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment variables with which libraries use this bucket."""
        url = f"http://127.0.0.1:{self._port}"
        return {
            "STORAGE_EMULATOR_HOST": url, "TENSORSTORE_GCS_HTTP_URL": url,
            "GCE_METADATA_HOST": "127.0.0.1:1", "GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false",
        }  # fmt: skip

    @property
    def objects(self) -> dict[str, bytes]:
        """Every object's content, by its name."""
        return {
            file["name"]: self._storage.get_file(NAME, file["name"])
            for file in self._storage.get_file_list(NAME)[0]
        }

    def put(self, name: str, content: bytes | None) -> None:
        """Write or remove an object directly, without a request."""
        from gcp_storage_emulator.handlers import objects

        if content is None:
            self._storage.delete_file(NAME, name)
            return
        made = objects._make_object_resource("", NAME, name, "application/x", len(content))
        self._storage.create_file(NAME, name, content, objects._checksums(content, made))

    @contextlib.contextmanager
    def serving(self) -> Iterator["Bucket"]:
        """Serve until the context ends, and let this process's libraries find it."""
        from gcp_storage_emulator import server
        from gcp_storage_emulator.handlers import objects

        carry_out, download = server.Router.handle, objects.download

        def handle(router, method):
            request = router._request_handler
            due = False
            if method != "GET":
                self.writes.append(f"{method} {unquote(request.path)}")
                due = len(self.writes) == self.kill_at
            if due and not self.after:
                os.kill(self.victim, signal.SIGKILL)
            elif status := self._refused(request.path, method):
                _answer(request, status)
            else:
                if due:
                    request.wfile = mock.Mock()
                carry_out(router, method)
                if due:
                    os.kill(self.victim, signal.SIGKILL)

        def numbered(request, response, storage):
            download(request, response, storage)
            with contextlib.suppress(KeyError):
                found = storage.objects[NAME][request.params["object_id"]]
                response["x-goog-generation"] = found["generation"]

        # It logs every object that isn't there, and a client that has gone is no error.
        logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
        logging.getLogger("api").setLevel(logging.CRITICAL)
        with (
            mock.patch.object(socketserver.BaseServer, "handle_error", print_nothing),
            mock.patch.object(server.Router, "handle", handle),
            mock.patch.object(objects, "download", numbered),
            mock.patch.dict(os.environ, self.environment),
            self._server,
        ):
            yield self

    def _refused(self, path: str, method: str) -> int:
        """Return the status that a request is refused with, 0 if it is carried out."""
        url = urlparse(path)
        query, names = parse_qs(url.query), url.path.split("/b/")[-1].split("/o/")
        if "/b/" in url.path and names[0].split("/")[0] != NAME:
            return 404
        if self.forbidden:
            return 403
        name = query["name"][0] if "name" in query else unquote(names[-1])
        wanted = query.get("ifGenerationMatch")
        there = self._storage.objects.get(NAME, {}).get(name, {"generation": "0"})["generation"]
        return 412 if method != "GET" and wanted and wanted[0] != there else 0


def print_nothing(*_):
    """Take the place of a handler that prints a stack trace."""


def _answer(request, status: int) -> None:
    body = json.dumps({"error": {"code": status, "message": "refused"}}).encode()
    length = int(request.headers.get("Content-Length") or 0)
    request.rfile.read(length)
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)
