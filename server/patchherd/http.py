# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""What every request and answer has in common: bodies, errors, connections, headers, logs."""

from __future__ import annotations

import ipaddress
import re
import time
import zlib
from collections.abc import Callable, Iterable
from io import BytesIO
from typing import Any

import msgspec
import peewee
import structlog
from flask import Flask, Response, current_app, g, jsonify, request
from flask.json.provider import JSONProvider
from flask_smorest import Api, Blueprint
from marshmallow import Schema, ValidationError, fields
from playhouse.pool import MaxConnectionsExceeded
from webargs import missing
from webargs.flaskparser import FlaskParser
from werkzeug.exceptions import HTTPException

from patchherd import database
from patchherd.errors import ApiError, BadRequest, TooLarge, Unavailable, did_you_mean, error_body, field_error
from patchherd.settings import Settings

log = structlog.get_logger("patchherd.http")

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""Of every answer that does not say otherwise."""

HSTS = {"Strict-Transport-Security": "max-age=15552000"}
"""Half a year: long enough to help, short enough to be taken back."""

StartResponse = Callable[..., Any]
WsgiApp = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]


class CompactJson(JSONProvider):
    """Compact JSON without a space after the colon: scripts in the field grep for it."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return msgspec.json.encode(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        try:
            value = msgspec.json.decode(s)
            # PostgreSQL cannot store NUL characters, and agents in the field send some.
            escaped = "\\u0000" in s if isinstance(s, str) else b"\\u0000" in s
            return without_nul(value) if escaped else value
        except (msgspec.DecodeError, RecursionError) as exc:
            raise ValueError(str(exc)) from exc


def without_nul(value: Any) -> Any:
    """The same JSON value with NUL characters removed from every string."""
    if isinstance(value, str):
        return value.replace("\x00", "")
    if isinstance(value, list):
        return [without_nul(item) for item in value]
    if isinstance(value, dict):
        return {without_nul(key): without_nul(item) for key, item in value.items()}
    return value


class Parser(FlaskParser):
    """Request parsing that answers 400, as the contracts say, with one row an invalid field."""

    DEFAULT_VALIDATION_STATUS = 400
    # A misspelt filter must not select everything; a schema whose clients send more says so itself.
    DEFAULT_UNKNOWN_BY_LOCATION = {**FlaskParser.DEFAULT_UNKNOWN_BY_LOCATION, "query": None}

    def _raw_load_json(self, req: Any) -> Any:
        if not req.is_json:
            if req.get_data(cache=True):
                raise BadRequest("Not JSON", "send a JSON body with the header Content-Type: application/json")
            return missing
        return json_body()

    def handle_error(self, error: Any, req: Any, schema: Any, *, error_status_code: Any, error_headers: Any) -> None:  # type: ignore[override]
        rows = []
        for location, messages in error.messages.items():
            place = {"json": "body", "json_or_form": "body", "form": "body"}.get(location, location)
            rows += [field_error(path, _explained(path, msg, schema), place) for path, msg in _flatten(messages)]
        summary = "; ".join(f"{row['path']}: {row['msg']}" if row["path"] else row["msg"] for row in rows)
        raise BadRequest("Validation failed", summary, errors=rows)


def _explained(path: str, msg: str, schema: Any) -> str:
    """The message; for an unknown name with the nearest that there is."""
    if msg != "Unknown field.":
        return msg
    return msg + did_you_mean(path, [one.data_key or name for name, one in schema.fields.items()])


def _flatten(messages: Any, path: str = "") -> Iterable[tuple[str, str]]:
    """(path, message) pairs of marshmallow's nested messages; list items read `hosts[0].friendly_name`."""
    if isinstance(messages, dict):
        for key, value in messages.items():
            step = "" if key == "_schema" else f"[{key}]" if isinstance(key, int) else f".{key}" if path else str(key)
            yield from _flatten(value, path + step)
    elif isinstance(messages, list):
        for value in messages:
            yield from _flatten(value, path)
    else:
        yield path, str(messages)


def json_body() -> Any:
    """The body of this request, whatever type it claims to be. Raises BadRequest for what is no JSON."""
    try:
        return current_app.json.loads(request.get_data(cache=True))
    except ValueError as exc:
        raise BadRequest("Malformed JSON", str(exc)) from exc


def raw_body() -> bytes:
    """The body of this request, read once and as a whole. Raises TooLarge's 413 like every reading of a body."""
    size, limit = request.content_length, request.max_content_length
    if size is None or (limit is not None and size > limit):
        return request.get_data(cache=False)
    body: bytes = request.environ["wsgi.input"].read(size)
    return body


def loaded(schema: Schema, data: Any) -> Any:
    """A body as `schema` reads it, for one that can have several forms. Raises BadRequest like declared arguments."""
    try:
        return schema.load(data)
    except ValidationError as exc:
        exc.messages = {"json": exc.messages}
        Room.ARGUMENTS_PARSER.handle_error(exc, request, schema, error_status_code=None, error_headers=None)


class Room(Blueprint):
    """A blueprint whose arguments are parsed by `Parser`."""

    ARGUMENTS_PARSER = Parser()


class FieldErrorView(Schema):
    msg = fields.String()
    param = fields.String()
    path = fields.String()
    location = fields.String()
    type = fields.String()
    value = fields.Raw()


class ErrorView(Schema):
    """The one error body."""

    error = fields.String(required=True)
    message = fields.String()
    errors = fields.List(fields.Nested(FieldErrorView))
    detail = fields.String(required=True)


class RestApi(Api):
    """flask-smorest with Patchherd's error body."""

    ERROR_SCHEMA = ErrorView

    def handle_http_exception(self, error: HTTPException) -> Any:
        if error.response is not None:
            return error.response
        code = error.code or 500
        if code == 400 and isinstance(error.__cause__, ValueError):
            body = error_body("Malformed JSON", str(error.__cause__))
        elif code >= 500:
            body = error_body("Internal server error")
        else:
            body = error_body(error.name, error.description)
        return current_app.response_class(
            current_app.json.dumps(body),
            code,
            [h for h in error.get_headers() if h[0] != "Content-Type"],
            mimetype="application/json",
        )


class EdgeMiddleware:
    """Around all else: proxy headers, `/path/` = `/path`, gzip bodies inflated within a limit, common headers."""

    def __init__(self, app: WsgiApp, settings: Settings) -> None:
        self.app = app
        self.limit = settings.max_body_bytes
        self.sends_hsts = settings.sends_hsts
        self.proxies = [ipaddress.ip_network(proxy, strict=False) for proxy in settings.trusted_proxies]

    def __call__(self, environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        self._apply_forwarded(environ)
        secure = self.sends_hsts and environ["wsgi.url_scheme"] == "https"
        start_response = _with_headers(start_response, HEADERS | HSTS if secure else HEADERS)
        path = environ.get("PATH_INFO", "")
        if len(path) > 1 and path.endswith("/"):
            environ["PATH_INFO"] = path.rstrip("/") or "/"
        if environ.get("HTTP_CONTENT_ENCODING", "").lower() == "gzip":
            try:
                body = self._inflate(environ)
            except TooLarge as exc:
                return _refuse(start_response, "413 Request Entity Too Large", exc)
            except BadRequest as exc:
                return _refuse(start_response, "400 Bad Request", exc)
            environ["wsgi.input"] = BytesIO(body)
            environ["CONTENT_LENGTH"] = str(len(body))
            environ.pop("HTTP_TRANSFER_ENCODING", None)
            del environ["HTTP_CONTENT_ENCODING"]
        return self.app(environ, start_response)

    def _apply_forwarded(self, environ: dict[str, Any]) -> None:
        """Walk X-Forwarded-For from the right over trusted proxies; the first other address is the client."""
        forwarded = environ.get("HTTP_X_FORWARDED_FOR", "")
        if not self.proxies or not self._trusted(environ.get("REMOTE_ADDR", "")):
            return
        for hop in reversed([part.strip() for part in forwarded.split(",") if part.strip()]):
            if not _is_address(hop):
                break
            environ["REMOTE_ADDR"] = hop
            if not self._trusted(hop):
                break
        scheme = environ.get("HTTP_X_FORWARDED_PROTO", "").split(",")[-1].strip()
        if scheme in {"http", "https"}:
            environ["wsgi.url_scheme"] = scheme
        if host := environ.get("HTTP_X_FORWARDED_HOST", "").split(",")[-1].strip():
            environ["HTTP_HOST"] = host

    def _trusted(self, address: str) -> bool:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None) or parsed
        return any(mapped in network for network in self.proxies)

    def _inflate(self, environ: dict[str, Any]) -> bytes:
        """The inflated body; raises TooLarge over the limit, BadRequest for what is no gzip."""
        length = environ.get("CONTENT_LENGTH") or ""
        if not length and not environ.get("wsgi.input_terminated"):
            length = "0"
        if length and not length.isdecimal():
            raise BadRequest("Malformed Content-Length header")
        packed = environ["wsgi.input"].read(min(int(length or self.limit + 1), self.limit + 1))
        if len(packed) > self.limit:
            raise TooLarge
        inflater = zlib.decompressobj(wbits=31)
        try:
            body = inflater.decompress(packed, self.limit + 1)
        except zlib.error as exc:
            raise BadRequest("Malformed gzip body") from exc
        if len(body) > self.limit:
            raise TooLarge
        if not inflater.eof:
            raise BadRequest("Malformed gzip body", "the body ends before the gzip stream does")
        return body


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _with_headers(start_response: StartResponse, headers: dict[str, str]) -> StartResponse:
    """`start_response` that adds these to what the answer does not say itself."""

    def start(status: str, own: list[tuple[str, str]], *details: Any) -> Any:
        said = {name.lower() for name, _ in own}
        own.extend(pair for pair in headers.items() if pair[0].lower() not in said)
        return start_response(status, own, *details)

    return start


def _refuse(start_response: StartResponse, status: str, error: ApiError) -> list[bytes]:
    body = msgspec.json.encode(error.body())
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


def install(app: Flask, settings: Settings) -> None:
    """Give `app` its JSON, error, connection and header behaviour."""
    app.json = CompactJson(app)
    app.config["MAX_CONTENT_LENGTH"] = settings.max_body_bytes
    app.wsgi_app = EdgeMiddleware(app.wsgi_app, settings)  # type: ignore[method-assign]

    if settings.log_level == "debug":
        _log_requests(app)

    @app.before_request
    def open_connection() -> None:
        asked = request.environ
        if "\x00" in asked["PATH_INFO"] or "%00" in asked.get("QUERY_STRING", ""):
            raise BadRequest("Malformed address", "NUL characters are not possible")
        database.db.connect(reuse_if_open=True)

    @app.teardown_request
    def close_connection(exc: BaseException | None) -> None:
        if not database.db.is_closed():
            database.db.close()

    @app.errorhandler(ApiError)
    def answer_error(error: ApiError) -> Response:
        response = app.response_class(app.json.dumps(error.body()), error.status, mimetype="application/json")
        response.headers.update(error.headers)
        return response

    @app.errorhandler(peewee.DataError)
    @app.errorhandler(OverflowError)  # a number that SQLite cannot take
    def answer_unstorable(error: Exception) -> Response:
        log.warning("value refused by the database", method=request.method, path=request.path)
        return answer_error(BadRequest("Bad request", "a value is too long, too large or malformed"))

    @app.errorhandler(peewee.OperationalError)
    @app.errorhandler(MaxConnectionsExceeded)
    def answer_busy(error: Exception) -> Response:
        log.exception("database busy or away", method=request.method, path=request.path)
        return answer_error(Unavailable(headers={"Retry-After": "5"}))

    @app.errorhandler(peewee.PeeweeException)
    @app.errorhandler(Exception)
    def answer_fault(error: Exception) -> Any:
        log.exception("request failed", method=request.method, path=request.path)
        return app.response_class(app.json.dumps(error_body("Internal server error")), 500, mimetype="application/json")


def _log_requests(app: Flask) -> None:
    @app.before_request
    def start() -> None:
        g.started = time.perf_counter()

    @app.after_request
    def finish(response: Response) -> Response:
        log.debug(
            "request",
            method=request.method,
            path=request.path,
            status=response.status_code,
            ms=round((time.perf_counter() - g.started) * 1000, 1),
            client=request.remote_addr,
        )
        return response


def settings() -> Settings:
    """The settings of the application that answers the current request."""
    found: Settings = current_app.config["PATCHHERD"]
    return found


def paged(rows: Any, *, limit: int, total: int, following: str | None) -> Response:
    """One page of a list; `X-Pagination` has limit, total and `next`: what `after` has to be for the page behind."""
    response = jsonify(rows)
    response.headers["X-Pagination"] = current_app.json.dumps({"limit": limit, "total": total, "next": following})
    return response


def base_url(settings: Settings) -> str:
    """The URL that hosts are told to use for this server, without a trailing slash."""
    return (settings.public_url or request.host_url).rstrip("/")


_HOST_PORT = re.compile(r"^[A-Za-z0-9.\-\[\]:]+$")


def check_host_header() -> None:
    """Refuse Host headers that could smuggle text into generated scripts and links."""
    if not _HOST_PORT.match(request.host):
        raise BadRequest("Malformed Host header")
