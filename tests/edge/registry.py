"""A small npm registry on the loopback interface, for faults that the real one can't be asked for."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tarfile
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Registry:
    """Serves packages that tests add. `trouble`: a package name → what is wrong with it."""

    def __init__(self) -> None:
        self.packages: dict[str, dict[str, tuple[dict[str, Any], bytes]]] = {}
        self.trouble: dict[str, str] = {}
        self.requests: list[str] = []
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self)

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.block_on_close = False
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def add(
        self, name: str, version: str = "1.0.0", files: Mapping[str, str] | None = None, **more: Any
    ) -> None:
        """A package with these files besides its package.json."""
        manifest = {"name": name, "version": version, "main": "index.js", **more}
        whole = {"package.json": json.dumps(manifest), "index.js": "", **(files or {})}
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for path, text in whole.items():
                entry = tarfile.TarInfo(f"package/{path}")
                entry.size = len(text.encode())
                archive.addfile(entry, io.BytesIO(text.encode()))
        if "install" in more.get("scripts", {}) or "postinstall" in more.get("scripts", {}):
            manifest["hasInstallScript"] = True
        self.packages.setdefault(name, {})[version] = (manifest, buffer.getvalue())

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.replace("%2f", "/").replace("%2F", "/").lstrip("/")
        self.requests.append(path)
        name, _, rest = path.partition("/-/")
        trouble = self.trouble.get(name, "")
        if trouble == "hangs":
            time.sleep(30)
        if trouble == "fails":
            return _send(request, 500, b"{}")
        versions = self.packages.get(name)
        if versions is None:
            return _send(request, 404, b'{"error": "not found"}')
        if rest:
            data = versions[rest.removesuffix(".tgz")][1]
            return _send(request, 200, data, "application/octet-stream")
        return _send(request, 200, json.dumps(self._document(name, versions, trouble)).encode())

    def _document(self, name: str, versions: Mapping[str, Any], trouble: str) -> dict[str, Any]:
        described = {}
        for version, (manifest, data) in versions.items():
            digest = hashlib.sha512(b"other" if trouble == "lies" else data).digest()
            dist = {
                "tarball": f"{self.url}/{name}/-/{version}.tgz",
                "integrity": f"sha512-{base64.b64encode(digest).decode()}",
            }
            described[version] = {**manifest, "dist": dist}
        return {"name": name, "dist-tags": {"latest": max(versions)}, "versions": described}


def _send(request: BaseHTTPRequestHandler, status: int, data: bytes, kind: str = "application/json") -> None:
    request.send_response(status)
    request.send_header("content-type", kind)
    request.send_header("content-length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)
