"""The masks of a case: one file a structure, or labels of one file, under the names of the class map."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np

from rsuper.data.cases_table import is_id
from rsuper.data.class_map import ClassMap
from rsuper.data.paths import contained, refuse_predictions, volume_stem
from rsuper.errors import DataError
from rsuper.volumes import Volume, read_embedded_labels, read_labels, read_mask, require_same_grid

_MASK_SUFFIXES = (".nii.gz", ".nii")


@dataclass(frozen=True, eq=False, kw_only=True)
class CaseMasks:
    """Finds and reads masks.

    Args:
        root: the dataset folder.
        class_map: which files are which structures.
        labels: label value -> source name of the multi-label files; empty where those name their labels themselves.
    """

    root: Path
    class_map: ClassMap
    labels: dict[int, str]

    def sources(self, case_id: str) -> dict[str, tuple[str, ...]]:
        """Structure -> the source names whose union it is, for what the case has.

        Raises:
            DataError: ``predictions_as_labels``, ``path_escapes``, ``label_table_missing``.
        """
        available = set(self._mask_files(case_id))
        label_path = self._label_path(case_id)
        if label_path is not None:
            available |= set(self._labels_of(label_path).values())
        return self.class_map.resolve(available)

    def read(self, case_id: str, name: str) -> Volume:
        """Read one structure as bool, in its own axis order.

        Raises:
            DataError: ``structure_missing``, ``grid_mismatch`` between the files of one structure, the codes of
                :meth:`sources`, or what :func:`rsuper.volumes.read_mask` finds.
        """
        sources = self.sources(case_id).get(name)
        if sources is None:
            raise DataError(
                f"there is no mask {name}",
                code="structure_missing",
                hint="see the case's segmentations folder",
            )
        files = self._mask_files(case_id)
        masks = [
            read_mask(files[source]) if source in files else self._label_mask(case_id, source)
            for source in sources
        ]
        for source, mask in zip(sources[1:], masks[1:], strict=True):
            require_same_grid(masks[0], mask, names=(sources[0], source))
        return masks[0].with_array(np.logical_or.reduce([mask.array for mask in masks]))

    def files(self, case_id: str) -> tuple[Path, ...]:
        """Every file that masks of the case are read from."""
        label_map = self._label_path(case_id)
        return (*self._mask_files(case_id).values(), *([] if label_map is None else [label_map]))

    def _mask_files(self, case_id: str) -> dict[str, Path]:
        """Source name -> file, for the masks that lie one a file."""
        if self.class_map.masks is None:
            return {}
        pattern = PurePosixPath(self.class_map.masks)
        folder = self.root / str(pattern.parent).format(case_id=case_id, structure="")
        if not folder.is_dir():
            return {}
        contained(self.root, folder, case_id=case_id)
        refuse_predictions(folder, case_id=case_id)
        refuse_predictions(self.root / case_id, case_id=case_id)
        stem = re.escape(volume_stem(pattern.name)).replace(re.escape("{structure}"), "(?P<structure>.+)")
        name = re.compile(stem.replace(re.escape("{case_id}"), re.escape(case_id)))
        files: dict[str, Path] = {}
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            match = name.fullmatch(volume_stem(entry.name))
            if match and entry.name.endswith(_MASK_SUFFIXES) and is_id(match["structure"]):
                path = folder / entry.name
                if entry.is_symlink():
                    contained(self.root, path, case_id=case_id)
                files.setdefault(match["structure"], path)
        return files

    def _label_path(self, case_id: str) -> Path | None:
        if self.class_map.label_file is None:
            return None
        path = self.root / self.class_map.label_file.format(case_id=case_id)
        if not path.is_file():
            return None
        refuse_predictions(path.parent, case_id=case_id)
        return contained(self.root, path, case_id=case_id)

    def _labels_of(self, path: Path) -> dict[int, str]:
        """Label value -> source name: from the class map or its table, else from the file's own header."""
        if self.labels:
            return self.labels
        if path not in self._embedded_labels:
            self._embedded_labels[path] = read_embedded_labels(path)
        if not self._embedded_labels[path]:
            raise DataError(
                f"there are no names for the labels of {path.name}",
                code="label_table_missing",
                hint='write labels.json ({"1": "liver", …}) or list them in the class map',
            )
        return self._embedded_labels[path]

    def _label_mask(self, case_id: str, source: str) -> Volume:
        path = self._label_path(case_id)
        if path is None:
            raise DataError(f"there is no mask {source}", code="structure_missing")
        if path not in self._last_label_map:
            self._last_label_map.clear()
            self._last_label_map[path] = read_labels(path)
        label_map = self._last_label_map[path]
        values = [value for value, name in self._labels_of(path).items() if name == source]
        return label_map.with_array(np.isin(label_map.array, values))

    @cached_property
    def _last_label_map(self) -> dict[Path, Volume]:
        """The multi-label file read last: its structures are asked for one after another."""
        return {}

    @cached_property
    def _embedded_labels(self) -> dict[Path, dict[int, str]]:
        return {}
