"""Commit statuses: whose repository a URL means, what is sent there, and what an answer means."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as some
from timewright.core.forges import Repository, Trouble, cut, repository, same_place, status_request, trouble

SHA = "59b20b8d5c6ff8d09518454d4dd8b7b30f095ab5"
HUB, LAB, TEA = "https://api.github.com", "https://gitlab.com/api/v4", "https://git.example.org/api/v1"
NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("forge", "url", "api", "path"),
    [
        ("github", "https://github.com/acme/flows.git", HUB, "acme/flows"),
        ("github", "https://github.com/acme/flows", HUB, "acme/flows"),
        ("github", "https://github.com/acme/flows/", HUB, "acme/flows"),
        ("github", "https://user:ghp_secret@GitHub.com/acme/flows.git", HUB, "acme/flows"),
        ("github", "git@github.com:acme/flows.git", HUB, "acme/flows"),
        ("github", "git@github.com:/acme/flows.git", HUB, "acme/flows"),
        ("github", "github.com:acme/flows", HUB, "acme/flows"),
        ("github", "ssh://git@github.com/acme/flows.git", HUB, "acme/flows"),
        ("github", "ssh://git@ssh.github.com:443/acme/flows.git", HUB, "acme/flows"),
        ("github", "git+ssh://git@github.com/acme/my.flows.git", HUB, "acme/my.flows"),
        ("github", "https://ghe.example.org/acme/flows", "https://ghe.example.org/api/v3", "acme/flows"),
        ("github", "git@acme.ghe.com:acme/flows.git", "https://api.acme.ghe.com", "acme/flows"),
        ("gitlab", "https://gitlab.com/group/sub/sub/flows.git", LAB, "group/sub/sub/flows"),
        ("gitlab", "git@gitlab.com:group/sub/flows.git", LAB, "group/sub/flows"),
        ("gitlab", "ssh://git@altssh.gitlab.com:443/group/flows.git", LAB, "group/flows"),
        ("gitlab", "ssh://git@git.example.org:2222/g/f.git", "https://git.example.org/api/v4", "g/f"),
        ("gitlab", "https://git.example.org:8443/g/f", "https://git.example.org:8443/api/v4", "g/f"),
        ("gitlab", "https://git.example.org/g/a%20b", "https://git.example.org/api/v4", "g/a b"),
        ("gitea", "https://git.example.org/acme/flows.git", TEA, "acme/flows"),
        ("gitea", "git@git.example.org:acme/flows.git", TEA, "acme/flows"),
        ("gitea", "git@[fd00::1]:acme/flows.git", "https://[fd00::1]/api/v1", "acme/flows"),
        ("gitea", "ssh://git@[fd00::1]:22/acme/flows.git", "https://[fd00::1]/api/v1", "acme/flows"),
    ],
)
def test_a_url_of_any_kind_tells_the_api_and_the_repository(
    forge: str, url: str, api: str, path: str
) -> None:
    assert repository(forge, url) == Repository(forge, api, path)


@pytest.mark.parametrize(
    ("forge", "url", "given", "api", "path"),
    [
        ("gitea", "work:acme/flows.git", "https://git.example.org", TEA, "acme/flows"),
        ("gitea", "git@host:a/f", "https://git.example.org/api/v1/", TEA, "a/f"),
        ("github", "git@hub:acme/flows", HUB, HUB, "acme/flows"),
        ("github", "git@hub:a/f", "https://ghe.example.org", "https://ghe.example.org/api/v3", "a/f"),
        ("gitlab", "http://lab:8080/g/s/f.git", "http://lab:8080", "http://lab:8080/api/v4", "g/s/f"),
        (
            "gitlab",
            "https://x.org/lab/g/f.git",
            "https://x.org/lab/api/v4",
            "https://x.org/lab/api/v4",
            "g/f",
        ),
        ("gitlab", "git@x.org:g/f.git", "https://x.org/lab", "https://x.org/lab/api/v4", "g/f"),
        ("gitea", "/srv/git/acme/flows.git", "https://git.example.org", None, "OWNER/NAME"),
        ("gitea", "git@h:a/f", "git.example.org", None, "http(s)://"),
        ("gitea", "git@h:a/f", "https://", None, "http(s)://"),
        ("gitea", "git@h:a/f", "https://git.example.org/api/v1?token=1", None, "http(s)://"),
        ("gitea", "git@h:a/f", "https://u:secret@git.example.org", None, "status_token_file"),
    ],
)
def test_the_api_may_be_told_where_the_url_does_not_tell_it(
    forge: str, url: str, given: str, api: str | None, path: str
) -> None:
    if api is not None:
        assert repository(forge, url, given) == Repository(forge, api, path)
        return
    with pytest.raises(ValueError, match=path.replace("(", r"\(").replace(")", r"\)")) as caught:
        repository(forge, url, given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("forge", "url", "words"),
    [
        ("github", "/srv/git/acme/flows.git", "no host"),
        ("github", "../flows.git", "no host"),
        ("github", "file:///srv/acme/flows.git", "no host"),
        ("github", "http://github.com/acme/flows", "over http"),
        ("github", "https://github.com/acme", "OWNER/NAME"),
        ("github", "https://github.com/acme/sub/flows", "OWNER/NAME"),
        ("gitea", "https://github.com/acme/../flows", "OWNER/NAME"),
        ("gitea", "https://github.com/", "OWNER/NAME"),
        ("gitlab", "https://gitlab.com/flows", "GROUP/NAME"),
        ("gitlab", "https://gitlab.com/a//flows", "GROUP/NAME"),
        ("gitlab", "https://u:secret@gitlab.com/flows", "GROUP/NAME"),
    ],
)
def test_a_url_that_is_no_repository_of_a_forge_is_explained(forge: str, url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        repository(forge, url)
    assert "secret" not in str(caught.value)


@given(forge=some.sampled_from(["github", "gitlab", "gitea"]), url=some.text(), api=some.text())
def test_no_url_raises_anything_but_what_is_wrong(forge: str, url: str, api: str) -> None:
    for text in (url, f"https://{url}", f"ssh://{url}", f"git@{url}"):
        with suppress(ValueError):
            repository(forge, text)
        with suppress(ValueError):
            repository(forge, text, f"https://{api}")


def test_what_github_takes() -> None:
    sent = status_request(Repository("github", HUB, "acme/my flows"), SHA, "failure", "it broke", "ci/x")
    assert (sent.method, sent.url) == ("POST", f"{HUB}/repos/acme/my%20flows/statuses/{SHA}")
    assert sent.body == {"state": "failure", "description": "it broke", "context": "ci/x"}
    assert sent.token == ("Authorization", "Bearer ")
    assert sent.headers["Accept"] == "application/vnd.github+json"


def test_what_gitlab_takes_in_its_own_words() -> None:
    repo = Repository("gitlab", LAB, "group/sub/flows")
    states = {}
    for state in ("pending", "success", "failure"):
        sent = status_request(repo, SHA, state, "d", "ci/x")
        assert sent.url == f"{LAB}/projects/group%2Fsub%2Fflows/statuses/{SHA}"
        assert (sent.body["name"], sent.token) == ("ci/x", ("PRIVATE-TOKEN", ""))
        states[state] = sent.body["state"]
    assert states == {"pending": "running", "success": "success", "failure": "failed"}


def test_what_gitea_takes() -> None:
    sent = status_request(Repository("gitea", TEA, "acme/flows"), SHA, "pending", "d", "ci/x")
    assert sent.url == f"{TEA}/repos/acme/flows/statuses/{SHA}"
    assert sent.body == {"state": "pending", "description": "d", "context": "ci/x"}
    assert sent.token == ("Authorization", "token ")


@pytest.mark.parametrize("sha", ["", "HEAD", SHA[:10], SHA.upper(), SHA + "-dirty", "../../user"])
def test_only_a_whole_commit_gets_a_status(sha: str) -> None:
    with pytest.raises(ValueError, match="no commit"):
        status_request(Repository("gitea", TEA, "a/f"), sha, "pending", "", "x")


@pytest.mark.parametrize(("forge", "most"), [("github", 140), ("gitlab", 255), ("gitea", 255)])
def test_a_long_description_is_cut_at_a_word_to_what_the_forge_takes(forge: str, most: int) -> None:
    sent = status_request(Repository(forge, TEA, "a/f"), SHA, "failure", "word " * 200, "c" * 999)
    text = sent.body["description"]
    assert most - 6 < len(text) <= most
    assert text.endswith("word…")
    assert len(sent.body.get("name") or sent.body["context"]) == 255


@pytest.mark.parametrize(
    ("text", "most", "shown"),
    [
        ("", 5, ""),
        ("abcde", 5, "abcde"),
        ("one two", 7, "one two"),
        ("one two three", 9, "one two…"),
        ("one two three", 8, "one two…"),
        ("one two three", 7, "one…"),
        ("abcdefghij", 5, "abcd…"),
        ("a bcdefghij", 6, "a bcd…"),
        ("a\n  b\tc", 9, "a b c"),
        ("a\x1b[31mb", 20, "a\\x1b[31mb"),
    ],
)
def test_a_text_is_cut_at_a_word_and_on_one_line(text: str, most: int, shown: str) -> None:
    assert cut(text, most) == shown


@given(text=some.text(), most=some.integers(2, 50))
def test_a_cut_text_always_fits(text: str, most: int) -> None:
    found = cut(text, most)
    assert len(found) <= most
    assert found == "" or found.isprintable()


def answered(
    forge: str, status: int, text: str = "", state: str = "success", **headers: str
) -> Trouble | None:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return trouble(Repository(forge, TEA, "acme/flows"), state, status, given, text, NOW)


def why(forge: str, status: int, text: str = "", state: str = "success", **headers: str) -> Trouble:
    found = answered(forge, status, text, state, **headers)
    assert found is not None
    return found


def test_each_success_is_one() -> None:
    assert [answered("github", status) for status in (200, 201, 204)] == [None] * 3


def test_gitlab_refusing_what_is_set_already_is_a_success() -> None:
    for state, event, word in (
        ("pending", "run", "running"),
        ("success", "success", "success"),
        ("failure", "drop", "failed"),
    ):
        text = json.dumps({"message": f"Cannot transition status via :{event} from :{word} (Reason(s): …)"})
        assert answered("gitlab", 400, text, state) is None
        other = "success" if state != "success" else "failure"
        found = why("gitlab", 400, text, other)
        assert "Cannot transition" in found.message
        assert not found.transient
        assert answered("github", 400, text, state) is not None


@pytest.mark.parametrize("forge", ["github", "gitlab", "gitea"])
@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_token_that_is_not_enough_is_told_what_it_needs(forge: str, status: int) -> None:
    found = why(forge, status, '{"message": "Not Found"}')
    assert not found.transient
    needs = {"github": "Commit statuses: write", "gitlab": "scope api", "gitea": "write:repository"}
    assert needs[forge] in found.hint
    assert ("acme/flows" in found.hint) == (status == 404)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_may_pass_is_tried_again(status: int) -> None:
    found = why("gitea", status, "<html>busy</html>")
    assert (found.transient, found.after_s) == (True, None)
    assert "<html>" not in found.message
    assert why("gitea", status, retry_after="17").after_s == 17.0


@pytest.mark.parametrize("status", [400, 405, 409, 410, 422])
def test_what_can_not_pass_is_not_tried_again_and_told_in_the_forges_words(status: int) -> None:
    found = why("github", status, '{"message": "No commit found for SHA: x"}')
    assert not found.transient
    assert f"answered {status}: No commit found" in found.message


@pytest.mark.parametrize(
    ("headers", "text", "after"),
    [
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": f"{NOW + 90:.0f}"}, "", 90.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": f"{NOW - 5:.0f}"}, "", 1.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "9" * 12}, "", 3700.0),
        ({"x_ratelimit_remaining": "0", "x_ratelimit_reset": "soon"}, "", None),
        ({"retry_after": "60"}, "", 60.0),
        ({"retry_after": "Wed, 21 Oct 2026 07:28:00 GMT"}, "", None),
        ({}, '{"message": "You have exceeded a secondary rate limit."}', None),
    ],
)
def test_githubs_forbidden_to_who_asks_too_often_is_tried_again_when_it_says(
    headers: dict[str, str], text: str, after: float | None
) -> None:
    found = why("github", 403, text, **headers)
    assert (found.transient, found.after_s) == (True, after)


def test_gitlabs_limit_is_heeded_too() -> None:
    found = why("gitlab", 429, ratelimit_remaining="0", ratelimit_reset=f"{NOW + 30:.0f}")
    assert found.after_s == 30.0


def test_a_redirect_is_followed_on_the_same_server_only() -> None:
    url = "https://git.example.org/api/v1/repos/a/f/statuses/1"
    assert same_place(url, "/api/v1/repositories/5") == "https://git.example.org/api/v1/repositories/5"
    assert same_place(url, "https://git.example.org/x") == "https://git.example.org/x"
    for other in (
        "http://git.example.org/x",
        "https://git.example.org:444/x",
        "//evil.org/x",
        "https://[",
        "",
    ):
        assert same_place(url, other) in ("", url)
    assert "moved" in why("gitea", 302).hint


@given(
    text=some.text() | some.binary().map(lambda raw: raw.decode("latin-1")), status=some.integers(100, 599)
)
def test_no_answer_raises(text: str, status: int) -> None:
    for body in (text, json.dumps({"message": text}), json.dumps({"error": [text]}), json.dumps([text])):
        found = answered("gitlab", status, body)
        assert found is None or found.message.isprintable()


def test_a_secret_in_a_forges_answer_is_not_told() -> None:
    found = why("gitlab", 422, json.dumps({"message": "bad token glpat-aaaaaaaaaaaaaaaaaaaa"}))
    assert "glpat" not in found.message
