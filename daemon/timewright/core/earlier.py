"""Which release to go back to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from timewright.core.state import Status

_MADE_LIVE = (Status.DEPLOYED, Status.ROLLED_BACK)


def earlier_release(
    steps: Iterable[tuple[str, str]], live: str, kept: Sequence[str], bad: Collection[str]
) -> str:
    """The release that was live before `live`; '' when there is none to go back to.

    `steps`: (status, digest) of the workflow's transitions, oldest first. What was before is told by the
    order in which releases first went live, never by a file's time; a release that was rolled back from is
    passed over, as is one in `bad`. `kept`: what the tree holds, newest first; where the history doesn't
    know `live` (it was lost), the next older one of these.
    """
    order: list[str] = []
    left: set[str] = set()  # what somebody went back from
    now = ""
    for status, digest in steps:
        if status not in _MADE_LIVE or not digest:
            continue
        if status == Status.ROLLED_BACK and now and now != digest:
            left.add(now)
        if status == Status.DEPLOYED:
            left.discard(digest)
            if digest in order and digest != now:
                order.remove(digest)  # deployed anew, after others: it belongs to the end
        if digest not in order:
            order.append(digest)
        now = digest
    if live in order:
        before = order[: order.index(live)]
    else:
        before = list(reversed(kept[kept.index(live) + 1 :] if live in kept else kept))
    for digest in reversed(before):
        if digest in kept and digest not in bad and digest not in left and digest != live:
            return digest
    return ""
