"""A backend for tests, driven by words in the text; loaded by import path, also in worker processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path

from llm_extract import Evidence, Lesion, OrganStatement, ReportRecord
from llm_extract.ledger import Result
from llm_extract.records import Provenance
from llm_extract.reports import Report


class ToyBackend:
    """A "mass" is a liver lesion; BOOM raises, CRASH ends the process, HANG never ends, LIE is ungrounded."""

    name = "toy"

    def settings(self) -> Mapping[str, str]:
        return {"version": os.environ.get("TOY_VERSION", "1")}

    def load(self) -> None:
        pass

    def extract(self, report: Report) -> ReportRecord:
        log = os.environ.get("TOY_LOG")
        if log:
            with Path(log).open("a", encoding="utf-8") as file:
                file.write(f"{report.report_id} {os.getpid()}\n")
        time.sleep(float(os.environ.get("TOY_SECONDS", "0")))
        if "BOOM" in report.text:
            raise ValueError(f"cannot read {report.text}")
        if "CRASH" in report.text:
            os.kill(os.getpid(), signal.SIGKILL)
        if "HANG" in report.text:
            time.sleep(600)
        shift = 1 if "LIE" in report.text else 0
        start = report.text.find("mass")
        lesions = ()
        if start >= 0:
            quote = Evidence(
                field="kind", start=start + shift, end=start + shift + 4, text="mass", section="findings"
            )
            lesions = (Lesion(lesion_id="L1", organ="liver", kind="mass", evidence=(quote,)),)
        return ReportRecord(
            report_id=report.report_id,
            source="pathology" if report.kind == "pathology" else "radiology",
            text_sha256=report.text_sha256,
            text_chars=len(report.text),
            status="needs_review" if "REVIEW" in report.text else "ok",
            lesions=lesions,
            organs={"liver": OrganStatement(status="lesion_present" if lesions else "not_mentioned")},
            provenance=Provenance(backend="toy", version="1"),
        )


class NotABackend:
    """Lacks what a backend needs."""


class ToyBatchBackend(ToyBackend):
    """The same for a loop that has many reports in hand; CRASH ends whatever process runs it."""

    name = "toy-batch"

    def run(self, jobs, *, stop):
        for job in jobs:
            if stop():
                return
            record = self.extract(job.report)
            yield Result(job.key, "done", record_json=record.model_dump_json())

    def close(self) -> None:
        pass
