"""Certificates made during a test: good ones, and each kind that a client must refuse."""

import datetime as dt
import ssl
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec


class Authority:
    """Vouches for receivers. A sender trusts it that is opened while `SSL_CERT_FILE` names its `file`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key, self._name = ec.generate_private_key(ec.SECP256R1()), _named("The authority of the tests")
        self._certificate = _certificate(self._name, self._name, self._key, self._key, (None, 1))
        self.file = folder / "authority.pem"
        self.file.write_bytes(_pem(self._certificate))

    def vouch(self, host: str = "127.0.0.1", *, until_days: int = 1, itself: bool = False) -> ssl.SSLContext:
        """TLS for a receiver that presents a certificate for `host`, which it may also have signed `itself`."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.issue(host, until_days=until_days, itself=itself))
        return context

    def issue(self, host: str = "127.0.0.1", *, until_days: int = 1, itself: bool = False) -> Path:
        """The PEM file of such a certificate, behind its private key."""
        key, name = ec.generate_private_key(ec.SECP256R1()), _named("A receiver")
        issuer, signer = (name, key) if itself else (self._name, self._key)
        file = self._folder / f"{x509.random_serial_number()}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        file.write_bytes(private + _pem(_certificate(name, issuer, key, signer, (host, until_days))))
        return file


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _certificate(
    name: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    use: tuple[str | None, int],
) -> x509.Certificate:
    """Of an authority when `use` names no host. With everything that strict readers of RFC 5280 ask for."""
    host, until_days = use
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=10))
        .not_valid_after(now + dt.timedelta(days=until_days))
        .add_extension(x509.BasicConstraints(ca=host is None, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if host is None:
        builder = builder.add_extension(_SIGNS_CERTIFICATES, critical=True)
    else:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general_name(host)]), critical=False)
    return builder.sign(signer, hashes.SHA256())


_SIGNS_CERTIFICATES = x509.KeyUsage(
    digital_signature=False,
    content_commitment=False,
    key_encipherment=False,
    data_encipherment=False,
    key_agreement=False,
    key_cert_sign=True,
    crl_sign=True,
    encipher_only=False,
    decipher_only=False,
)


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(host))
    except ValueError:
        return x509.DNSName(host)
