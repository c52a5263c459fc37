"""Figures and the HTML report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lyot.report.page import write_report

__all__ = ["write_report"]


def __getattr__(name: str) -> object:
    # matplotlib and the data readers are loaded only when a report is written
    if name == "write_report":
        from lyot.report.page import write_report

        return write_report
    raise AttributeError(name)
