"""A proxy as companies have them, in front of the test server: `proxy.py PORT FOLDER`.

Whatever host is asked for, the server at PORT answers. TLS ends here, with a certificate of the
authority in FOLDER/ca.pem. Each connection is a line in FOLDER/proxy.log: the method, what was asked
for, and the credentials that came with it. Prints its port and serves until its stdin is closed.
"""

import re
import select
import socket
import ssl
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

HOSTS = ["*.us-east-1.amazonaws.com", "*.s3.us-east-1.amazonaws.com"]
PORT, FOLDER = int(sys.argv[1]), Path(sys.argv[2])


def certificate(name, key, issuer, issuer_key, extension):
    def named(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(
        named(issuer),
        named(name),
        key.public_key(),
        x509.random_serial_number(),
        now - timedelta(hours=1),
        now + timedelta(days=1),
    )
    signed = builder.add_extension(extension, critical=False).sign(issuer_key, hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM)


def context():
    """What TLS needs here; the authority's certificate is left in the folder."""
    authority, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    is_authority = x509.BasicConstraints(ca=True, path_length=None)
    ca = certificate("authority", authority, "authority", authority, is_authority)
    (FOLDER / "ca.pem").write_bytes(ca)
    hosts = x509.SubjectAlternativeName([x509.DNSName(host) for host in HOSTS])
    secret = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    pem = FOLDER / "server.pem"
    pem.write_bytes(secret + certificate("server", key, "authority", authority, hosts))
    result = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    result.load_cert_chain(pem)
    return result


def relay(one, other):
    while True:
        ready, _, _ = select.select([one, other], [], [])
        for source, sink in ((one, other), (other, one)):
            if source not in ready:
                continue
            data = source.recv(1 << 16)
            # What TLS has taken from the socket already makes no socket ready.
            while isinstance(source, ssl.SSLSocket) and source.pending():
                data += source.recv(1 << 16)
            if not data:
                return
            sink.sendall(data)


def serve(client, tls):
    head = b""
    while b"\r\n\r\n" not in head:
        data = client.recv(1 << 16)
        if not data:
            return
        head += data
    method, target, _ = head.split(b"\r\n")[0].decode().split(" ")
    user = re.search(rb"(?im)^proxy-authorization: *(.*?)\r$", head)
    with open(FOLDER / "proxy.log", "a") as log:
        log.write(f"{method} {target} {user.group(1).decode() if user else '-'}\n")
    with client, socket.create_connection(("127.0.0.1", PORT)) as server:
        if method != "CONNECT":
            server.sendall(head)
            relay(client, server)
            return
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with tls.wrap_socket(client, server_side=True) as inside:
            relay(inside, server)


def quietly(client, tls):
    try:
        serve(client, tls)
    except OSError:
        """A connection that was cut."""


def accept(listener, tls):
    while True:
        client, _ = listener.accept()
        threading.Thread(target=quietly, args=(client, tls), daemon=True).start()


def main():
    tls = context()
    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=accept, args=(listener, tls), daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()


main()
