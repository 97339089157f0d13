"""A server that is AWS to `aws s3 cp` and `imgasm import`, and throws all away as fast as it comes.

Every upload succeeds, and every import, snapshot and AMI is done at once. Prints its port and serves
until its stdin is closed.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

IMAGE = """<imageId>ami-1</imageId><imageState>available</imageState><name>upload</name>
<creationDate>2026-01-01T00:00:00.000Z</creationDate>"""
SNAPSHOT = "<snapshotId>snap-1</snapshotId><status>completed</status>"
TASK = """<importTaskId>import-snap-1</importTaskId><snapshotTaskDetail><status>completed</status>
<snapshotId>snap-1</snapshotId></snapshotTaskDetail>"""

#: Of EC2: what is described, and by which parameter one of it is asked for.
DESCRIBED = {
    "DescribeImages": ("imagesSet", "ImageId.1", IMAGE),
    "DescribeSnapshots": ("snapshotSet", "SnapshotId.1", SNAPSHOT),
    "DescribeImportSnapshotTasks": ("importSnapshotTaskSet", "ImportTaskId.1", TASK),
}
#: Of EC2: what other operations answer.
DONE = {
    "ImportSnapshot": TASK,
    "RegisterImage": "<imageId>ami-1</imageId>",
    "CreateTags": "<return>true</return>",
    "GetEbsEncryptionByDefault": "<ebsEncryptionByDefault>false</ebsEncryptionByDefault>",
}
IDENTITY = """<GetCallerIdentityResponse><GetCallerIdentityResult><Account>123456789012</Account>
<UserId>U</UserId><Arn>arn:aws:iam::123456789012:user/u</Arn></GetCallerIdentityResult>
</GetCallerIdentityResponse>"""


def ec2(form):
    action = form["Action"][0]
    if action in DONE:
        body = DONE[action]
    else:
        name, parameter, item = DESCRIBED[action]
        body = f"<{name}>{f'<item>{item}</item>' if parameter in form else ''}</{name}>"
    return f"<{action}Response>{body}</{action}Response>"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    rbufsize = 1 << 20
    disable_nagle_algorithm = True

    def log_message(self, *_args):
        """Nobody reads it."""

    def body(self):
        """The body where it is short; a long one is thrown away."""
        left = int(self.headers.get("Content-Length") or 0)
        if left < 1 << 16:
            return self.rfile.read(left)
        buffer = memoryview(bytearray(1 << 20))
        while left:
            left -= self.rfile.readinto(buffer[: min(left, len(buffer))])
        return b""

    def answer(self, status, body="", **headers):
        data = body.encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self):
        scope = self.headers.get("Authorization", "").partition("Credential=")[2].split(",")[0]
        service = scope.split("/")[3] if scope else "s3"
        body = self.body()
        if service == "sts":
            return self.answer(200, IDENTITY)
        if service == "ec2":
            return self.answer(200, ec2(parse_qs(body.decode())))
        return self.ebs() if service == "ebs" else self.s3()

    def ebs(self):
        if "/blocks/" in self.path:
            checksum = self.headers["x-amz-Checksum"]
            return self.answer(201, "{}", x_amz_Checksum=checksum, x_amz_Checksum_Algorithm="SHA256")
        started = {"SnapshotId": "snap-1", "Status": "pending", "BlockSize": 524288}
        return self.answer(202 if "completion" in self.path else 201, json.dumps(started))

    def s3(self):
        url = urlsplit(self.path)
        is_object = "/" in url.path.strip("/")
        match self.command, url.query.partition("=")[0]:
            case "HEAD", _:
                return self.answer(404 if is_object else 200, x_amz_bucket_region="us-east-1")
            case "POST", "uploads":
                name, inside = "InitiateMultipartUploadResult", "<UploadId>1</UploadId>"
            case "POST", _:
                name, inside = "CompleteMultipartUploadResult", '<ETag>"0"</ETag>'
            case "GET", _:
                name, inside = "ListMultipartUploadsResult", "<IsTruncated>false</IsTruncated>"
            case "DELETE", _:
                return self.answer(204)
            case _:
                return self.answer(200, ETag='"0"')
        return self.answer(200, f"<{name}>{inside}</{name}>")

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = handle_any


def main():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()


main()
