"""The file of a bulk upload: the part `file` of a multipart form, or the body itself; gzip at either level.

Own code, because no parser at hand is bounded: BlackSheep's takes the first line of a body for the boundary,
splits at it wherever it stands and makes any number of parts; the standard library's reads line by line and
follows forms within forms. Here at most 64 boundaries are looked at and 8 KiB of a part's headers, and the
file is cut out once. Source of the format: RFC 2046 (5.1), RFC 7578. Pure, any thread; nothing here raises.
"""

from typing import Final

from server.ingest import Refusal, inflate

_FIELD: Final = "file"
_BOUNDARIES_MAX: Final = 64
_BOUNDARY_LENGTH_MAX: Final = 70  # RFC 2046
_PART_HEADER_BYTES_MAX: Final = 8_192
_HEADER_LENGTH_MAX: Final = 1_024  # of a Content-Type or a Content-Disposition
_GZIP_MAGIC: Final = b"\x1f\x8b"


def uploaded_file(body: bytes, content_type: str, encoding: str, bytes_max: int) -> bytes | Refusal:
    """The plain bytes of the file in `body`, at most `bytes_max`.

    Clients that send a form mean by `Content-Encoding: gzip` either the body or the file in it (Jitsu
    Classic), so what is gzip is seen by its first bytes; `encoding` is empty or `gzip`.
    """
    packed = body.startswith(_GZIP_MAGIC)
    content = inflate(body, bytes_max) if packed else body
    if isinstance(content, Refusal):
        return content
    if content_type.strip().lower().startswith("multipart/"):
        part = _file_part(content, _parameter(content_type, "boundary"))
        if isinstance(part, Refusal):
            return part
        content, packed = part, packed or part.startswith(_GZIP_MAGIC)
        if content.startswith(_GZIP_MAGIC):
            return inflate(content, bytes_max)
    if encoding and not packed:
        return Refusal("bad_gzip", "Content-Encoding says gzip, but neither the body nor the file is")
    return content


def _file_part(body: bytes, boundary: str) -> bytes | Refusal:
    """The content of the part whose field name is `file`; several are refused, lest one is lost unseen."""
    if not 0 < len(boundary) <= _BOUNDARY_LENGTH_MAX:
        return Refusal("bad_request", "the form's Content-Type has no boundary of 1 to 70 characters")
    delimiter = b"\r\n--" + boundary.encode("utf-8", "replace")
    found = -2 if body.startswith(delimiter[2:]) else body.find(delimiter)
    start = end = -1  # of the content of the file, once they are known
    for _ in range(_BOUNDARIES_MAX):
        if found == -1:
            return Refusal("bad_request", "the form is cut short: its last boundary is missing")
        after = found + len(delimiter)
        last = body.startswith(b"--", after)
        line_end = body.find(b"\r\n", after, after + _PART_HEADER_BYTES_MAX)
        if not last and (line_end == -1 or body[after:line_end].strip(b" \t")):
            found = body.find(delimiter, after)  # a line that only begins like a boundary
            continue
        if start != -1 and end == -1:
            end = max(start, found)
        if last:
            return body[start:end] if start != -1 else _no_file()
        header_end = body.find(b"\r\n\r\n", line_end, line_end + _PART_HEADER_BYTES_MAX)
        if header_end == -1:
            return _no_file()
        if _field_name(body[line_end:header_end]) == _FIELD:
            if start != -1:
                return Refusal(
                    "bad_request", f"the form has several parts named {_FIELD!r}: send one at a time"
                )
            start = header_end + 4
        found = body.find(delimiter, header_end + 2)
    return Refusal("bad_request", f"the form has more than {_BOUNDARIES_MAX} boundaries")


def _no_file() -> Refusal:
    return Refusal("bad_request", f"the form has no part named {_FIELD!r}")


def _field_name(headers: bytes) -> str:
    """The field that a part belongs to, from its Content-Disposition."""
    for line in headers.decode("utf-8", "replace").split("\r\n"):
        name, _, value = line.partition(":")
        if name.strip().lower() == "content-disposition":
            return _parameter(value, "name")
    return ""


def _parameter(header: str, name: str) -> str:
    """A parameter of a header such as `multipart/form-data; boundary="x"`, "" if there is none."""
    if len(header) > _HEADER_LENGTH_MAX:
        return ""
    from email.message import Message  # 5 ms of a start otherwise, and uploads are rare

    message = Message()
    message["content-type"] = header
    value = message.get_param(name)
    return value if isinstance(value, str) else ""
