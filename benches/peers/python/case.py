"""What is measured: one layer, its numbers in raw files of a folder that every worker reads."""
import os

import numpy as np

FILE_TYPES = {"f32": "<f4", "f16": "<f2", "i8": "i1", "u8": "u1", "u4": "u1"}  # u4: one code in each byte


class Case:
    def __init__(self, fields):
        self.kind, self.way, self.folder = fields["kind"], fields.get("way", ""), fields["folder"]
        self.m, self.k, self.n = (int(fields[name]) for name in "mkn")
        self.group = int(fields["group"])
        self.sparsity = float(fields["sparsity"])
        self.pattern = fields["pattern"]
        self.threads = int(os.environ.get("PEERS_THREADS", "1"))

    def read(self, name):
        """The array in the file `name`: x is [M, K], weights and codes are [N, K], scales [N] or [N, groups]."""
        stem, suffix = name.split(".")
        rows = self.m if stem == "x" else self.n
        values = np.fromfile(os.path.join(self.folder, name), dtype=FILE_TYPES[suffix])
        return values if stem == "scales" else values.reshape(rows, -1)

    def write(self, name, values):
        values.astype(FILE_TYPES[name.split(".")[1]]).tofile(os.path.join(self.folder, name))

    def pairs_of_codes(self):
        """int4 codes, two in a byte, the first in the low half: [N, K / 2]."""
        codes = self.read("codes.u4")
        return codes[:, 0::2] | (codes[:, 1::2] << 4)

    def whole_groups(self):
        if self.k % self.group:
            raise ValueError(f"needs inputs in whole groups of {self.group}")
