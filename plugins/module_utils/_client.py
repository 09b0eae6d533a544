# Copyright (c) 2026, Patchherd contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one place of the collection that talks to a Patchherd server. PRIVATE to the collection."""

from __future__ import annotations

import json
import re
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import urlencode, urlsplit

from ansible.module_utils.urls import open_url

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")


class ClientError(Exception):
    """A request did not succeed; C(status) is the HTTP status of the answer, None when there was none."""

    def __init__(self, message, status=None):
        super().__init__(message)
        self.status = status


class BadSetting(ClientError):
    """The address or the token cannot be used as given."""


class Unreachable(ClientError):
    """No complete answer was received."""


class BadAnswer(ClientError):
    """The answer is not what a Patchherd server sends."""


class Denied(ClientError):
    """The server does not accept the token, or the token does not allow this."""


class NotFound(ClientError):
    """The server does not know the thing asked for."""


class Conflict(ClientError):
    """The change contradicts the present state."""


class UnsafeCall(ClientError):
    """A call that changes something was attempted in check mode."""


_BY_STATUS = {401: Denied, 403: Denied, 404: NotFound, 409: Conflict}


class Answer:
    """Status (int), headers (names in lower case) and decoded JSON body (None when empty) of a successful answer."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body


class Client:
    """Send requests to one server with one token. With C(safe_calls_only) whatever is not a read is refused here."""

    def __init__(self, url, token, validate_certs=True, ca_path=None, timeout=30, safe_calls_only=False):
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadSetting("the address of the server must look like https://patchherd.example.com")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise BadSetting("the address of the server must hold no user, password, query or fragment")
        # http.client would quote a malformed header, and with it the token, in its error.
        if not re.match(r"^[\x21-\x7e]+\Z", token):
            raise BadSetting("the token must be one word of printable ASCII characters")
        self.url = url.rstrip("/")
        self._token = token
        self._safe_calls_only = safe_calls_only
        self._open = {"validate_certs": validate_certs, "ca_path": ca_path, "timeout": timeout}

    def request(self, method, path, query=None, body=None, headers=None):
        """Return the Answer to C(method) on C(path), a 304 included; raise a ClientError for everything else.

        C(query) is a dict whose values may be lists, C(body) whatever JSON can hold.
        """
        if self._safe_calls_only and method not in SAFE_METHODS:
            raise UnsafeCall(f"{method} {path} would change something, which check mode does not allow")
        target = self.url + path
        if query:
            target += "?" + urlencode(query, doseq=True)
        sent = {"Authorization": f"Bearer {self._token}", "Accept": "application/json"}
        sent.update(headers or {})
        data = None
        if body is not None:
            sent["Content-Type"] = "application/json"
            data = json.dumps(body)
        try:
            # Redirects are not followed and .netrc is not read: the token goes to the given server and nowhere else.
            with open_url(
                target,
                method=method,
                data=data,
                headers=sent,
                http_agent="patchherd.fleet",
                follow_redirects="none",
                use_netrc=False,
                **self._open,
            ) as response:
                return self._answer(target, response.status, response.headers, response.read())
        except HTTPError as error:
            if error.code == 304:
                return self._answer(target, 304, error.headers, b"")
            raise self._refusal(target, error) from None
        except (OSError, HTTPException, EOFError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise Unreachable(self._clean(f"{target} did not answer: {reason or type(error).__name__}")) from None

    def _answer(self, target, status, headers, text):
        try:
            body = json.loads(text) if text else None
        except ValueError as error:
            raise BadAnswer(self._clean(f"{target} did not answer with JSON: {error}"), status) from None
        return Answer(status, {name.lower(): value for name, value in headers.items()}, body)

    def _refusal(self, target, error):
        """Return the ClientError for an HTTP error, with the reason that the server gives in its body."""
        if 300 <= error.code < 400:
            where = error.headers.get("Location", "elsewhere")
            return BadAnswer(self._clean(f"{target} redirects to {where}; give the final address"), error.code)
        reason = ""
        try:
            body = json.loads(error.read(65536))
            reason = body.get("message") or body.get("detail") or body.get("error") or ""
        except (OSError, HTTPException, ValueError, AttributeError):
            pass  # the status alone has to do
        text = f"{target} answered {error.code} {error.reason}"
        if reason:
            text += f": {reason}"
        return _BY_STATUS.get(error.code, ClientError)(self._clean(text), error.code)

    def _clean(self, text):
        """Return C(text) fit for a message: one line, of bounded length, without the token."""
        return re.sub(r"[\x00-\x1f\x7f]+", " ", text.replace(self._token, "********"))[:1000]
