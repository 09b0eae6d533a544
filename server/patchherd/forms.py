# SPDX-License-Identifier: Apache-2.0
# Copyright (c) 2026, Patchherd contributors
"""Fields of request bodies that several rooms share."""

from __future__ import annotations

import re
from typing import Any

from marshmallow import ValidationError, fields, validate

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def one_line(text: str) -> None:
    """Refuse control characters."""
    if _CONTROL.search(text):
        raise ValidationError("Control characters are not allowed.")


class Tidy(fields.String):
    """Text without blanks around it; where none is possible, blank text is none, as web forms mean it."""

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, str):
            value = value.strip() or (None if self.allow_none else "")
        return super().deserialize(value, *args, **kwargs)


class Choice(Tidy):
    """One of a few words, in any case."""

    def __init__(self, choices: tuple[str, ...], **kwargs: Any) -> None:
        super().__init__(validate=validate.OneOf(choices), **kwargs)

    def deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        return super().deserialize(value.lower() if isinstance(value, str) else value, *args, **kwargs)


class Text(Tidy):
    """Text of at most so many characters, or none."""

    def __init__(self, longest: int, **kwargs: Any) -> None:
        super().__init__(allow_none=True, validate=validate.Length(max=longest), **kwargs)


class Name(Tidy):
    """One line of 1 to 255 characters."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(validate=[validate.Length(1, 255), one_line], **kwargs)
