"""Deliveries of forges, by their own examples; each wrong in one byte, repeated, unsigned, nonsense."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as some
from timewright.core.webhooks import TOLERANCE_S, Check, Delivery, Refusal, verify

NOW = 1_674_087_231.0
SECRET = "It's a Secret to Everybody"
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
COMMIT = "59b20b8d5c6ff8d09518454d4dd8b7b30f095ab5"
PUSH = json.dumps({"ref": "refs/heads/main", "before": "0" * 40, "after": COMMIT}).encode()

Headers = list[tuple[str, str]]


def digest(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def github(body: bytes = PUSH, event: str = "push") -> Headers:
    return [("X-GitHub-Event", event), ("X-Hub-Signature-256", "sha256=" + digest(body))]


def gitea(body: bytes = PUSH) -> Headers:
    """All that Gitea sends with a delivery."""
    right = digest(body)
    return [
        ("X-Gitea-Event", "push"),
        ("X-Gitea-Signature", right),
        ("X-Gogs-Signature", right),
        ("X-Hub-Signature", "sha1=" + hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()),
        ("X-Hub-Signature-256", "sha256=" + right),
    ]


def forgejo(body: bytes = PUSH) -> Headers:
    return [("X-Forgejo-Event", "push"), ("X-Forgejo-Signature", digest(body)), *gitea(body)]


def gitlab(_: bytes = PUSH) -> Headers:
    return [
        ("X-Gitlab-Event", "Push Hook"),
        ("X-Gitlab-Token", SECRET),
        ("X-Gitlab-Event-UUID", "13792a34-cac6-4fda-95a8-c58e00a3954e"),
    ]


def plain(body: bytes = PUSH) -> Headers:
    return [("X-Signature-256", "sha256=" + digest(body))]


def standard(body: bytes = PUSH, at: float = NOW, identity: str = "msg_1", secret: str = SIGNING) -> Headers:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    right = hmac.new(key, f"{identity}.{at:.0f}.".encode() + body, hashlib.sha256).digest()
    return [
        ("webhook-id", identity),
        ("webhook-timestamp", f"{at:.0f}"),
        ("webhook-signature", "v1," + base64.b64encode(right).decode()),
    ]


def bitbucket(body: bytes = PUSH) -> Headers:
    return [("X-Event-Key", "repo:push"), ("X-Hub-Signature", "sha256=" + digest(body))]


def gitlab_signed(body: bytes = PUSH) -> Headers:
    return [("X-Gitlab-Event", "Push Hook"), *standard(body)]


SENDERS = {
    "github": github,
    "gitea": gitea,
    "forgejo": forgejo,
    "gitlab": gitlab,
    "gitlab, signed": gitlab_signed,
    "generic": plain,
    "generic, standard": standard,
    "generic, bitbucket": bitbucket,
}
SIGNATURES = ("signature", "token")


def judged(headers: Headers, body: bytes = PUSH, *secrets: str, now: float = NOW) -> Delivery | Refusal:
    return verify(headers, body, secrets or (SECRET, SIGNING), now)


def accepted(headers: Headers, body: bytes = PUSH, *secrets: str, now: float = NOW) -> Delivery:
    found = judged(headers, body, *secrets, now=now)
    assert isinstance(found, Delivery), found
    return found


def refused(headers: Headers, body: bytes = PUSH, *secrets: str, now: float = NOW) -> Refusal:
    found = judged(headers, body, *secrets, now=now)
    assert isinstance(found, Refusal), found
    for secret in (SECRET, SIGNING, digest(body)):
        assert secret not in found.message + found.hint
    return found


def test_the_example_of_githubs_documentation_is_right() -> None:
    right = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    found = accepted([("X-Hub-Signature-256", right)], b"Hello, World!", "It's a Secret to Everybody")
    assert (found.provider, found.ref, found.is_news) == ("github", None, True)


def test_the_example_of_standard_webhooks_is_right() -> None:
    headers = [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]
    assert accepted(headers, b'{"test": 2432232314}', SIGNING, now=1_614_265_330).provider == "generic"


@pytest.mark.parametrize("name", SENDERS)
def test_what_a_forge_sends_is_right_and_its_push_is_read(name: str) -> None:
    found = accepted(SENDERS[name](PUSH))
    assert found.provider == name.split(",")[0]
    assert (found.ref, found.commit, found.is_news) == ("refs/heads/main", COMMIT, True)


@pytest.mark.parametrize("name", [name for name in SENDERS if name != "gitlab"])
def test_a_body_that_is_wrong_in_one_byte_is_refused(name: str) -> None:
    for place in (0, len(PUSH) // 2, len(PUSH) - 1):
        body = PUSH[:place] + bytes([PUSH[place] ^ 1]) + PUSH[place + 1 :]
        assert "does not fit this source's secret" in refused(SENDERS[name](PUSH), body).message
    refused(SENDERS[name](PUSH), PUSH + b" ")
    refused(SENDERS[name](PUSH), b"")


@pytest.mark.parametrize("name", SENDERS)
def test_each_signature_that_is_there_must_be_right_in_each_byte(name: str) -> None:
    headers = SENDERS[name](PUSH)
    wrong = 0
    for index, (header, value) in enumerate(headers):
        if not any(word in header.lower() for word in SIGNATURES) or value.startswith("sha1="):
            continue
        for place in range(len(value) - 2):  # of base64, the last letter has bits to spare
            other = "0" if value[place] != "0" else "1"
            changed = value[:place] + other + value[place + 1 :]
            refused([*headers[:index], (header, changed), *headers[index + 1 :]])
            wrong += 1
    assert wrong


@pytest.mark.parametrize("name", SENDERS)
def test_another_secret_is_refused(name: str) -> None:
    other = "whsec_" + base64.b64encode(b"x" * 24).decode()
    refused(SENDERS[name](PUSH), PUSH, "another", other)
    refused(SENDERS[name](PUSH), PUSH, SECRET + " ", other)


@pytest.mark.parametrize("name", SENDERS)
def test_a_source_without_a_secret_takes_nothing(name: str) -> None:
    assert isinstance(verify(SENDERS[name](PUSH), PUSH, (), NOW), Refusal)
    assert isinstance(verify(SENDERS[name](PUSH), PUSH, ("",), NOW), Refusal)
    assert isinstance(verify([("X-Gitlab-Token", "")], PUSH, ("",), NOW), Refusal)
    assert isinstance(verify([("X-Signature-256", "sha256=" + digest(PUSH, ""))], PUSH, ("",), NOW), Refusal)


@pytest.mark.parametrize("name", SENDERS)
def test_a_secret_that_is_being_changed_counts_beside_the_new_one(name: str) -> None:
    accepted(SENDERS[name](PUSH), PUSH, "the-new-one", SECRET, SIGNING)


@pytest.mark.parametrize("name", SENDERS)
def test_a_signature_that_comes_twice_is_refused_even_if_one_is_right(name: str) -> None:
    headers = SENDERS[name](PUSH)
    for header, value in headers:
        if any(word in header.lower() for word in SIGNATURES) and not value.startswith("sha1="):
            assert "more than once" in refused([*headers, (header.lower(), value)]).message
            assert "more than once" in refused([(header.upper(), "x"), *headers]).message


def test_an_unsigned_delivery_is_told_what_is_missing() -> None:
    found = refused([("X-GitHub-Event", "push")])
    assert (found.message, found.hint) == (
        "the delivery is not signed",
        "set the webhook's secret at the sender",
    )


def test_a_sha1_signature_alone_is_told_to_be_too_little() -> None:
    right = "sha1=" + hmac.new(SECRET.encode(), PUSH, hashlib.sha1).hexdigest()
    found = refused([("X-Hub-Signature", right)])
    assert "SHA-1" in found.message
    assert "X-Hub-Signature-256" in found.hint
    assert "SHA-256" in refused([("X-Hub-Signature-256", right)]).message


def test_the_empty_signature_of_a_gitea_hook_without_a_secret_is_told_so() -> None:
    found = refused([("X-Gitea-Signature", ""), ("X-Hub-Signature-256", "sha256=")])
    assert "X-Gitea-Signature is empty" in found.message


def test_the_wrong_prefix_or_length_is_no_signature() -> None:
    right = digest(PUSH)
    for value in (right, "sha1=" + right, "sha256=" + right[1:], f"sha256={right}0", f"sha256={right}, x"):
        assert "no SHA-256" in refused([("X-Hub-Signature-256", value)]).message
    assert "no SHA-256" in refused([("X-Gitea-Signature", "sha256=" + right)]).message


@pytest.mark.parametrize("off", [-TOLERANCE_S - 1, TOLERANCE_S + 1])
def test_a_signed_time_that_is_too_far_away_is_refused(off: float) -> None:
    assert "clocks" in refused(standard(at=NOW + off)).hint
    accepted(standard(at=NOW + off * 0.99))


@pytest.mark.parametrize("stamp", ["", "x", "-5", "1e9", "1674087231.0", "١٦٧٤٠٨٧٢٣١", "9" * 40])
def test_a_signed_time_that_is_none_is_refused(stamp: str) -> None:
    refused([(name, stamp if name == "webhook-timestamp" else value) for name, value in standard()])


def test_the_time_and_the_id_are_part_of_what_is_signed() -> None:
    for header, other in (("webhook-timestamp", f"{NOW + 1:.0f}"), ("webhook-id", "msg_2")):
        refused([(name, other if name == header else value) for name, value in standard()])
    for header in ("webhook-timestamp", "webhook-id"):
        assert "missing" in refused([item for item in standard() if item[0] != header]).message


def test_the_parts_that_are_signed_can_not_be_shifted() -> None:
    """`a.1.b` signed as id a, time 1, body b must not be read as anything else."""
    body = f"{NOW:.0f}.{{}}".encode()
    refused([*standard(body)[1:], ("webhook-id", f"msg_1.{NOW:.0f}")], b"{}")


def test_one_right_signature_of_several_versions_is_enough() -> None:
    headers = standard()
    right = headers[-1][1]
    accepted([*headers[:-1], ("webhook-signature", f"v1a,AAAA v1,AAAA {right}")])
    refused([*headers[:-1], ("webhook-signature", right.replace("v1,", "v1a,"))])


def test_a_plain_secret_signs_nothing_of_standard_webhooks() -> None:
    """Else what it signs there, shown again as a body, would be right as X-Signature-256."""
    assert "whsec_" in refused(standard(), PUSH, SECRET).message
    assert "whsec_" in refused(standard(), PUSH, SIGNING.removeprefix("whsec_")).message
    assert "whsec_" in refused(standard(), PUSH, "whsec_no base64!").message
    text = b"msg_1." + f"{NOW:.0f}.".encode() + PUSH
    hexed = base64.b64decode(standard()[-1][1].removeprefix("v1,")).hex()
    refused([("X-Signature-256", f"sha256={hexed}")], text)


def test_gitlabs_token_and_its_signature_may_be_of_two_secrets_and_both_must_be_right() -> None:
    both = [*gitlab(), *standard()]
    assert accepted(both).provider == "gitlab"
    refused(both, PUSH, SIGNING)
    refused(both, PUSH, SECRET)


def test_a_token_with_letters_of_all_kinds_is_compared_as_it_was_sent() -> None:
    sent = "Käse€".encode().decode("latin-1")  # as a server shows it
    accepted([("X-Gitlab-Token", sent)], PUSH, "Käse€")
    refused([("X-Gitlab-Token", "Kase€")], PUSH, "Käse€")


def test_the_key_is_the_same_whatever_was_not_signed() -> None:
    first = accepted(gitea()).key
    assert accepted([*gitea(), ("X-GitHub-Delivery", "1")]).key == first
    assert accepted(github(event="ping")).key == first
    assert accepted([item for item in gitea() if item[0] != "X-Gitea-Signature"]).key == first
    assert accepted([(name.upper(), value) for name, value in gitea()]).key == first
    assert accepted(gitea(PUSH + b" "), PUSH + b" ").key != first


def test_a_signed_id_is_the_key_and_a_second_try_has_the_same() -> None:
    first = accepted(standard())
    assert accepted(standard(at=NOW + 60), now=NOW + 60).key == first.key
    assert accepted(standard(identity="msg_2")).key != first.key


def test_gitlab_names_a_delivery_in_a_header_which_a_token_does_not_sign() -> None:
    first = accepted(gitlab()).key
    assert accepted([*gitlab()[:2], ("X-Gitlab-Event-UUID", "another")]).key != first
    assert accepted(gitlab(), PUSH + b" ").key != first


@pytest.mark.parametrize(
    ("body", "ref"),
    [
        (b"", None),
        (b"no JSON", None),
        (b"[1]", None),
        (b'{"ref": 5}', None),
        (b'{"ref": "main"}', None),
        (b'{"ref": "refs/heads/a\\nb"}', None),
        (b'{"ref": "refs/heads/\\ud800"}', None),
        (b'{"ref": "refs/' + b"x" * 600 + b'"}', None),
        (b"[" * 100_000, None),
        (b"\xff\xfe\x00", None),
        (b'{"n": ' + b"9" * 5000 + b"}", None),
        (b"payload=%7B", None),
        (b"payload=", None),
        (urlencode({"payload": '{"ref": "refs/tags/v1"}'}).encode(), "refs/tags/v1"),
        (b'{"ref": "refs/tags/v1"}', "refs/tags/v1"),
    ],
)
def test_a_rightly_signed_body_of_any_kind_is_fine(body: bytes, ref: str | None) -> None:
    found = accepted(github(body), body)
    assert (found.ref, found.is_news) == (ref, True)


@pytest.mark.parametrize(
    ("after", "commit"),
    [("0" * 40, None), ("a" * 40, "a" * 40), ("a" * 64, "a" * 64), (None, None), ("a", None)],
)
def test_a_deleted_branch_has_no_commit(after: Any, commit: str | None) -> None:
    body = json.dumps({"ref": "refs/heads/x", "after": after}).encode()
    assert accepted(plain(body), body).commit == commit


@pytest.mark.parametrize(
    ("headers", "content", "event", "news"),
    [
        ([("X-GitHub-Event", "ping")], {"zen": "Speak like a human."}, "ping", False),
        ([("X-GitHub-Event", "push")], {}, "push", True),
        ([("X-GitHub-Event", "code_scanning_alert")], {"ref": "refs/heads/x"}, "code_scanning_alert", False),
        ([("X-Gitlab-Event", "Tag Push Hook")], {}, "tag_push", True),
        ([("X-Gitlab-Event", "Tag Push Hook")], {"object_kind": "issue"}, "issue", False),
        ([("X-Gitlab-Event", "System Hook")], {"event_name": "repository_update"}, "repository_update", True),
        ([("X-Gitlab-Event", "System Hook")], {"event_name": "user_create"}, "user_create", False),
        ([("X-Gitlab-Event", "System Hook")], {}, "system", True),
        ([], {}, "", True),
    ],
)
def test_an_event_that_is_no_push_is_no_news(
    headers: Headers, content: dict[str, Any], event: str, news: bool
) -> None:
    body = json.dumps(content).encode()
    signed = [*headers, *(standard(body) if "Gitlab" in str(headers) else plain(body))]
    found = accepted(signed, body)
    assert (found.event, found.is_news) == (event, news)
    assert news or found.ref is None


def test_what_is_wrong_with_the_headers_is_known_before_the_body_comes() -> None:
    for headers in ([], [("X-Hub-Signature-256", "sha256=1")], [("X-Gitlab-Token", "x")], standard(at=1)):
        assert Check(headers, [SECRET, SIGNING], NOW).refusal is not None
    assert Check(github(), [SECRET], NOW).refusal is None


@pytest.mark.parametrize("name", SENDERS)
def test_a_body_may_come_in_pieces_and_need_not_be_kept(name: str) -> None:
    check = Check(SENDERS[name](PUSH), [SECRET, SIGNING], NOW)
    for byte in PUSH:
        check.take(bytes([byte]))
    found = check.verdict(None)
    assert isinstance(found, Delivery)
    assert (found.ref, found.is_news, found.key) == (None, True, accepted(SENDERS[name](PUSH)).key)


_NAMES = some.sampled_from(
    [
        *("X-Hub-Signature-256", "X-Gitea-Signature", "X-Forgejo-Signature", "X-Gitlab-Token"),
        *("X-Signature-256", "webhook-id", "webhook-timestamp", "webhook-signature", "X-Hub-Signature"),
        *("X-GitHub-Event", "Other"),
    ]
)
_VALUES = some.text() | some.sampled_from(["sha256=" + "0" * 64, f"{NOW:.0f}", "v1,AAAA", "sha256=", SECRET])


@given(
    headers=some.lists(some.tuples(_NAMES, _VALUES), max_size=6),
    body=some.binary(),
    secrets=some.lists(some.text() | some.just(SIGNING), max_size=3),
    now=some.floats(0, 1e11),
)
def test_no_input_raises_and_none_without_the_secret_is_right(
    headers: Headers, body: bytes, secrets: list[str], now: float
) -> None:
    found = verify(headers, body, secrets, now)
    if isinstance(found, Delivery):
        tokens = {value.strip() for name, value in headers if name == "X-Gitlab-Token"}
        assert tokens & set(secrets)


@given(body=some.binary())
def test_no_body_of_one_who_has_the_secret_raises(body: bytes) -> None:
    for sender in SENDERS.values():
        accepted(sender(body), body)
        accepted(sender(b"payload=" + body), b"payload=" + body)
