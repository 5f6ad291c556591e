"""Verbs by which a report says that something is seen; each reader adds those that only it takes for seeing."""

from __future__ import annotations

SEEN = r"observed|seen|visuali[sz]ed|visible|identified|shown|monitored|selected"
"""Choices of a pattern."""
