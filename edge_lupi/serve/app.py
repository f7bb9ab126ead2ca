"""A service's answers: WS /listen streams, the API for programs, and the page for people, with the browser's own microphone."""

from __future__ import annotations

from importlib.resources import files

from edge_lupi.page.app import PageApp
from edge_lupi.page.guard import SAFE_HEADERS, Receive, Scope, Send, reply
from edge_lupi.serve.api import Api
from edge_lupi.serve.connection import connect
from edge_lupi.serve.service import Service

__all__ = ["ServiceApp"]


class ServiceApp:
    """An ASGI app for one service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._api = Api(service)
        self._page = PageApp(service.output, service.people, service.tasks, microphone=True)
        self._microphone = files("edge_lupi.serve").joinpath("microphone.js").read_bytes()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or serve one socket."""
        path = scope["path"]
        if scope["type"] == "websocket":
            if path == "/listen":
                await connect(self._service, scope, receive, send)
            else:
                await reply(send, 404, {"error": "expected /listen"}, kind="websocket.http.response")
        elif path == "/listen":
            await reply(send, 426, {"error": "expected a WebSocket"}, [(b"upgrade", b"websocket")])
        elif path == "/microphone.js" and scope["method"] == "GET":
            kind = [(b"content-type", b"text/javascript; charset=utf-8")]
            await send({"type": "http.response.start", "status": 200, "headers": [*kind, *SAFE_HEADERS]})
            await send({"type": "http.response.body", "body": self._microphone})
        elif self._api.knows(path):
            await self._api(scope, receive, send)
        else:
            await self._page(scope, receive, send)
