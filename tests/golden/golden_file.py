"""The one file layout that every golden file of this folder has.

A golden file is a safetensors file. Its metadata holds, as text:

- ``toolkits``: names and exact versions of what produced the numbers;
- ``cases``: a JSON list of ``{"name": ..., "options": {...}, "tensors": {role: tensor name}}``.

A test reads ``cases`` and looks every array up by its role, so it needs no naming rule. Tensors that belong to one case
are called ``<case>.<role>``; tensors that several cases read are called ``shared.<role>`` and stored once.

JSON has no infinities, so options are finite numbers, strings, booleans, lists or null.
"""

import json
import pathlib

import numpy
from safetensors.numpy import load_file, save_file


class GoldenFile:
    """Collects the cases of one topic, then writes and re-reads them."""

    def __init__(self, topic, toolkits):
        self.topic = topic
        self.toolkits = toolkits
        self.tensors = {}
        self.cases = []

    def share(self, role, array):
        """Stores an array that several cases read; returns its tensor name for `case(shared=...)`."""
        name = f"shared.{role}"
        self._store(name, array)
        return name

    def case(self, name, options, arrays=None, shared=None):
        """Adds one case: its options, its own arrays by role, and the names of the shared ones by role."""
        if any(case["name"] == name for case in self.cases):
            raise ValueError(f"{self.topic}: case {name} exists already")
        roles = dict(shared or {})
        for role, array in (arrays or {}).items():
            roles[role] = f"{name}.{role}"
            self._store(roles[role], array)
        self.cases.append({"name": name, "options": options, "tensors": roles})

    def save(self, folder):
        """Writes `<folder>/<topic>.safetensors` and checks that it reads back bit for bit."""
        used = {tensor for case in self.cases for tensor in case["tensors"].values()}
        if used != set(self.tensors):
            raise ValueError(f"{self.topic}: no case reads {set(self.tensors) - used}")
        path = pathlib.Path(folder) / f"{self.topic}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        metadata = {
            "toolkits": self.toolkits,
            "cases": json.dumps(self.cases, allow_nan=False, separators=(",", ":")),
        }
        save_file(self.tensors, path, metadata=metadata)
        sort_metadata(path)
        path.chmod(0o644)
        read = load_file(path)
        for name, array in self.tensors.items():
            same = read[name].dtype == array.dtype and read[name].shape == array.shape
            if not same or read[name].tobytes() != array.tobytes():
                raise ValueError(f"{path}: {name} did not read back")
        print(f"{path.name}: {len(self.cases)} cases, {len(read)} tensors, {path.stat().st_size} bytes")

    def _store(self, name, array):
        if name in self.tensors:
            raise ValueError(f"{self.topic}: tensor {name} exists already")
        array = numpy.array(array)
        if array.dtype == numpy.bool_:
            array = array.astype(numpy.uint8)
        # A copy in C order: save_file writes the buffer as it lies in memory.
        self.tensors[name] = numpy.ascontiguousarray(array).reshape(array.shape)


def sort_metadata(path):
    """Writes the header again with its metadata in order: safetensors leaves it in the random order of a hash map."""
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header = {"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[end:])
