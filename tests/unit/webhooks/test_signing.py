"""Webhooks are signed exactly as the Standard Webhooks specification says."""

import base64
import hashlib
import hmac
import re

import pytest

from monitor.webhooks.signing import key_of, secret_of, signed_headers


def test_signature_is_that_of_the_specification() -> None:
    """The example that the specification's own libraries are tested with gives the same three headers."""
    key = key_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key])
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@pytest.mark.parametrize("body", [b"", b"a.b.c", b"line\r\nline", b"\0\xff", "Grüße 🚀".encode()])
def test_case_39_any_bytes_are_signed_as_they_are(body: bytes) -> None:
    """Dots, line ends, zero bytes and invalid UTF-8 in the body are signed untouched."""
    signed = hmac.new(b"k" * 24, b"msg_1.7." + body, hashlib.sha256).digest()
    expected = "v1," + base64.b64encode(signed).decode()
    assert signed_headers("msg_1", 7, body, [b"k" * 24])["webhook-signature"] == expected


def test_case_40_several_keys_sign_side_by_side() -> None:
    """While a secret is replaced, a receiver that knows either of them finds its signature."""
    both = signed_headers("msg_1", 7, b"{}", [b"a" * 24, b"b" * 24])["webhook-signature"]
    alone = [signed_headers("msg_1", 7, b"{}", [key])["webhook-signature"] for key in (b"a" * 24, b"b" * 24)]
    assert both.split(" ") == alone


@pytest.mark.parametrize("size", [24, 32, 64])
def test_case_43_secret_comes_back_as_its_key(size: int) -> None:
    """The secret that an owner sees is the key that signs."""
    assert key_of(secret_of(bytes(size))) == bytes(size)


def encoded(size: int) -> str:
    """So many bytes in base64."""
    return base64.b64encode(b"s" * size).decode()


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "does not start with whsec_"),
        (encoded(32), "does not start with whsec_"),
        (f"WHSEC_{encoded(32)}", "does not start with whsec_"),
        (f" whsec_{encoded(32)}", "does not start with whsec_"),
        (f"whsk_{encoded(64)}", "does not start with whsec_"),
        ("whsec_", "holds 0 bytes; it takes 24 to 64"),
        (f"whsec_{encoded(23)}", "holds 23 bytes; it takes 24 to 64"),
        (f"whsec_{encoded(65)}", "holds 65 bytes; it takes 24 to 64"),
        (f"whsec_{encoded(40_000)}", "holds 40000 bytes; it takes 24 to 64"),
        ("whsec_%%%", "is not base64 after whsec_"),
        (f"whsec_{encoded(32)}\n", "is not base64 after whsec_"),
        (f"whsec_{encoded(32)[:-1]}", "is not base64 after whsec_"),
        (f"whsec_{encoded(16)}{encoded(16)}", "is not base64 after whsec_"),
        (f"whsec_{'_-' * 16}", "is not base64 after whsec_"),
        (f"whsec_{encoded(32)}é", "is not base64 after whsec_"),
    ],
)
def test_case_43_what_is_no_secret_is_refused(secret: str, reason: str) -> None:
    """Too short, too long, empty, or in an encoding that verifiers do not read; the reason gives none of it away."""
    with pytest.raises(ValueError, match=f"^{re.escape(reason)}$"):
        key_of(secret)
