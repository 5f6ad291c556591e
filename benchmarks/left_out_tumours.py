"""Organ masks that leave the tumour out: how much of it the region still holds, and how much is called healthy.

    python benchmarks/left_out_tumours.py            # results/left_out_tumours.json and the table of README.md

Pancreas phantoms of the demo study whose reports state the size and the part of each tumour; reports through the rules,
targets from the records. Masks: whole, with the tumour cut out of the pancreas and its parts, eroded by 3 mm. They are
used as they are, with the gaps filled that a lesion of the stated size may have left, and with the room beside them
open that it can reach (the default of the package).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy import ndimage
from supervision_conditions import CONDITIONS, host_masks, policy_of, states_size_and_part

from llm_extract.backends.rules import RulesBackend
from llm_extract.records import ReportRecord
from llm_extract.reports import Report
from rsuper.demo.recipe import LESION_CLASS, phantom_config
from rsuper.supervision import build_case_targets, crop_label
from rsuper.synthesis.phantom_case import PhantomCase, make_case

RESULTS = Path(__file__).resolve().parent / "results" / "left_out_tumours.json"
SEED = 77
MASKS = {"whole": "size_part", "tumour cut out": "host_punched", "eroded by 3 mm": "host_eroded"}
USES = {"as they are": "as_is", "gaps filled": "filled", "gaps filled, room beside them open": "open"}
Row = dict[str, float]


def cases(count: int) -> list[tuple[PhantomCase, ReportRecord]]:
    """Phantoms with tumours whose report states size and part."""
    backend, found, index = RulesBackend(), [], 0
    while len(found) < count:
        case, index = make_case(SEED, index, phantom_config()), index + 1
        if case.lesion_masks[LESION_CLASS].any():
            record = backend.extract(Report(report_id=case.case_id, text=case.report))
            if states_size_and_part(record):
                found.append((case, record))
    return found


def figures(case: PhantomCase, record: ReportRecord, masks: str, use: str) -> Row | None:
    """What becomes of one case; None where it cannot be used."""
    condition = replace(CONDITIONS[MASKS[masks]], host_use=USES[use])
    tumour = case.lesion_masks[LESION_CLASS]
    targets = build_case_targets(
        [record],
        host_masks(condition, dict(case.organs), tumour, spacing_mm=case.spacing_mm),
        case_id=case.case_id,
        spacing_mm=case.spacing_mm,
        lesion_classes=(LESION_CLASS,),
        voxel_labelled=frozenset(),
        policy=policy_of(condition),
    )
    target = targets.classes[LESION_CLASS]
    if target.state != "reported" or target.weight == 0 or target.region is None:
        return None
    known = crop_label(targets, LESION_CLASS, (0, 0, 0), targets.shape).known
    searched = np.logical_or.reduce(
        [one.centers.numpy() for one in target.lesions if one.centers is not None]
    )
    away_mm = ndimage.distance_transform_edt(~searched, sampling=case.spacing_mm)
    pieces, count = ndimage.label(tumour)
    centers = [
        tuple(np.round(c).astype(int)) for c in ndimage.center_of_mass(tumour, pieces, range(1, count + 1))
    ]
    voxel_ml = float(np.prod(case.spacing_mm)) / 1000
    return {
        "in_region": float(target.region[tumour].mean()),
        "called_healthy": float(known[tumour].mean()),
        "centre_away_mm": float(np.mean([away_mm[center] for center in centers])),
        "region_ml": float(target.region.sum()) * voxel_ml,
        "unknown_ml": float((~known).sum()) * voxel_ml,
    }


def table(document: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """Markdown."""
    lines = [
        "| masks | used | tumour in the region | called healthy | search kept from the centre by | region | unknown |",
        "|---|---|---|---|---|---|---|",
    ]
    for masks, uses in document.items():
        for use, row in uses.items():
            lines.append(
                f"| {masks} | {use} | {row['in_region']:.1%} | {row['called_healthy']:.1%} "
                f"| {row['centre_away_mm']:.1f} mm | {row['region_ml']:.0f} ml | {row['unknown_ml']:.0f} ml |"
            )
    return lines


def mean(rows: Sequence[Row]) -> Row:
    """Mean of every figure, and how many cases there are."""
    return {name: round(float(np.mean([row[name] for row in rows])), 4) for name in rows[0]} | {
        "cases": len(rows)
    }


def main() -> None:
    """Build, count, write, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=30)
    parser.add_argument("--json", type=Path, default=RESULTS)
    args = parser.parse_args()
    drawn = cases(args.cases)
    document: dict[str, dict[str, Row]] = {}
    for masks in MASKS:
        document[masks] = {}
        for use in USES:
            found = [figures(case, record, masks, use) for case, record in drawn]
            document[masks][use] = mean([row for row in found if row is not None])
    args.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(document)))


if __name__ == "__main__":
    main()
