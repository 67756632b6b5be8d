"""Kinds of options that several benchmarks take."""

from __future__ import annotations

from typing import Any

import click

TRACKER = "correlation"
"""The tracker of the documentation's tables, where a command names no other."""


class Size(click.ParamType):
    """WIDTHxHEIGHT."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        try:
            width, height = (int(v) for v in str(value).lower().split("x"))
        except ValueError:
            self.fail(f"expected WIDTHxHEIGHT such as 1280x720, got {value!r}")
        return width, height
