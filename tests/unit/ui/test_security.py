"""Who is let in: hosts, origins, tokens, changes, and the same for websockets."""

from __future__ import annotations

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from tracelet.ui.security import AccessControl, AccessRules, Receive, Scope, Send

HERE = "http://127.0.0.1:8765"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Says that it was reached."""
    if scope["type"] == "websocket":
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.send_text("reached")
        await socket.close()
    else:
        response: Response = PlainTextResponse("reached " + Request(scope).url.path)
        await response(scope, receive, send)


def caller(rules: AccessRules | None = None, address: str = HERE) -> TestClient:
    """A browser in front of the gate."""
    return TestClient(AccessControl(echo, rules or AccessRules()), base_url=address, follow_redirects=False)


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:9000", "[::1]:8765", "127.0.0.1", "LOCALHOST"])
def test_names_of_this_machine_are_answered(host: str) -> None:
    """Loopback under any of its names and any port (a forwarded one, say) is answered."""
    assert caller().get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "10.0.0.1", "", "[::1"]
)
def test_foreign_hosts_are_refused(host: str) -> None:
    """A name that is not ours is refused, as DNS rebinding brings it."""
    assert caller().get("/", headers={"Host": host}).status_code == 421


def test_a_name_can_be_allowed() -> None:
    """A host name that was named is answered."""
    rules = AccessRules(frozenset({"gpu-box"}))
    assert caller(rules).get("/", headers={"Host": "gpu-box:8765"}).status_code == 200


@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
@pytest.mark.parametrize("path", ["/api/runs", "/_nicegui_ws/socket.io/"])
def test_foreign_origins_are_refused(method: str, path: str) -> None:
    """A page of another origin reaches neither the API nor the channel of the pages."""
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999"):
        answer = caller().request(method, path, headers={"Origin": origin, "X-Tracelet": "1"})
        assert answer.status_code == 403


def test_websockets_of_foreign_origins_are_refused() -> None:
    """A cross-site websocket is closed before anybody sees it; one of our own origin is open."""
    with (
        pytest.raises(WebSocketDisconnect),
        caller().websocket_connect("/_nicegui_ws/socket.io/", headers={"Origin": "http://evil.example"}),
    ):
        pytest.fail("the websocket was accepted")
    ours = {"Origin": HERE, "Host": "127.0.0.1:8765"}
    with caller().websocket_connect("/", headers=ours) as socket:
        assert socket.receive_text() == "reached"


def test_changes_need_our_header() -> None:
    """A form on another page, which cannot send our header, changes nothing."""
    assert caller().post("/api/runs/x").status_code == 403
    assert caller().delete("/api/runs/x").status_code == 403
    assert caller().post("/api/runs/x", headers={"X-Tracelet": "1"}).status_code == 200


def test_a_token_is_exchanged_for_a_cookie() -> None:
    """With a token nothing is answered without it; its address leads to one without the token, and a cookie opens."""
    client = caller(AccessRules(token="right"))
    assert client.get("/").status_code == 401
    assert client.get("/?token=wrong").status_code == 401
    answer = client.get("/run/x?token=right&tab=metrics")
    assert (answer.status_code, answer.headers["location"]) == (303, "/run/x?tab=metrics")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert client.get("/run/x").text == "reached /run/x"


def test_a_token_may_come_as_bearer() -> None:
    """Scripts give the token in the header Authorization."""
    client = caller(AccessRules(token="right"))
    assert client.get("/api/runs", headers={"Authorization": "Bearer right"}).status_code == 200
    assert client.get("/api/runs", headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_a_token_in_an_address_leads_nowhere_else() -> None:
    """The redirect stays on this host, whatever the path looks like."""
    answer = caller(AccessRules(token="right")).get(HERE + "//evil.example/?token=right")
    assert answer.headers["location"].startswith("/evil.example")


def test_websockets_need_the_token_too() -> None:
    """With a token a websocket without it is closed."""
    with (
        pytest.raises(WebSocketDisconnect),
        caller(AccessRules(token="right")).websocket_connect("/", headers={"Host": "localhost"}),
    ):
        pytest.fail("the websocket was accepted")


def test_every_answer_forbids_other_origins() -> None:
    """Every answer, a refusal too, says that nothing is loaded from elsewhere and that no type is guessed."""
    for answer in (caller().get("/"), caller().get("/", headers={"Host": "evil.example"})):
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_get_nothing_but_a_link(site: str) -> None:
    """An image, a script or a frame in such a page is refused, which sends no `Origin`; a link there opens the page."""
    for mode, target in (("no-cors", "image"), ("no-cors", "script"), ("navigate", "iframe")):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": target}
        assert caller().get("/api/runs", headers=headers).status_code == 403
    link = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert caller().get("/", headers=link).status_code == 200
    ours = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}
    assert caller().get("/api/runs", headers=ours).status_code == 200


def test_two_dashboards_of_a_host_have_two_cookies() -> None:
    """Browsers share the cookies of a host among its ports; each dashboard keeps its own token."""
    rules = AccessRules(token="right")
    names = {
        caller(rules, f"http://127.0.0.1:{port}").get("/?token=right").headers["set-cookie"].partition("=")[0]
        for port in (8765, 8766)
    }
    assert names == {"tracelet_token_8765", "tracelet_token_8766"}
