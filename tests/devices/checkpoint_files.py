"""Checkpoints opened and written anew with something else in them, as a stranger or a damaged disk could."""
import json
import zipfile

import numpy

from common.files.arrays import HEADER, open_arrays, write_arrays


def parts_of(path):
    """Return the arrays and the header of a checkpoint."""
    with open_arrays(path) as file:
        return file.read_all(), file.header


def rewrite(path, change=lambda header: None, **arrays):
    """Let `change` edit the header, and put arrays in the place of others; None removes one. All hashes are right."""
    held, header = parts_of(path)
    change(header)
    held |= arrays
    write_arrays(path, {name: array for name, array in held.items() if array is not None}, header)


def write_raw(path, header, **members):
    """Write a checkpoint of a header, as text, and of arrays or bytes; nothing is added or checked."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(HEADER, header)
        for name, content in members.items():
            if isinstance(content, bytes):
                archive.writestr(name, content)
            else:
                with archive.open(f"{name}.npy", "w") as member:
                    numpy.lib.format.write_array(member, numpy.asarray(content))


def rewrite_header(path, change):
    """Let `change` edit all of the header, the description of the arrays too."""
    held, header = parts_of(path)
    change(header)
    write_raw(path, json.dumps(header), **held)
