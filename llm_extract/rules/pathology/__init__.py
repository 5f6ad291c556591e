"""Pathology reports: sections, specimens, and the tumours of each specimen, once and with their own size."""
