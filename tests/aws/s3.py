"""What moto's S3 lacks: the checksums of the parts of an upload."""

import base64
import hashlib
from xml.sax.saxutils import escape

from moto.s3.responses import S3Response


def list_parts(self):
    upload_id = self._get_param("uploadId")
    parts = self.backend.list_parts(
        self.bucket_name, upload_id, part_number_marker=0, max_parts=10_000
    )
    listed = "".join(
        f"<Part><PartNumber>{part.name}</PartNumber><ETag>{escape(part.etag)}</ETag>"
        f"<Size>{part.size}</Size><ChecksumSHA256>{checksum(part.value)}</ChecksumSHA256></Part>"
        for part in parts
    )
    body = (
        '<?xml version="1.0"?><ListPartsResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Bucket>{self.bucket_name}</Bucket><Key>{escape(self.parse_key_name())}</Key>"
        f"<UploadId>{upload_id}</UploadId><IsTruncated>false</IsTruncated>{listed}"
        "</ListPartsResult>"
    )
    return 200, {"Content-Type": "application/xml"}, body


def checksum(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def install():
    S3Response.list_parts = list_parts
