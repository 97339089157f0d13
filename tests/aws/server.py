"""A server that is AWS to `imgasm import`, `pull` and `gc`: moto with what moto lacks, on loopback.

Each line on stdin asks for a server, whose port is printed; all end with stdin. Each request is checked against the service
model of botocore and logged; faults come on demand. `POST /_test/NAME` is for the tests:

settings      how the account and the services are set, see `state.SETTINGS`
faults        a list of {service, operation, kind, rate, skip, times}
log           the requests so far: [{service, operation, region, parameters}]
violations    requests that the real services would not have taken
public-image  an AMI of Amazon's from a raw disk
snapshot      a snapshot's volume as a raw file
image         an AMI with its permissions and protection
tamper        changes a block of a snapshot
edit          sets what an AMI is described with
untag         takes the tags of a thing away
reset         takes all AMIs, snapshots, imports and objects away
hurry         lets the imports that are under way end at the next look
deregister    takes an AMI away, and leaves its snapshots
parameter     the value of a parameter of Systems Manager
put-parameter sets one that is the id of an AMI
end           ends the server
strangers     makes things in the account and in a bucket that others have made
everything    all that there is in the account and a bucket
secrets       the secrets of the sessions that were given out
"""

import ctypes
import io
import json
import os
import random
import signal
import socket
import sys
import traceback
from urllib.parse import parse_qsl

os.environ["MOTO_EC2_LOAD_DEFAULT_AMIS"] = "false"
os.environ["MOTO_S3_CUSTOM_ENDPOINTS"] = ""

import ebs
import ec2
import iam
import models
import plain
import s3
import ssm
import state
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.ssm.models import ssm_backends
from moto.sts.models import sts_backends
from werkzeug.serving import WSGIRequestHandler, make_server

#: Ends a process with its parent (prctl(2)).
PR_SET_PDEATHSIG = 1

LOG = []
VIOLATIONS = []
FAULTS = []
#: Repeated runs fail at the same requests.
CHANCE = random.Random(1)

#: Codes by which the services say that they are busy, or that credentials have expired.
CODES = {
    "throttle": {"ec2": (503, "RequestLimitExceeded"), "s3": (503, "SlowDown"),
                 "ebs": (400, "ThrottlingException"), "ssm": (400, "ThrottlingException"),
                 "sts": (400, "Throttling"), "iam": (400, "Throttling"),
                 "kms": (400, "ThrottlingException")},
    "error": {"ec2": (500, "InternalError"), "s3": (500, "InternalError"),
              "ebs": (500, "InternalServerException"), "ssm": (500, "InternalServerError"),
              "sts": (500, "InternalFailure"), "iam": (500, "ServiceFailure"),
              "kms": (500, "KMSInternalException")},
    "expired": {"ec2": (400, "RequestExpired"), "s3": (400, "ExpiredToken"),
                "ebs": (403, "ExpiredTokenException"), "ssm": (400, "ExpiredTokenException"),
                "sts": (403, "ExpiredToken"), "iam": (403, "ExpiredToken"),
                "kms": (400, "ExpiredTokenException")},
}


def scope(environ):
    """The region and service that a request is signed for."""
    authorization = environ.get("HTTP_AUTHORIZATION", "")
    if "Credential=" not in authorization:
        return None, None
    _, _, region, service, _ = authorization.split("Credential=")[1].split(",")[0].split("/")
    return region, service


def s3_path(environ):
    """The bucket and key, whether the bucket is named by the host or by the path."""
    bucket, is_by_host, _ = environ.get("HTTP_HOST", "").partition(".s3.")
    return f"/{bucket}{environ['PATH_INFO']}" if is_by_host else environ["PATH_INFO"]


def s3_operation(environ, query):
    method, path = environ["REQUEST_METHOD"], s3_path(environ).strip("/")
    if "/" not in path:
        return {"HEAD": "HeadBucket", "PUT": "CreateBucket", "GET": "ListMultipartUploads"
                if "uploads" in query else "ListObjectsV2"}.get(method, method)
    if "uploadId" in query:
        return {"PUT": "UploadPart", "POST": "CompleteMultipartUpload",
                "DELETE": "AbortMultipartUpload", "GET": "ListParts"}[method]
    if "uploads" in query:
        return "CreateMultipartUpload"
    return {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}[method]


def understand(environ, service, body):
    """The operation and parameters of a request; checked, but for S3, which moto checks."""
    query = dict(parse_qsl(environ.get("QUERY_STRING", ""), keep_blank_values=True))
    if service == "ec2":
        form = dict(parse_qsl(body.decode(), keep_blank_values=True))
        return form["Action"], models.ec2(form)
    if service in ("sts", "iam"):
        form = dict(parse_qsl(body.decode()))
        return form.pop("Action"), form
    if service in ("ssm", "kms"):
        operation = environ["HTTP_X_AMZ_TARGET"].split(".")[1]
        return operation, models.checked(service, operation, json.loads(body))
    if service == "s3":
        operation = s3_operation(environ, query)
        told = environ.get("HTTP_X_AMZ_CHECKSUM_SHA256")
        if operation == "UploadPart" and told != s3.checksum(body):
            raise models.Violation(f"UploadPart: {told} is not the checksum of the part")
        return operation, {"path": s3_path(environ), **query}
    headers = {
        name[5:].replace("_", "-"): value
        for name, value in environ.items()
        if name.startswith("HTTP_")
    }
    is_json = environ.get("CONTENT_TYPE", "").startswith("application/json")
    parameters = json.loads(body) if is_json and body else {}
    return models.rest(
        service, environ["REQUEST_METHOD"], environ["PATH_INFO"], query, headers, parameters
    )


def fault(service, operation):
    """The kind of fault that strikes a request, if one does."""
    for rule in FAULTS:
        if rule.get("service", service) != service or rule.get("operation", operation) != operation:
            continue
        if rule.get("skip", 0) > 0:
            rule["skip"] -= 1
            continue
        if rule.get("times", 1) <= 0 or CHANCE.random() >= rule.get("rate", 1):
            continue
        if "times" in rule:
            rule["times"] -= 1
        return rule["kind"]
    return None


def refusal(service, status, code, message):
    """An error in the service's own form."""
    if service in ("ebs", "ssm", "kms"):
        body = json.dumps({"__type": code, "Message": message, "message": message})
        return status, {"x-amzn-ErrorType": code, "Content-Type": "application/json"}, body
    error = f"<Code>{code}</Code><Message>{message}</Message>"
    if service == "s3":
        body = f"<Error>{error}</Error>"
    elif service == "ec2":
        body = f"<Response><Errors><Error>{error}</Error></Errors><RequestID>1</RequestID></Response>"
    else:
        body = f"<ErrorResponse><Error>{error}</Error><RequestId>1</RequestId></ErrorResponse>"
    return status, {"Content-Type": "text/xml"}, body


def control(name, value):
    with state.LOCK:
        if name == "settings":
            state.SETTINGS.update(value)
        elif name == "faults":
            FAULTS[:] = value
        elif name == "log":
            return LOG
        elif name == "violations":
            return VIOLATIONS
        elif name == "public-image":
            return ec2.public_image(**value)
        elif name == "snapshot":
            snapshot = ebs.snapshots(value["region"])[value["id"]]
            state.write_disk(value["region"], value["id"], snapshot.volume_size, value["path"])
        elif name == "image":
            return ec2.IMAGES[value["region"]][value["id"]]
        elif name == "tamper":
            state.store(value["region"], value["id"], value["index"], b"\x55" * state.BLOCK)
        elif name == "edit":
            ec2.IMAGES[value["region"]][value["id"]][value["key"]] = value["value"]
        elif name == "untag":
            ec2.backend(value["region"]).tags.pop(value["id"], None)
        elif name == "reset":
            ec2.reset(value["bucket"])
        elif name == "hurry":
            for task in ec2.TASKS.get(value["region"], {}).values():
                task["polls"] = 0
        elif name == "deregister":
            ec2.deregister_image(value["region"], {"ImageId": value["id"]})
        elif name == "parameter":
            return ssm_backends[state.ACCOUNT][value["region"]].get_parameter(value["name"]).value
        elif name == "end":
            os._exit(0)
        elif name == "put-parameter":
            ssm_backends[state.ACCOUNT][value["region"]].put_parameter(
                value["name"], "", value["value"], "String", "", "", True, [], "aws:ec2:image", None, None
            )
        elif name == "strangers":
            return ec2.strangers(**value)
        elif name == "everything":
            return ec2.everything(**value)
        elif name == "secrets":
            roles = sts_backends[state.ACCOUNT]["aws"].assumed_roles
            return [text for role in roles for text in (role.secret_access_key, role.session_token)]
        return None


class App:
    def __init__(self):
        self.moto = DomainDispatcherApplication(create_backend_app)

    def __call__(self, environ, start_response):
        path = environ["PATH_INFO"]
        length = int(environ.get("CONTENT_LENGTH") or 0)
        if path.startswith("/_test/"):
            value = json.loads(environ["wsgi.input"].read(length) or "null")
            try:
                answer = control(path[7:], value)
            except Exception:
                return self.answer(start_response, 500, {}, traceback.format_exc())
            return self.answer(start_response, 200, {}, json.dumps(answer, default=str))
        region, service = scope(environ)
        if service is None:
            return self.moto(environ, start_response)
        body = environ["wsgi.input"].read(length)
        try:
            operation, parameters = understand(environ, service, body)
        except models.Violation as violation:
            VIOLATIONS.append(str(violation))
            refused = refusal(service, 400, "Violation", str(violation))
            return self.answer(start_response, *refused)
        with state.LOCK:
            entry = {"service": service, "operation": operation, "region": region}
            entry["key"] = environ["HTTP_AUTHORIZATION"].split("Credential=")[1].split("/")[0]
            LOG.append(entry | {"parameters": parameters, "bytes": length})
            kind = fault(service, operation)
            policy = state.SETTINGS["policy"]
            denied = policy and iam.refused(policy, service, operation, region, parameters)
        owner = environ.get("HTTP_X_AMZ_EXPECTED_BUCKET_OWNER", state.ACCOUNT)
        if denied or owner != state.ACCOUNT:
            code = "UnauthorizedOperation" if service == "ec2" else "AccessDenied"
            said = f"not authorized to perform: {denied or 'it in the bucket of another account'}"
            return self.answer(start_response, *refusal(service, 403, code, said))
        code = state.SETTINGS["code"]
        if operation == "AssumeRole" and code and parameters.get("TokenCode") != code:
            said = "MultiFactorAuthentication failed with invalid MFA one time pass code."
            return self.answer(start_response, *refusal(service, 403, "AccessDenied", said))
        if kind == "drop":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return self.answer(start_response, 500, {}, "")
        if kind == "drop-late":
            self.run(environ, body, lambda *_: None)
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            return self.answer(start_response, 500, {}, "")
        if kind in CODES:
            status, code = CODES[kind][service]
            return self.answer(start_response, *refusal(service, status, code, "as it was asked for"))
        if kind and kind != "spoil":
            code, _, message = kind.partition(": ")
            return self.answer(start_response, *refusal(service, 400, code, message))
        answer = self.run(environ, body, start_response)
        # A byte that fell over on the way.
        return [bytes([answer[0][0] ^ 1]) + answer[0][1:], *answer[1:]] if kind == "spoil" else answer

    def run(self, environ, body, start_response):
        _, service = scope(environ)
        if service in ("iam", "kms"):
            operation, parameters = understand(environ, service, body)
            try:
                answer = plain.answer(service, operation, parameters)
            except plain.Refused as refused:
                answer = refusal(service, refused.status, refused.code, str(refused))
            return self.answer(start_response, *answer)
        environ["wsgi.input"] = io.BytesIO(body)
        answer = self.moto(environ, start_response)
        # The one name in S3's answers that moto has wrong; as long, for the length that was told.
        wrong, right = b"CompleteMultipartUploadResponse", b"CompleteMultipartUploadResult  "
        return [piece.replace(wrong, right) for piece in answer]

    def answer(self, start_response, status, headers, body):
        data = body.encode()
        start_response(f"{status} -", [*headers.items(), ("Content-Length", str(len(data)))])
        return [data]


class Handler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"

    def log(self, *_args, **_kwargs):
        """Nobody reads it."""


def serve():
    """Serves on a port of its own, which it prints, until it is told to end or its parent ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    server = make_server("127.0.0.1", 0, App(), threaded=True, request_handler=Handler)
    print(server.port, flush=True)
    server.serve_forever()


def main():
    """What is imported takes seconds, so that one process does it, and servers are its forks."""
    ec2.install()
    ebs.install()
    s3.install()
    ssm.install()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    for _ in sys.stdin:
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            serve()


main()
