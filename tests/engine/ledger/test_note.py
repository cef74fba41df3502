"""Signed notes and checkpoints, against a published note."""

from __future__ import annotations

from base64 import b64decode

import pytest

from stationkeeper.engine.ledger.checkpoint import Checkpoint, origin_of
from stationkeeper.engine.ledger.note import SigningKey, VerifyingKey, signer_of, text_of

VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
SEED = b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
TEXT = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
SIGNATURE = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
NOTE = TEXT + f"\n— PeterNeumann {SIGNATURE}\n".encode()
"""The example of the format's first implementation, golang.org/x/mod/sumdb/note."""

KEY = SigningKey(origin_of("log"), bytes(range(32)))


def test_the_published_note_is_made_and_checked() -> None:
    key = SigningKey("PeterNeumann", SEED)

    assert str(key.public) == VKEY
    assert VerifyingKey.parse(VKEY) == key.public
    assert key.sign(TEXT) == NOTE
    assert (signer_of(NOTE, [key.public]), text_of(NOTE)) == (key.public, TEXT)


def test_what_others_sign_is_let_be() -> None:
    note = KEY.sign(b"text\n")
    witnessed = note + NOTE.rpartition(b"\n\n")[2] + "— odd !\n".encode()

    assert signer_of(witnessed, [KEY.public]) == KEY.public
    assert signer_of(witnessed, [SigningKey("other", SEED).public]) is None
    assert signer_of(witnessed, []) is None


def test_a_false_signature_is_no_signature() -> None:
    with pytest.raises(ValueError, match="is false"):
        signer_of(KEY.sign(b"text\n").replace(b"text", b"test"), [KEY.public])


@pytest.mark.parametrize("note", [b"", b"text\n", b"text\n\nmore\n", KEY.sign(b"text\n")[:-1]])
def test_what_is_no_note_is_said_to_be_none(note: bytes) -> None:
    with pytest.raises(ValueError, match="no signed note"):
        text_of(note)


@pytest.mark.parametrize(
    ("text", "why"),
    [("", "no Ed25519 key"), ("a+b", "no Ed25519 key"), ("a+00000000+AAAA", "no Ed25519 key"),
     (VKEY.replace("c74f", "c74e"), "its id would be c74f20a3"), (VKEY[:-4], "no Ed25519 key")],
)  # fmt: skip
def test_what_is_no_key_is_said_to_be_none(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        VerifyingKey.parse(text)


def test_a_checkpoint_says_which_log_how_many_and_what_root() -> None:
    checkpoint = Checkpoint(origin_of("log"), 17, bytes(32))
    note = checkpoint.signed(KEY)

    assert text_of(note) == b"stationkeeper/log\n17\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    assert Checkpoint.parse(note) == checkpoint
    assert signer_of(note, [KEY.public]) == KEY.public


@pytest.mark.parametrize(
    "text",
    [b"log\n", b"log\n017\nAAAA\n", b"log\n-1\n", b"log\n1\nAAAA\n", b"\n1\nAAAA\n", b"log\n1\n!\n", b"\xff\n1\n\n"],
)
def test_what_is_no_checkpoint_is_said_to_be_none(text: bytes) -> None:
    with pytest.raises(ValueError, match="no signed checkpoint"):
        Checkpoint.parse(KEY.sign(text))
