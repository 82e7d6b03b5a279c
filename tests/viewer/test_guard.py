"""Who is let in, one claim a test; the requests are those that a browser or an attacker sends."""

import asyncio
import json

import pytest
from served import case, client, squares, write_case, write_set

from plurimask.viewer import guard
from plurimask.viewer.guard import LARGEST_BODY, LOOPBACK, Guard

TOKEN = "a-token-of-24-characters"
INFO = "/api/v1/info"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("served")
    write_case(root / "data", "a", 3)
    write_set(root / "masks", "a", squares(3, 4))
    (root / "secret.txt").write_text("secret")
    return root


@pytest.fixture(scope="module")
def browser(folder):
    return client(folder / "masks", folder / "data")


@pytest.fixture(scope="module")
def guarded(folder):
    return client(folder / "masks", folder / "data", token=TOKEN)


@pytest.fixture(autouse=True)
def slept(monkeypatch):
    """How long the answers to wrong tokens were held back, though nobody waits here."""
    seconds = []

    async def sleep(delay):
        seconds.append(delay)

    monkeypatch.setattr(guard, "sleep", sleep)
    return seconds


@pytest.fixture
def fresh(guarded):
    guarded.cookies.clear()
    return guarded


def save(browser, content=b"{}", **headers):
    kind = {"Content-Type": "application/json"}
    return browser.post(f"/api/v1/{case('a', 'saved')}", content=content, headers=kind | headers)


def is_problem(answer, status):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = answer.json()
    assert (said["status"], said["type"]) == (status, "about:blank")
    assert said["title"]
    assert said["detail"]
    return said["detail"]


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "LOCALHOST", "[::1]:8765", "localhost:9000"])
def test_the_served_names_are_known(browser, host):
    assert browser.get(INFO, headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil.example", "", "127.0.0.2"),
        *("evil.example@127.0.0.1", "127.0.0.1/evil", "127.0.0.1, evil.example", "[::1", "127.0.0.1:port", "*"),
    ],
)
@pytest.mark.parametrize("path", ["/", INFO])
def test_another_host_is_refused(browser, host, path):
    is_problem(browser.get(path, headers={"Host": host}), 421)


@pytest.mark.parametrize("host", ["10.0.0.7:8765", "[fe80::1]:80", "localhost"])
def test_a_server_of_all_addresses_is_known_by_any(host):
    assert Guard(None, None).knows(host)


@pytest.mark.parametrize("host", ["evil.example", "10.0.0.7.evil.example", "0x0a000007.example"])
def test_a_server_of_all_addresses_is_known_by_no_name(host):
    assert not Guard(None, None).knows(host)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:8765", "file://", "x", ""]
)
def test_another_origin_changes_nothing(browser, origin):
    is_problem(save(browser, Origin=origin), 403)


def test_no_origin_changes_nothing(folder):
    alone = client(folder / "masks", folder / "data")
    del alone.headers["Origin"]
    is_problem(save(alone), 403)
    is_problem(save(alone, **{"Sec-Fetch-Site": "same-site"}), 403)
    is_problem(alone.delete("/api/v1/jobs/x"), 403)


def test_a_browser_that_says_same_origin_is_let_in(folder):
    alone = client(folder / "masks", folder / "data")
    del alone.headers["Origin"]
    assert save(alone, **{"Sec-Fetch-Site": "same-origin"}).status_code == 422


def test_an_own_origin_of_a_cross_site_request_does_not_help(browser):
    is_problem(save(browser, **{"Sec-Fetch-Site": "cross-site"}), 403)


def test_other_sites_cannot_embed_pictures(browser):
    is_problem(browser.get(f"/api/v1/{case('a', 'thumbnail')}", headers={"Sec-Fetch-Site": "cross-site"}), 403)


def test_other_sites_may_link_to_the_page(browser):
    assert browser.get("/", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 200


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_is_not_json_is_refused(browser, kind):
    is_problem(save(browser, **{"Content-Type": kind}), 415)


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}", b'{"author": "x"}', b'"' + b"x" * 1000, b"NaN"),
        b"[" * 100_000,
    ],
)
def test_wrong_json_is_a_problem_and_no_accident(browser, content):
    answer = save(browser, content)
    assert answer.status_code in (400, 422)
    is_problem(answer, answer.status_code)


def test_a_body_that_says_it_is_too_large_is_refused(browser):
    is_problem(save(browser, b"{}", **{"Content-Length": str(LARGEST_BODY + 1)}), 413)


def test_a_body_that_turns_out_to_be_too_large_is_refused(browser):
    pieces = (b" " * 2**20 for _ in range(LARGEST_BODY // 2**20 + 1))
    is_problem(save(browser, pieces), 413)


@pytest.mark.parametrize("length", ["-1", "1e9", "0x10", "²"])
def test_a_length_that_is_no_number_is_refused(browser, length):
    is_problem(save(browser, b"{}", **{"Content-Length": length.encode()}), 413)


@pytest.mark.parametrize(
    "path",
    [
        *("../secret.txt", "..%2fsecret.txt", "%2e%2e/secret.txt", "....//secret.txt", "..\\secret.txt"),
        *("%2fetc%2fpasswd", "a%00", "%00", "masks.npz", "a/masks.npz", "static/../../__init__.py", "~root", "C:%5cx"),
        *("../__init__.py", "%2e%2e%2f__init__.py", "index.html%00.js"),
    ],
)
@pytest.mark.parametrize("before", ["/", "/api/v1/cases/", "/api/v1/", "/api/v1/jobs/"])
def test_tricks_with_paths_find_nothing(browser, before, path):
    answer = browser.get(before + path)
    is_problem(answer, 404)
    assert "secret" not in answer.text.replace("secret.txt", "")


@pytest.mark.parametrize("source", ["../masks", "/etc", "\x00", "x" * 100, "drawn/../.."])
def test_a_source_is_no_path_either(browser, source):
    answer = browser.get("/api/v1/cases", params={"source": source})
    is_problem(answer, 404 if len(source) < 65 else 422)


@pytest.mark.parametrize("path", ["/", INFO, "/index.js", "/nothing", f"/api/v1/{case('a', 'image', 0)}"])
def test_every_answer_has_the_headers_that_keep_a_page_safe(browser, path):
    headers = browser.get(path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in headers


def test_the_page_has_no_inline_script(browser):
    page = browser.get("/").text
    assert "<script>" not in page
    assert "onload" not in page


@pytest.mark.parametrize("path", ["/", INFO, "/index.js", "/nothing", "/api/v1/openapi.json"])
def test_without_the_token_nothing_is_answered(fresh, path):
    is_problem(fresh.get(path), 401)


@pytest.mark.parametrize("token", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper()])
def test_a_wrong_token_is_refused(fresh, token):
    is_problem(fresh.get(INFO, params={"token": token}), 401)
    is_problem(fresh.get(INFO, headers={"Authorization": f"Bearer {token}"}), 401)


def test_a_wrong_token_is_slowed_and_logged_without_itself(fresh, slept, caplog):
    for given in ({"params": {"token": "wrong-one"}}, {"headers": {"Authorization": "Bearer wrong-one"}}):
        is_problem(fresh.get(INFO, **given), 401)
    assert slept == [1.0, 1.0]
    assert [record.getMessage() for record in caplog.records] == ["a wrong token from testclient"] * 2
    is_problem(fresh.get(INFO), 401)  # no token at all is no guess
    assert len(slept) == 2


def test_many_wrong_tokens_at_once_are_not_looked_at(monkeypatch):
    """Nor is a right one that comes among them, or slowing would slow nobody."""

    async def answers():
        gate = asyncio.Event()
        monkeypatch.setattr(guard, "sleep", lambda delay: gate.wait())
        door, wrong = Guard(None, LOOPBACK, TOKEN), [f"token={number}" for number in range(8)]
        waiting = [asyncio.create_task(asked(door, query)) for query in wrong]
        await asyncio.sleep(0)
        found = [await asked(door, f"token={TOKEN}"), await asked(door, f"token={TOKEN}", "192.0.2.7")]
        gate.set()
        return found, await asyncio.gather(*waiting), await asked(door, f"token={TOKEN}")

    assert asyncio.run(answers()) == ([429, 303], [401] * 8, 303)


async def asked(door, query, client="192.0.2.1"):
    """The status of an answer."""
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        **{"type": "http", "method": "GET", "path": "/", "headers": [(b"host", b"127.0.0.1:8765")]},
        **{"query_string": query.encode(), "client": (client, 1)},
    }
    await door(scope, None, send)
    return sent[0]["status"]


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(guard, "BODY_WITHIN", 0.01)
    sent = []

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    names = {"host": "127.0.0.1", "origin": "http://127.0.0.1", "content-type": "application/json"}
    headers = [(key.encode(), value.encode()) for key, value in names.items()]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers, "query_string": b""}
    asyncio.run(Guard(None, LOOPBACK)(scope, receive, send))
    assert sent[0]["status"] == 408


def test_the_token_is_taken_as_bearer(fresh):
    assert fresh.get(INFO, headers={"Authorization": f"Bearer {TOKEN}"}).status_code == 200


def test_the_token_is_given_once_and_leaves_the_address(fresh):
    answer = fresh.get("/", params={"token": TOKEN, "case": "x"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/?case=x")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert TOKEN not in cookie
    assert fresh.get(INFO).status_code == 200


@pytest.mark.parametrize(
    "cookie", ["plurimask-8765=wrong", f"plurimask-8765={TOKEN}", "plurimask-8765=", ";;=", "\x7f"]
)
def test_a_wrong_cookie_is_refused(fresh, cookie):
    is_problem(fresh.get(INFO, headers={"Cookie": cookie}), 401)


def test_the_redirect_stays_on_this_server():
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        **{"type": "http", "method": "GET", "path": "//evil.example/", "headers": [(b"host", b"127.0.0.1:8765")]},
        **{"query_string": f"token={TOKEN}".encode()},
    }
    asyncio.run(Guard(None, LOOPBACK, TOKEN)(scope, None, send))
    assert dict(sent[0]["headers"])[b"location"] == b"/"


def test_a_token_does_not_replace_the_other_checks(fresh):
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    is_problem(save(fresh, Origin="http://evil.example", **bearer), 403)
    is_problem(fresh.get(INFO, headers=bearer | {"Host": "evil.example"}), 421)


def test_names_with_markup_are_data_and_nothing_else(tmp_path):
    name = "<script>alert(1)<"  # nothing is written under such a name, but anybody may rename a folder
    write_set(tmp_path / "masks", "a", squares(3))
    (tmp_path / "masks" / "a").rename(tmp_path / "masks" / name)
    browser = client(tmp_path / "masks")
    answer = browser.get("/api/v1/cases")
    assert answer.headers["content-type"] == "application/json"
    assert json.loads(answer.text)["items"][0]["name"] == name
    assert name not in browser.get("/").text
