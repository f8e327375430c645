"""Edits that no check can notice, each with the reason."""

_ONE_DTYPE = "all parameters of a layer have one dtype; Layer refuses others"
_TWINS = "the constructor refuses readers whose Wx and Wh differ in shape, so both have one size and one kind of state"

_TILES = "how many rows a tile has changes nothing but the time"
_SHARES = "who computes which sequences, and in how many blocks of columns, changes nothing but the time"
_SAME_ROWS = "the arrays of a step all have one row for each sequence"
_MORE_ROUNDS = "in a round more than is needed no row has another of its segment so far before it"
_ROUNDS = "for power in range((n - 1).bit_length()): # until step reaches n"

_EITHER_WAY = "both ways give the same sums; the one for a GPU is only slower on a CPU, and the other waits for a GPU"
_NO_IDS = "without ids there is nothing to add up and nothing to write, either way"
_IS_FIRST = "is_first = np.concatenate((np.ones_like(ids[:1]{}), ids[1:] != ids[:-1])) # (n,)"
_REDUCED = "out[ids[starts]] = np.add.reduceat(rows, starts{})"

# (file, scope, lines before, lines after): reason
EXPLAINED = {
    ("common/elementwise.py", "_kernel",
     "return fuse(kernel_name=function.__name__)(write_results)",
     "return fuse()(write_results)"): "the name of a kernel is for whoever reads a profile of a GPU",
    ("common/segment_sums.py", "sum_rows_by_id", "return", "pass"): _NO_IDS,
    ("common/segment_sums.py", "sum_rows_by_id", "if not ids.size:", "if False:"): _NO_IDS,
    ("common/segment_sums.py", "sum_rows_by_id", 'if np.backend == "numpy":', "if False:"): _EITHER_WAY,
    ("common/segment_sums.py", "sum_rows_by_id", _IS_FIRST.format(", dtype=bool"), _IS_FIRST.format("")):
        "what is not zero is found among ones as among trues",
    ("common/segment_sums.py", "sum_rows_by_id", _REDUCED.format(", axis=0"), _REDUCED.format("")):
        "0 is the axis anyway",
    ("common/device_random.py", "DeviceGenerator.__init__",
     "self.state = int(numpy.random.SeedSequence(seed).generate_state(1, numpy.uint64)[0]), 0",
     "self.state = int(numpy.random.SeedSequence(seed).generate_state(1, numpy.uint64)[-1]), 0"):
        "one number is asked for, so the last is the first",
    ("common/layers.py", "Embedding.backward",
     'order = np.argsort(ids, kind="stable") # (n,)', "order = np.argsort(ids) # (n,)"):
        "equal ids in another order: the same sums but for rounding, which could differ from machine to machine",
    ("common/segment_sums.py", "segment_totals", _ROUNDS,
     "for power in range(((n)).bit_length()): # until step reaches n"): _MORE_ROUNDS,
    ("common/fast_lstm.py", "FastTimeLSTM._take",
     "return self.buffers.take(name, shape, self.params[0].dtype)",
     "return self.buffers.take(name, shape, self.params[1].dtype)"): _ONE_DTYPE,
    ("common/fast_lstm.py", "_each_tile", "P, width = arrays[0].shape", "P, width = arrays[1].shape"): _TILES,
    ("common/fast_lstm.py", "_each_tile",
     "rows = max(1, TILE // width)", "rows = max(2, TILE // width)"): _TILES,
    ("common/fast_lstm.py", "FastTimeLSTM._in_blocks", "if width == W.shape[1]:", "if (width != W.shape[1]):"): _SHARES,
    ("common/fast_lstm.py", "_steps",
     "if share == slice(0, len(lists[0][0])): # all of them",
     "if share == slice(0, len(lists[1][0])): # all of them"): _SAME_ROWS,
    ("common/fast_lstm.py", "_steps",
     "if not len(arrays[0]): # the sequences that still run are the first ones",
     "if not len(arrays[1]): # the sequences that still run are the first ones"): _SAME_ROWS,
    ("common/device_random.py", "DeviceGenerator.__init__",
     "self.state = int(numpy.random.SeedSequence(seed).generate_state(1, numpy.uint64)[0]), 0",
     "self.state = int(numpy.random.SeedSequence(seed).generate_state(2, numpy.uint64)[0]), 0"):
        "the first number of a seed sequence does not depend on how many are asked for",
    ("common/recurrent.py", "RecurrentLayer._states",
     "states = np.empty((S, rows, H), dtype=self.params[0].dtype) if memory is None else memory",
     "states = np.empty((S, rows, H), dtype=self.params[1].dtype) if memory is None else memory"): _ONE_DTYPE,
    ("common/recurrent.py", "RecurrentLayer._states",
     "states[:, :packing.N] = 0",
     "states[:, :] = 0"): "the loop over the steps writes the rows from N on before anything reads them",
    ("common/packing.py", "Packing._sort",
     "befores = numpy.concatenate(([0], N + starts[:-1])) # (T,)",
     "befores = numpy.concatenate(([0], N + starts[:])) # (T,)"): "zip stops after T, so the one more is never used",
    ("common/recurrent.py", "RecurrentLayer._final",
     "return np.zeros((packing.N, self.hidden_size), dtype=self.params[0].dtype) # (N, H)",
     "return np.zeros((packing.N, self.hidden_size), dtype=self.params[1].dtype) # (N, H)"): _ONE_DTYPE,
    ("common/bidirectional.py", "TimeBidirectional.hidden_size",
     "return self.readers[0].hidden_size",
     "return self.readers[1].hidden_size"): _TWINS,
    ("common/bidirectional.py", "TimeBidirectional.state",
     'return tuple(self._both(name) for name in ("h", "c") if hasattr(self.readers[0], name))',
     'return tuple(self._both(name) for name in ("h", "c") if hasattr(self.readers[1], name))'): _TWINS,
    ("common/bidirectional.py", "TimeBidirectional.backward",
     'if dc is not None and not hasattr(self.readers[0], "c"):',
     'if dc is not None and not hasattr(self.readers[1], "c"):'): _TWINS,
}
