"""Credentials are taken out of texts, and other words are left."""

from __future__ import annotations

from tracelet.redaction.redactor import Redactor


def test_takes_out_what_it_was_given() -> None:
    """Keys among the options, passwords in addresses and secret variables are masked wherever they stand."""
    redact = Redactor(
        {"api_key": "first-secret", "url": "http://me:second-secret@host/x", "deep": {"password": "third-secret"}},
        environ={"WANDB_API_KEY": "fourth-secret", "HOME": "/home/somebody"},
    )
    text = "first-secret second-secret third-secret fourth-secret /home/somebody"
    assert redact(text) == "*** *** *** *** /home/somebody"


def test_folders_and_short_words_are_no_secrets() -> None:
    """A variable such as PWD names a folder, and a password of three letters would black out the log."""
    redact = Redactor({"password": "abc"}, environ={"PWD": "/work/here", "SSH_AUTH_SOCK": "/tmp/ssh/agent"})
    assert redact("abc in /work/here and /tmp/ssh/agent") == "abc in /work/here and /tmp/ssh/agent"


def test_an_address_that_is_none_is_left() -> None:
    """What cannot be read as an address costs nothing."""
    assert Redactor({"url": "http://[broken@x"}, environ={})("text") == "text"
