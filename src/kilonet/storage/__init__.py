"""Files on disk: atomic writes, locks, checksums, records with their provenance, run folders."""

from kilonet.storage.record import EpochRow, RunRecord
from kilonet.storage.run_folder import RunFolder

__all__ = ["EpochRow", "RunFolder", "RunRecord"]
