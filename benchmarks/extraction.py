"""Speed of the rules on synthetic reports of about 2 kB, in one process and over a pool of worker processes.

Run: ``python benchmarks/extraction.py [--reports 600] [--workers 1 2] [--json PATH]``. The texts are made of sentences
with other organs, sizes and places each time, as telling ones and as normal ones; they are of the length and density of
real reports, not of their variety. One core: CPU seconds of this process, so that other jobs do not count.
Pool: wall time from the first result to the last; start-up of the workers is told apart.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import time
from pathlib import Path

from llm_extract.backends import extract_checked, load_backend
from llm_extract.language import is_english
from llm_extract.ledger import Job
from llm_extract.reports import Report
from llm_extract.workers import WorkerPool

CHARS = 2000
FINDINGS = (
    "There is a {size} mm {density} {kind} in segment {segment} of the liver, previously {prior} mm.",
    "A {density} mass of {size} x {second} mm is seen in the {third} of the pancreas without ductal dilatation.",
    "{side} kidney: {count} simple cysts, the largest {size} mm in the {pole} pole.",
    "Right upper lobe nodule measuring {small} mm (series 4, image {image}), unchanged since 2021.",
    "A {small} mm nodule of the {side} adrenal gland is compatible with an adenoma.",
    "Sclerotic focus of {small} mm in the L{vertebra} vertebral body, likely a bone island.",
    "Enlarged portocaval lymph node with a short axis of {size} mm.",
    "Hypodense lesions in both lobes of the liver, up to {small} mm, too small to characterize.",
)
NORMAL = (
    "The spleen is normal in size without focal lesion.",
    "The gallbladder is surgically absent; the common bile duct measures {small} mm.",
    "No hydronephrosis. The urinary bladder is partially distended and unremarkable.",
    "Stomach, duodenum and small bowel are of normal calibre. No free air or ascites.",
    "The abdominal aorta measures {image} mm with mild atherosclerotic calcification.",
    "There is no evidence of pulmonary embolism. The heart is of normal size, no pericardial effusion.",
    "The uterus and the adnexa are unremarkable for age.",
    "Degenerative changes of the thoracolumbar spine without suspicious osseous lesion.",
    "No pathologically enlarged mediastinal, hilar or axillary lymph nodes.",
)


def synthetic_report(seed: int) -> str:
    """A report of about 2,000 characters with one to four findings and an impression; one seed, one text."""
    random_of = random.Random(seed)
    lines = ["TECHNIQUE: CT of the chest, abdomen and pelvis in the portal venous phase.", "", "FINDINGS:"]
    told = random_of.randint(1, 4)
    length = 0
    while length < CHARS - 350:
        pool = FINDINGS if told > 0 and random_of.random() < 0.45 else NORMAL
        told -= pool is FINDINGS
        line = random_of.choice(pool).format(
            size=random_of.randint(9, 70),
            second=random_of.randint(8, 40),
            small=random_of.randint(3, 9),
            prior=random_of.randint(9, 70),
            image=random_of.randint(11, 30),
            vertebra=random_of.randint(1, 5),
            segment=random_of.randint(2, 8),
            count=random_of.choice(["two", "three", "several"]),
            density=random_of.choice(["hypodense", "hyperdense", "hypoattenuating"]),
            kind=random_of.choice(["lesion", "mass", "metastasis"]),
            third=random_of.choice(["head", "body", "tail"]),
            side=random_of.choice(["Left", "Right"]),
            pole=random_of.choice(["upper", "lower"]),
        )
        lines.append(line)
        length += len(line) + 1
    size = random_of.randint(9, 70)
    lines += ["", "IMPRESSION:", f"1. Hypodense mass of {size} mm in the liver, suspicious for metastasis."]
    lines += ["2. No acute abnormality of the chest. Follow-up in 3 months is recommended."]
    return "\n".join(lines)


def one_core(reports: list[Report]) -> dict[str, float]:
    """Reports a CPU second of the whole backend, grounding check and JSON included, after a warm-up."""
    backend = load_backend("rules")
    started = time.process_time()
    backend.load()
    start_s = time.process_time() - started
    for report in reports[:20]:
        extract_checked(backend, report)
    started = time.process_time()
    lesions = sum(len(extract_checked(backend, report).lesions) for report in reports)
    rules_s = time.process_time() - started
    records = [extract_checked(backend, report) for report in reports[:100]]
    started = time.process_time()
    for record in records:
        record.model_dump_json()
    json_s = (time.process_time() - started) / len(records)
    started = time.process_time()
    for report in reports:
        is_english(report.text)
    gate_s = (time.process_time() - started) / len(reports)
    return {
        "start_cpu_s": start_s,
        "reports_per_cpu_s": len(reports) / (rules_s + json_s * len(reports)),
        "json_ms": 1000 * json_s,
        "language_gate_ms": 1000 * gate_s,
        "lesions_per_report": lesions / len(reports),
    }


def pool(reports: list[Report], workers: int) -> dict[str, float]:
    """Reports a second of wall time over worker processes, from the first result to the last."""
    jobs = (Job(str(index), report) for index, report in enumerate(reports))
    begun = time.perf_counter()
    with WorkerPool("rules", workers, timeout_s=60.0) as running:
        first = last = 0.0
        number = 0
        for _ in running.run(jobs):
            last = time.perf_counter()
            first = first or last
            number += 1
    return {
        "workers": workers,
        "reports_per_s": (number - 1) / max(last - first, 1e-9),
        "start_s": first - begun,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reports", type=int, default=600)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    texts = [synthetic_report(seed) for seed in range(arguments.reports)]
    reports = [Report(report_id=f"R{index}", text=text) for index, text in enumerate(texts)]
    result = {
        "reports": len(reports),
        "mean_chars": sum(map(len, texts)) / len(texts),
        "processors": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "one_core": one_core(reports),
        "pool": [pool(reports, workers) for workers in arguments.workers],
    }
    print(
        f"{result['reports']} reports of {result['mean_chars']:.0f} characters, load {result['load_before']:.1f}"
    )
    for name, value in result["one_core"].items():
        print(f"one core   {name:22s} {value:10.2f}")
    for row in result["pool"]:
        print(
            f"pool of {row['workers']}  {row['reports_per_s']:8.0f} reports/s, start {row['start_s']:.1f} s"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
