"""Words that several readers share: that something is seen, and that it cannot be told."""

from __future__ import annotations

SEEN = r"observed|seen|visuali[sz]ed|visible|identified|shown|monitored|selected"
"""Choices of a pattern; each reader adds those that only it takes for seeing."""
CANNOT_BE = r"(?:cannot|can not|could not)\sbe\s(?:\w+ly\s)?"
"""What stands before "excluded", "ruled out", "characterised", "told apart"."""
