"""Tells the forge what became of each commit. What there is to tell goes into the outbox, which brings it
when the forge is there; nothing here waits for it."""

from __future__ import annotations

from typing import Final

from timewright import log
from timewright.config import Config, Followed
from timewright.core.forges import STATES, repository, status_request
from timewright.core.landing import Landing, Outcome
from timewright.core.masking import mask
from timewright.core.sourcestate import SourceState
from timewright.delivery import Delivery, DeliveryError
from timewright.edge.forges import ForgeError, send
from timewright.edge.outbox import Letter

CHANNEL: Final = "commit-status"  # and the source's name: each forge is down for itself
_MOST: Final = 20  # commits of one push that are told about, the newest; each is a request


class Statuses:
    """The commit statuses of all sources. `host`: this host's name, for the name of a status."""

    def __init__(self, config: Config, host: str, delivery: Delivery) -> None:
        self._config, self._host, self._delivery = config, host, delivery
        self._told: dict[str, dict[str, tuple[Landing, str]]] = {}  # source → commit → what was told

    def register(self) -> None:
        """Take the letters of all sources that tell of their commits."""
        for one in self._config.followed:
            if self._source(one.title) is not None:
                self._delivery.register(f"{CHANNEL}:{one.title}", self.deliver)

    def on_landing(self, source: SourceState, outcome: Outcome, commits: tuple[str, ...]) -> None:
        """A listener of landings: write what is new of these commits."""
        one = self._source(source.name)
        if one is None:
            return
        context = one.settings.status_context or self._context(one)
        before, now = self._told.get(one.title, {}), {}
        text = mask(outcome.description)
        for sha in commits[-_MOST:]:
            now[sha] = (outcome.state, text)
            if _is_news(before.get(sha), now[sha]):
                self._delivery.put(
                    f"{CHANNEL}:{one.title}",
                    f"{one.title}:{sha}:{context}",
                    {
                        "source": one.title,
                        "commit": sha,
                        "state": str(outcome.state),
                        "description": text,
                        "context": context,
                    },
                )
        self._told[one.title] = now

    async def deliver(self, letter: Letter) -> None:
        """The channel: set the status that a letter is about. Raises DeliveryError."""
        body = {name: str(value) for name, value in letter.body.items()}
        one = self._source(body.get("source", ""))
        if one is None or body.get("state") not in STATES:
            return  # written for other settings
        settings, state = one.settings, body["state"]
        try:
            repo = repository(settings.status, settings.git, settings.status_url)
            request = status_request(repo, body["commit"], state, body["description"], body["context"])
        except (ValueError, KeyError) as error:
            raise DeliveryError(f"the commit status of {one.title}: {error}", transient=False) from None
        try:
            await send(repo, request, state, self._config.path(settings.status_token_file))
        except ForgeError as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise DeliveryError(
                f"the commit status of {one.title}: {error.message}{hint}",
                transient=error.transient,
                after_s=error.after_s,
            ) from None
        log.get().info("commit status", source=one.title, commit=body["commit"][:10], state=state)

    def _source(self, name: str) -> Followed | None:
        """A source whose commits are told about."""
        found = (one for one in self._config.followed if one.title == name)
        return next((one for one in found if one.settings.git and one.settings.status != "off"), None)

    def _context(self, one: Followed) -> str:
        """What a status is called: hosts and sources that share a repository each have their own."""
        return f"timewright/{self._host}" + (f"/{one.name}" if one.name else "")


def _is_news(before: tuple[Landing, str] | None, now: tuple[Landing, str]) -> bool:
    """How far it has come is none: it changes with each workflow, and a forge takes only so many."""
    if before is None or before[0] is not now[0]:
        return True
    return now[0] is not Landing.PENDING and before != now
