"""Label names that a multi-label NIfTI file carries in its header extension (TotalSegmentator ``--ml``, Connectome)."""

from __future__ import annotations

import re
from pathlib import Path

from rsuper.volumes.limits import ReadLimits
from rsuper.volumes.nifti import read_nifti_extension

_MAX_LABELS = 65_535
_LABEL = re.compile(
    rb'<Label Key="(\d{1,5})"[^<>]{0,200}><!\[CDATA\[([A-Za-z0-9][A-Za-z0-9_.-]{0,127})\]\]></Label>'
)


def read_embedded_labels(path: Path, *, limits: ReadLimits | None = None) -> dict[int, str]:
    """Label value -> name from the label table in the header extension; empty if there is none.

    The table is found by pattern, not by an XML parser: entities and other XML features have no effect.

    Raises:
        DataError: as :func:`rsuper.volumes.nifti.read_nifti`, as far as the header shows it.
    """
    content = read_nifti_extension(path, limits=limits)
    found = _LABEL.findall(content)[:_MAX_LABELS]
    return {int(value): name.decode("ascii") for value, name in found if int(value) > 0}
