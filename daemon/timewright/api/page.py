"""The page: a few files that are open to everybody, since they say nothing of this host. What they show comes
from the API, with a token."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

#: Nothing but the page's own files and this API. A name in a spec that is HTML stays text even if we err.
CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": CSP,
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
)
_SCRIPTS = ("page.js", "page.api.js", "page.dom.js", "page.versions.js", "page.view.js", "page.words.js")
_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    **{f"/{name}": (name, "text/javascript; charset=utf-8") for name in _SCRIPTS},
}
_ICON = "/favicon.ico"  # browsers ask for it; a refusal each time would fill the log with strangers

#: What takes no token.
PATHS = frozenset({*_FILES, _ICON})


def asset(path: str) -> tuple[bytes, str]:
    """Content and media type of one of PATHS; the icon has no content."""
    if path == _ICON:
        return b"", "image/x-icon"
    name, media_type = _FILES[path]
    return files("timewright.api").joinpath(name).read_bytes(), media_type


def routes() -> list[Route]:
    """Not a part of the API: they are in no OpenAPI document."""
    return [Route(path, _answer, methods=["GET"], include_in_schema=False) for path in sorted(PATHS)]


async def _answer(request: Request) -> Response:
    content, media_type = asset(request.url.path)
    return Response(content, 200 if content else 204, dict(HEADERS), media_type)
