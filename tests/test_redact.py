"""Secrets that the process knows are in no text, whoever wrote it and however it was encoded."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from urllib.parse import quote, quote_plus, urlencode

import pytest
from markupsafe import escape

from spotlightd import log
from spotlightd.clients.ledger.ledger import SqliteLedger
from spotlightd.clients.ledger.positions import SqlitePositions
from spotlightd.commands.output import Out
from spotlightd.errors import PublisherError, StoreError
from spotlightd.flows.supervise import Board
from spotlightd.model.offsets import Gap
from spotlightd.model.provenance import Reject, Run
from spotlightd.redact import find_address_secrets, mask_address
from spotlightd.secret import HIDDEN, Secret, remove_secrets
from spotlightd.sources import sec_ftd

SECRETS = (
    "c0ffeec0ffee17c0ffee", "wJalr/UtnFEMI+K7MDENG==", "a b&c<d>'e\"f\\g-ü-longer", "Ab~9x.K-27_Lm!Z*(p)'04R",
    "line-one-9xK27\nline-two-Lm04R\nline-three", "ab%2Fcd%41ef%20gh==x9",
)  # fmt: skip
NOW = datetime(2026, 3, 1, tzinfo=UTC)


def to_base64(before: int) -> Callable[[str], str]:
    """What base64 makes of it behind so many other bytes, as in `user:password`."""
    return lambda text: base64.b64encode(b"u" * before + text.encode() + b"tail").decode()


ENCODINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "quote": quote,
    "quote all": lambda text: quote(text, safe=""),
    "quote plus": quote_plus,
    "lower case escapes": lambda text: "".join(quote(letter, safe="").lower() if letter in "/+=&" else letter for letter in text),
    "form": lambda text: urlencode({"token": text}),
    "json": json.dumps,
    "json text": lambda text: json.dumps(text, ensure_ascii=False),
    "html": html.escape,
    "page": lambda text: str(escape(text)),
    "repr": repr,
    "repr of bytes": lambda text: repr(text.encode()),
    **{f"base64 {before}": to_base64(before) for before in range(4)},
    "java": lambda text: quote_plus(text, safe="*-._"),
    "every letter": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "latin-1 addresses": lambda text: quote(text.encode("latin-1"), safe=""),
    "twice": lambda text: quote(quote(text, safe=""), safe=""),
    "go json": lambda text: escape_units(json.dumps(text), "<>&"),
    "net json": lambda text: escape_units(json.dumps(text), "<>&'+"),
    "json in json": lambda text: json.dumps(json.dumps(text)),
    "numbers of html": lambda text: "".join(f"&#{ord(letter)};" if not letter.isalnum() else letter for letter in text),
    "hex of html": lambda text: "".join(f"&#x{ord(letter):X};" if not letter.isalnum() else letter for letter in text),
    "html of json": lambda text: html.escape(json.dumps(text)),
    "mojibake": lambda text: text.encode().decode("latin-1"),
    "line breaks": lambda text: text.replace("\n", "\r\n"),
    "one line": lambda text: text.replace("\n", " "),
    "mime": lambda text: base64.encodebytes(b"u" * 51 + text.encode() + b"tail").decode(),
    "base64 of addresses": lambda text: quote(base64.urlsafe_b64encode(b"user:" + text.encode()).decode()),
}  # fmt: skip


def escape_units(text: str, letters: str) -> str:
    """As Go and .NET write JSON: these letters as \\u003C."""
    return "".join(f"\\u{ord(letter):04X}" if letter in letters else letter for letter in text)


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_known_secret_is_found_in_every_encoding(secret: str, encoding: str) -> None:
    encoded = ENCODINGS[encoding](secret)
    shown = remove_secrets(f"the store said: {encoded} and more", [Secret(secret)])
    assert HIDDEN in shown
    assert not contains(shown, secret)
    assert shown.startswith("the store said: ")
    assert shown.endswith(" and more")


def contains(text: str, secret: str) -> bool:
    """Whether a piece of the secret as long as 9 letters is in the text, in any of its encodings."""
    forms = [encode(secret) for name, encode in ENCODINGS.items() if name != "mime"]
    return any(form[at : at + 9] in text for form in forms for at in range(6, len(form) - 14))


@pytest.mark.parametrize("end", ["", "…", "...", "'"])
def test_the_beginning_of_a_secret_is_found_where_a_text_was_cut(end: str) -> None:
    text = f"no such key: {SECRETS[0][:14]}"
    assert remove_secrets(text + end, [Secret(SECRETS[0])]) == f"no such key: {HIDDEN}{end}"


@pytest.mark.parametrize("end", ["", "…", "]", " (status 500)", " and more"])
@pytest.mark.parametrize("encoding", ["plain", "quote all", "go json", "every letter"])
def test_the_beginning_is_found_in_every_encoding(encoding: str, end: str) -> None:
    secret = "Ab9&x<K27+Lm4Zp(04R)Tv"
    encoded = ENCODINGS[encoding](secret)
    text = f"no such key: {encoded[: len(encoded) * 4 // 5]}"
    assert HIDDEN in remove_secrets(text + end, [Secret(secret)])
    assert secret[2:9] not in remove_secrets(text + end, [Secret(secret)])


def test_a_writing_that_cannot_be_cut_out_hides_the_text() -> None:
    assert remove_secrets("the key is %2563&#48;ffee%26%2399;0ffee17c0ffee", [Secret(SECRETS[0])]) == HIDDEN


def test_other_words_stay() -> None:
    text = "spotlightd-storage.xml, spotlightd-secret-keys.xml, c0ffee, c0ffeec0ff18"
    for secret in ("spotlightd-secret-key-1", SECRETS[0]):
        assert remove_secrets(text, [Secret(secret)]) == text


def test_a_short_text_is_no_secret_of_which_words_could_be_hidden() -> None:
    log.add_secret("test")
    assert log.hide_known_secrets("a test of tests") == "a test of tests"


def test_the_secret_itself_is_not_shown_by_its_holder() -> None:
    assert SECRETS[0] not in repr(Secret(SECRETS[0]))


@pytest.mark.parametrize(
    ("address", "shown", "secrets"),
    [
        ("wss://ws.finnhub.io/?token=abcdefgh17&b=2", "wss://ws.finnhub.io/?token=(hidden)&b=(hidden)", ["abcdefgh17"]),
        ("http://user:longpassword@127.0.0.1:8123/x", "http://(hidden)@127.0.0.1:8123/x", ["longpassword"]),
        ("https://longtoken17@h.example", "https://(hidden)@h.example", ["longtoken17"]),
        ("wss://h.example/ws/v3/0a1b2c3d4e5f60718293a4b5", "wss://h.example/ws/v3/(hidden)", ["0a1b2c3d4e5f60718293a4b5"]),
        ("wss://h.example/?streams=btcusdt@trade&x=1", "wss://(hidden)@trade&x=1", []),
        ("wss://h.example/?symbols=BTCUSDT,ETHUSDT", "wss://h.example/?symbols=(hidden)", []),
        ("http://127.0.0.1:9000", "http://127.0.0.1:9000", []),
    ],
)  # fmt: skip
def test_an_address_is_shown_without_what_may_be_secret(address: str, shown: str, secrets: list[str]) -> None:
    assert mask_address(address) == shown
    assert find_address_secrets(address) == secrets


# -- every place where text leaves -------------------------------------------------------------------------------------


@pytest.fixture
def secret() -> str:
    """A secret that the process knows from here on; the next test does not."""
    log.add_secret(SECRETS[0])
    return SECRETS[0]


async def test_runs_rejects_and_gaps_hold_no_secret_that_a_publisher_said_back(tmp_path: Path, secret: str) -> None:
    said = f"it answered 403: no account for {secret}"
    async with SqliteLedger(tmp_path / "ledger.sqlite") as ledger:
        await ledger.record(Run(NOW, "x", "https://x.example/", "2026/03", "failed", error=str(PublisherError(said))))
        load = await ledger.begin_load(sec_ftd.source, "0" * 64, "2026/03")
        await ledger.mark_dead(load.load_id, [Reject(0, 1, f"row|{secret}", said)])
        await SqlitePositions(ledger).add_gap(Gap("x", NOW, NOW, "connection lost", detail=said))
        stored = [row for table in ("runs", "rejects", "gaps") for row in await ledger.history(table, 0, 10)]
    assert len(stored) == 3
    assert secret not in repr(stored)
    assert repr(stored).count(HIDDEN) == 4


def test_the_state_of_a_flow_holds_no_secret(secret: str) -> None:
    board = Board()
    reporter = board.reporter("archive")
    reporter.set_holding(str(StoreError(f"bad key {quote(secret)}")))
    reporter.set_working(f"with {secret}")
    assert [secret in repr(status) for status in board.read()] == [False]
    assert board.read()[0].error == f"bad key {HIDDEN}"


@pytest.mark.parametrize("as_json", [False, True])
def test_a_command_prints_no_secret(capsys: pytest.CaptureFixture[str], secret: str, as_json: bool) -> None:
    out = Out(as_json=as_json)
    out.table(("frame", "n"), [(f"hello {secret}", 1), (secret.encode(), 2)])
    out.value({"key": secret, "deep": [{"error": f"x{secret}y"}]})
    out.result(f"wrote {secret}", {"file": secret})
    out.note(f"beside it: {to_base64(5)(secret)}")
    out.error(StoreError(f"the server refused http://u:{secret}@h/: {secret}"))
    printed = "".join(capsys.readouterr())
    assert secret not in printed
    assert to_base64(5)(secret)[7:20] not in printed
    assert printed.count(HIDDEN) >= 7


def test_a_traceback_that_nobody_caught_shows_no_secret(capsys: pytest.CaptureFixture[str], secret: str) -> None:
    with pytest.raises(ValueError, match=secret) as caught:
        int(secret)
    log.print_traceback(caught.type, caught.value, caught.tb)
    printed = capsys.readouterr().err
    assert f"ValueError: invalid literal for int() with base 10: '{HIDDEN}'" in printed
    assert "Traceback" in printed


def test_data_that_only_look_like_secrets_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    Out().table(("address", "day"), [("https://x.example/?token=abc", date(2021, 1, 4))])
    assert "https://x.example/?token=abc" in capsys.readouterr().out
