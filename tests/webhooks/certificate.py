"""A self-signed certificate, made on the fly."""

from __future__ import annotations

import datetime
import ssl
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


@lru_cache(maxsize=8)
def self_signed(names: tuple[str, ...], expired: bool) -> bytes:
    """Certificate and key as PEM, for host names and addresses; the same for the same ones."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - 2 * _DAY)
        .not_valid_after(now - _DAY if expired else now + _DAY)
        .add_extension(x509.SubjectAlternativeName([_alternative(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM) + private


def server_context(names: Sequence[str], *, expired: bool = False) -> ssl.SSLContext:
    """What a server of *names* speaks TLS with."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        file.write(self_signed(tuple(names), expired))
        file.flush()
        context.load_cert_chain(file.name)
    return context


def client_context(names: Sequence[str], *, expired: bool = False) -> ssl.SSLContext:
    """What a client has to believe in to speak with that server. It checks names and dates as any other."""
    return ssl.create_default_context(cadata=_certificate_only(self_signed(tuple(names), expired)))


def write_certificate(folder: Path, names: Sequence[str]) -> Path:
    """The certificate alone in a file, for programs that are told of it by ``SSL_CERT_FILE``."""
    path = folder / "receiver.pem"
    path.write_text(_certificate_only(self_signed(tuple(names), False)))
    return path


def _certificate_only(pem: bytes) -> str:
    return pem.decode().split("-----BEGIN PRIVATE KEY-----")[0]


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)
