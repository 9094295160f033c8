"""Asks the outside how a rollout does: Prometheus, and HTTP checks. Only what the config names is asked: a
spec can't make a host call where it likes."""

from __future__ import annotations

import math
from collections.abc import Mapping

import httpx

_TIMEOUT_S = 5.0


class Checks:
    """`prometheus`: its base URL, '' for none. `urls`: name → URL of an HTTP check."""

    def __init__(self, prometheus: str, urls: Mapping[str, str]) -> None:
        self.prometheus, self.urls = prometheus.rstrip("/"), dict(urls)

    async def query(self, promql: str) -> tuple[float | None, str]:
        """The highest value that a query gives, None for no data; and why it could not be asked, or ''."""
        if not self.prometheus:
            return None, "the config names no Prometheus (rollout.prometheus)"
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
                answer = await client.get(f"{self.prometheus}/api/v1/query", params={"query": promql})
            found = answer.json()
            if found.get("status") != "success":
                return (
                    None,
                    f"Prometheus refused the query: {str(found.get('error', answer.status_code))[:300]}",
                )
            return _highest(found["data"]), ""
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            return None, f"Prometheus can't be asked: {error or type(error).__name__}"

    async def check(self, name: str) -> str:
        """Why a check fails; '' when it passes (2xx)."""
        url = self.urls.get(name)
        if url is None:
            return f"the config has no check {name!r} (rollout.checks)"
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
                answer = await client.get(url)
        except httpx.HTTPError as error:
            return f"{name} does not answer: {error or type(error).__name__}"
        if answer.is_success:
            return ""
        words = answer.text.strip().splitlines()
        return f"{name} answers {answer.status_code}" + (f": {words[0][:200]}" if words else "")


def _highest(data: Mapping[str, object]) -> float | None:
    result = data["result"]
    if data["resultType"] == "scalar" and isinstance(result, list):
        return float(result[1])
    rows = result if isinstance(result, list) else []
    values = [float(row["value"][1]) for row in rows]
    values = [value for value in values if not math.isnan(value)]
    return max(values, default=None)
