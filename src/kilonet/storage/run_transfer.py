"""A run's files as bytes: how a run that has a checkpoint continues in another folder.

The files state the path of the run's data set, which may differ there; all else is equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kilonet.spec import Run, data_path, to_toml
from kilonet.storage.checksums import json_from_bytes, json_to_bytes
from kilonet.storage.run_folder import CHECKPOINT, PROVENANCE, SPEC, WRITTEN, RunFolder, sha256


def read_files(folder: RunFolder, *, run: Run) -> dict[str, bytes]:
    """The files of a run with a checkpoint, by name; none of a run without.

    Args:
        folder: the run's.
        run: what the files are to state; as the run, but perhaps with another path of its data.

    Raises:
        StorageError: the spec or its provenance is damaged, or a file cannot be read.
    """
    if folder.spec() is None or folder.read_file(CHECKPOINT) is None:
        return {}
    found = {name: folder.read_file(name) for name in WRITTEN}
    files = {name: content for name, content in found.items() if content is not None}
    spec = to_toml(run).encode()
    return {**files, SPEC: spec, PROVENANCE: _restated(files[PROVENANCE], run, spec=spec)}


def write_files(
    folder: RunFolder,
    files: Mapping[str, bytes],
    *,
    run: Run,
    before: Mapping[str, bytes] | None = None,
) -> None:
    """Write the files of a run that was trained elsewhere, in the order of a training here.

    Args:
        folder: the run's, here.
        files: as :func:`read_files` returns them there.
        run: the run here.
        before: as it returns them here; those that are equal are not written again.

    Raises:
        StorageError: as :meth:`RunFolder.begin`.
    """
    before = before or {}
    if not before:
        folder.clear()
    spec = (folder.read_file(SPEC) if before else None) or to_toml(run, folder=folder.path).encode()
    for name in WRITTEN:
        if name not in files or files[name] == before.get(name):
            continue
        content = files[name]
        if name == SPEC:
            content = spec
        elif name == PROVENANCE:
            content = _restated(content, run, spec=spec)
        folder.write_file(name, content)


def _restated(provenance: bytes, run: Run, *, spec: bytes) -> bytes:
    """``environment.json`` for a spec of the same run with its own path of data."""
    path = data_path(run.data.name)

    def with_path(part: dict[str, Any]) -> dict[str, Any]:
        data = {key: value for key, value in part["data"].items() if key != "path"}
        return {**part, "data": data | ({"path": path} if path else {})}

    content: dict[str, Any] = json_from_bytes(provenance)
    resumed = [with_path(part) for part in content.get("resumed", [])]
    content = with_path({**content, "run_sha256": sha256(spec)})
    return json_to_bytes({**content, "resumed": resumed} if resumed else content)
