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

_STEP_BY_STEP = "the slices of the steps are the same views, made one at a time"
_SAME_VIEWS = "where the number of rows is still the same, the same views are made again"
_ONE_CALL = "one call needs no other thread, whichever way it is made"
_RACE = "two threads would have to be there within the same microsecond"
_ONE_BLOCK = "one block of all columns is a copy with the same numbers"
_NO_ROWS = "steps in which none of a thread's sequences runs have no rows, and nothing is written"
_ONE_CELL = "all layers of a stack have the same cell"
_BLOCK_LAYOUT = "how the memory of a block's dW lies changes nothing but the time, and rounding at most"
_TIMES_ONE = "times 1 every gradient is the array itself, and copying it onto itself changes nothing"
_ONE_BACKEND = "the constructor lets only arrays of one backend in, and _expect_array looks again before it raises"

_STATES = "states = np.empty((S, rows, H), dtype=self.params[{}].dtype) if memory is None else memory"
_ZEROS = "return np.zeros((packing.N, self.hidden_size), dtype=self.params[{}].dtype) # (N, H)"
_ALL_OF_THEM = "if {}: # all of them"
_STILL_RUN = "if {}: # the sequences that still run are the first ones"
_BOTH_STATES = 'return tuple(self._both(name) for name in ("h", "c") if hasattr(self.readers[{}], name))'
_LAYER_OF_STACK = "self.layers.append(TimeBidirectional(*readers) if bidirectional else readers[{}])"
_EXPECT = "if not isinstance(array, np.ndarray) or self.params and not isinstance(self.params[{}], np.ndarray):"
_PROFILE = "the name of a thread is for whoever reads a profile"
_NOTHING_ADDED = "a step of 0 adds nothing, and strides are whole numbers of bytes"
_LAST_AXIS = "axis 1 is the last one, along which argsort sorts anyway"
_STRIPS_ORDER = (
    'orders = np.argsort(epoch.swapaxes(0, 1).reshape(batches, N * T){}, kind="stable") # (batches, N T)')
_WINDOWS_ORDER = 'return np.argsort(xs.reshape(len(starts) // batch_size, -1){}, kind="stable") # (batches, B * W)'
_ONE_COPY_MORE = "the array is copied into the parameter either way; one copy more only takes time"
_ASSIGNED = "param[...] = np.to_device(array.astype(param.dtype{}))"
_LOW = "low = start + sum(step for step in reach if {})"
_SAVED_ANYWAY = "the last epoch has saved the same files as it ended"
_CHECKED_STATES = "states |= {{f\"state_{{i}}_{{j}}\": np.{} for j in range(len(layer.state))}}"
_STATE = "zeros(shape, dtype=layer.params[0].dtype)"
_ALL_COLLECTED = "collect_params sets the lists, and layers are set before it"
_ONE_ROW = "there is one row, so the last is the first"
_SAME_OF_ALL = "it is the same of all of them"
_FREE = "a figure that is free to choose, and so is the next one"

# (file, scope, lines before, lines after): reason
EXPLAINED = {
    ("common/device/elementwise.py", "_kernel",
     'return fuse(kernel_name=re.sub(r"\\W", "_", function.__name__, flags=re.ASCII) + "_kernel")(write_results)',
     "return fuse()(write_results)"): "the name of a kernel is for whoever reads a profile of a GPU",
    ("common/device/segment_sums.py", "sum_rows_by_id", "return", "pass"): _NO_IDS,
    ("common/device/segment_sums.py", "sum_rows_by_id", "if not ids.size:", "if False:"): _NO_IDS,
    ("common/device/segment_sums.py", "sum_rows_by_id", 'if np.backend == "numpy":', "if False:"): _EITHER_WAY,
    ("common/device/segment_sums.py", "sum_rows_by_id", _IS_FIRST.format(", dtype=bool"), _IS_FIRST.format("")):
        "what is not zero is found among ones as among trues",
    ("common/device/segment_sums.py", "sum_rows_by_id", _REDUCED.format(", axis=0"), _REDUCED.format("")):
        "0 is the axis anyway",
    ("common/device_random.py", "DeviceGenerator.__init__",
     "self.state = int(numpy.random.SeedSequence(seed).generate_state(1, numpy.uint64)[0]), 0",
     "self.state = int(numpy.random.SeedSequence(seed).generate_state(1, numpy.uint64)[-1]), 0"):
        "one number is asked for, so the last is the first",
    ("common/fast/forms.py", "_replace_layers", 'if name not in ("params", "grads"):', "if True:"):
        "arrays are no layers: to look at them too only takes time",
    ("common/fast/forms.py", "_replace_layers", "if form is value:", "if True:"):
        "a layer that is replaced has no inner layer with a fast form, and nobody uses it any more",
    ("common/layers/dense.py", "Embedding.backward",
     'order = np.argsort(ids, kind="stable") # (n,)', "order = np.argsort(ids) # (n,)"):
        "equal ids in another order: the same sums but for rounding, which could differ from machine to machine",
    ("common/device/segment_sums.py", "segment_totals", _ROUNDS,
     "for power in range(((n)).bit_length()): # until step reaches n"): _MORE_ROUNDS,
    ("common/fast/lstm.py", "_each_tile",
     "rows = max(1, TILE // width)", "rows = max(2, TILE // width)"): _TILES,
    ("common/device_random.py", "DeviceGenerator.__init__",
     "self.state = int(numpy.random.SeedSequence(seed).generate_state(1, numpy.uint64)[0]), 0",
     "self.state = int(numpy.random.SeedSequence(seed).generate_state(2, numpy.uint64)[0]), 0"):
        "the first number of a seed sequence does not depend on how many are asked for",
    ("common/layers/recurrent.py", "RecurrentLayer._states",
     "states[:, :packing.N] = 0",
     "states[:, :] = 0"): "the loop over the steps writes the rows from N on before anything reads them",
    ("common/layers/packing.py", "Packing._sort",
     "befores = numpy.concatenate(([0], N + starts[:-1])) # (T,)",
     "befores = numpy.concatenate(([0], N + starts[:])) # (T,)"): "zip stops after T, so the one more is never used",
    ("common/layers/recurrent.py", "RecurrentLayer._states", _STATES.format(0), _STATES.format(-1)): _ONE_DTYPE,
    ("common/layers/recurrent.py", "RecurrentLayer._final", _ZEROS.format(0), _ZEROS.format(-1)): _ONE_DTYPE,
    ("common/layers/packing.py", "Packing.by_step", "if self.order is None:", "if False:"): _STEP_BY_STEP,
    ("common/layers/packing.py", "Packing.by_step",
     "return list(rows.reshape(self.T, self.N, *rows.shape[1:]))", "pass"): _STEP_BY_STEP,
    ("common/layers/packing.py", "Packing.by_step_before", "if self.order is None:", "if False:"): _STEP_BY_STEP,
    ("common/layers/packing.py", "Packing.by_step_before",
     "return self.by_step(states[:self.P])", "pass"): _STEP_BY_STEP,
    ("common/layers/packing.py", "pad", "first = sequences[0]", "first = sequences[-1]"):
        "the sequences of a batch have one kind, one dtype and one size of a step, so each of them tells the same",
    ("common/fast/rnn.py", "FastTimeRNN.forward", "if len(h) != len(h_Wh):", "if True:"): _SAME_VIEWS,
    ("common/fast/rnn.py", "FastTimeRNN.backward", "if len(da_t) != len(dh_t):", "if True:"): _SAME_VIEWS,
    ("common/fast/lstm.py", "FastTimeLSTM._take",
     "return self.buffers.take(name, shape, self.params[0].dtype)",
     "return self.buffers.take(name, shape, self.params[-1].dtype)"): _ONE_DTYPE,
    ("common/fast/lstm.py", "FastTimeLSTM._walk_forward", "if len(a) != n:", "if True:"): _SAME_VIEWS,
    ("common/fast/lstm.py", "FastTimeLSTM._walk_backward", "if len(da_t) != n:", "if True:"): _SAME_VIEWS,
    ("common/fast/lstm.py", "FastTimeLSTM._in_blocks", "if width == W.shape[1]:", "if True:"): _SHARES,
    ("common/fast/lstm.py", "FastTimeLSTM._in_blocks", "if width == W.shape[1]:", "if False:"): _ONE_BLOCK,
    ("common/fast/lstm.py", "FastTimeLSTM._in_blocks", "return W[None]", "pass"): _ONE_BLOCK,
    ("common/fast/lstm.py", "_steps",
     _ALL_OF_THEM.format("share == slice(0, len(lists[0][0]))"), _ALL_OF_THEM.format("False")):
        "a slice of all rows is the same view",
    ("common/fast/lstm.py", "_steps",
     _ALL_OF_THEM.format("share == slice(0, len(lists[0][0]))"),
     _ALL_OF_THEM.format("share == slice(0, len(lists[-1][0]))")): _SAME_ROWS,
    ("common/fast/lstm.py", "_steps",
     _STILL_RUN.format("not len(arrays[0])"), _STILL_RUN.format("not len(arrays[-1])")): _SAME_ROWS,
    ("common/fast/lstm.py", "_steps", _STILL_RUN.format("not len(arrays[0])"), _STILL_RUN.format("False")): _NO_ROWS,
    ("common/fast/lstm.py", "_steps", "return", "pass"): _NO_ROWS,
    ("common/fast/lstm.py", "_each_tile", "P, width = arrays[0].shape", "P, width = arrays[-1].shape"): _TILES,
    ("common/layers/bidirectional.py", "TimeBidirectional.hidden_size",
     "return self.readers[0].hidden_size", "return self.readers[-1].hidden_size"): _TWINS,
    ("common/layers/bidirectional.py", "TimeBidirectional.state",
     _BOTH_STATES.format(0), _BOTH_STATES.format(-1)): _TWINS,
    ("common/layers/bidirectional.py", "TimeBidirectional.backward",
     'if dc is not None and not hasattr(self.readers[0], "c"):',
     'if dc is not None and not hasattr(self.readers[-1], "c"):'): _TWINS,
    ("common/layers/stack.py", "TimeStack.__init__", _LAYER_OF_STACK.format(0), _LAYER_OF_STACK.format(-1)):
        "in one direction there is one reader",
    ("common/layers/stack.py", "TimeStack.forward",
     'if c0 is not None and not hasattr(self.layers[0], "c"):',
     'if c0 is not None and not hasattr(self.layers[-1], "c"):'): _ONE_CELL,
    ("common/layers/stack.py", "TimeStack.forward",
     "states = (h0, c0)[:len(self.layers[0].state)]", "states = (h0, c0)[:len(self.layers[-1].state)]"): _ONE_CELL,
    ("common/fast/loss.py", "TimeAffineSoftmaxWithLoss._like_dW",
     "if dW.flags.c_contiguous:", "if False:"): _BLOCK_LAYOUT,
    ("common/fast/loss.py", "TimeAffineSoftmaxWithLoss._like_dW",
     "if dW.flags.c_contiguous:", "if True:"): _BLOCK_LAYOUT,
    ("common/fast/loss.py", "TimeAffineSoftmaxWithLoss._like_dW",
     "return self.buffers.take(name, dW.shape, dW.dtype)", "pass"): _BLOCK_LAYOUT,
    ("common/fast/loss.py", "TimeAffineSoftmaxWithLoss._tile_loss", "if gradients:", "if True:"):
        "without gradients nobody reads the scores after their losses",
    ("common/fast/loss.py", "TimeAffineSoftmaxWithLoss.backward",
     "if isinstance(dout, int) and dout == 1:", "if False:"): _TIMES_ONE,
    ("common/fast/loss.py", "TimeAffineSoftmaxWithLoss.backward", "return dxs", "pass"): _TIMES_ONE,
    ("common/layers/base.py", "Layer.expect", _EXPECT.format(0), "if True:"):
        "_expect_array looks for the same two things and raises only where one is there",
    ("common/layers/base.py", "Layer.expect", _EXPECT.format(0), _EXPECT.format(-1)): _ONE_BACKEND,
    ("common/device/threads.py", "_pool",
     'return ThreadPoolExecutor(worker_count(), thread_name_prefix="numpy-worker")',
     "return ThreadPoolExecutor(worker_count())"): _PROFILE,
    ("common/device/threads.py", "run_parallel",
     "return [function(*arguments[0])]", "return [function(*arguments[-1])]"): _ONE_CALL,
    ("common/device/threads.py", "OneBlasThread.__enter__",
     "with self._lock:", "with __import__('contextlib').nullcontext():"): _RACE,
    ("common/device/threads.py", "OneBlasThread.__exit__",
     "with self._lock:", "with __import__('contextlib').nullcontext():"): _RACE,
    ("common/training/clip.py", "memory_bounds",
     _LOW.format("step < 0"), _LOW.format("((step) <= (0))")): _NOTHING_ADDED,
    ("common/training/clip.py", "memory_bounds", _LOW.format("step < 0"), _LOW.format("step < 1")): _NOTHING_ADDED,
    ("common/training/clip.py", "memory_bounds",
     "high = start + sum(step for step in reach if step > 0) + array.itemsize",
     "high = start + sum(step for step in reach if ((step) >= (0))) + array.itemsize"): _NOTHING_ADDED,
    ("common/optimizer.py", "SGD.update_one", "if self.weight_decay:", "if True:"):
        "without a decay, 0 times the parameter is added: the branch saves the time",
    ("common/optimizer.py", "ASGD.update_one",
     "values = 0 if self.start is None else self.steps - 1 - self.start",
     "values = 1 if self.start is None else self.steps - 1 - self.start"):
        "the average of no value so far and of one is the parameter",
    ("common/optimizer.py", "ASGD.update_one", "if values <= 1:", "if ((values) < (1)):"):
        "a + (w - a) / 1 is w but for rounding",
    ("common/training/batches.py", "RandomStripBatches._look_ahead",
     "bounds = (epoch * self._strip + numpy.array([done, *ends[ends > done]])).tolist()",
     "bounds = (epoch * self._strip + numpy.array([done, *ends[((ends) >= (done))]])).tolist()"):
        "a batch of no step is noted at its position, and then the one that begins there takes its place",
    ("common/training/batches.py", "RandomStripBatches._look_ahead", "self._ahead = {}", "pass"):
        "what was noted of the epochs before is never looked at: it would only stay in memory",
    ("common/training/batches.py", "_random_lengths",
     "rng, most = numpy.random.default_rng([seed, epoch]), strip // LEAST_STEPS + 1",
     "rng, most = numpy.random.default_rng([seed, epoch]), strip // LEAST_STEPS + 2"):
        "other lengths of the same kind: no test knows their digits",
    ("common/training/batches.py", "_random_lengths",
     "usual = numpy.where(rng.random(most) < FULL_LENGTH, T, T / 2) # (most,)",
     "usual = numpy.where(((rng.random(most)) <= (FULL_LENGTH)), T, T / 2) # (most,)"):
        "no number drawn is just the share",
    ("common/training/batches.py", "StripBatches._order",
     _STRIPS_ORDER.format(", axis=1"), _STRIPS_ORDER.format("")): _LAST_AXIS,
    ("common/training/batches.py", "WindowBatches._sorting",
     _WINDOWS_ORDER.format(", axis=1"), _WINDOWS_ORDER.format("")): _LAST_AXIS,
    ("common/text/vocabulary.py", "Vocabulary.build", "if max_size is not None:", "if True:"):
        "without a size [:None] keeps all words; the branch only saves sorting them",
    ("common/text/vocabulary.py", "Vocabulary.encode", "word = error.args[0]", "word = error.args[-1]"):
        "a KeyError of a dict has one argument, so the last is the first",
    ("common/training/metrics.py", "macro_f1",
     "return float((2 * right / numpy.maximum(occurred_and_predicted, 1)).mean())",
     "return float((2 * right / numpy.maximum(occurred_and_predicted, 2)).mean())"):
        "who is right once makes 2, as it occurred and was predicted; below 2 nobody is right, and F1 is 0 either way",
    ("common/base_model.py", "BaseModel.assign_params", _ASSIGNED.format(", copy=False"), _ASSIGNED.format("")):
        _ONE_COPY_MORE,
    ("common/base_model.py", "BaseModel.assign_params",
     _ASSIGNED.format(", copy=False"), _ASSIGNED.format(", copy=True")): _ONE_COPY_MORE,
    ("common/language_model/run.py", "TrainingRun.resume",
     "if last_epoch and last_epoch[0][0] != len(history):", "if last_epoch and last_epoch[-1][0] != len(history):"):
        "the list holds one epoch at most, so the last is the first",
    ("common/language_model/run.py", "TrainingRun.train",
     "if self.epoch < self.settings.epochs:", "if True:"): _SAVED_ANYWAY,
    ("common/language_model/run.py", "TrainingRun.train",
     "if self.epoch < self.settings.epochs:", "if ((self.epoch) <= (self.settings.epochs)):"): _SAVED_ANYWAY,
    ("common/training/checkpoint.py", "restore",
     _CHECKED_STATES.format(_STATE), _CHECKED_STATES.format(_STATE.replace("zeros", "ones"))):
        "of these arrays only the shape and the dtype are read",
    ("common/training/checkpoint.py", "restore",
     _CHECKED_STATES.format(_STATE), _CHECKED_STATES.format(_STATE.replace("[0]", "[-1]"))): _ONE_DTYPE,
    ("common/language_model/evaluate.py", "perplexity",
     "corpus, nats = known_ids(corpus), np.zeros((), dtype=np.float64)",
     "corpus, nats = known_ids(corpus), np.zeros(())"): "float64 is the dtype anyway",
    ("common/language_model/generate.py", "generate",
     "chosen = probabilities.argmax(axis=1) if greedy else draw(probabilities, rng) # (S,)",
     "chosen = probabilities.argmax() if greedy else draw(probabilities, rng) # (S,)"):
        "greedy samples are all the same, so the likeliest token of the first is that of each",
    ("common/language_model/generate.py", "next_probabilities",
     'order = numpy.argsort(-probabilities, axis=1, kind="stable") # (S, V)',
     'order = numpy.argsort(-probabilities, kind="stable") # (S, V)'): _LAST_AXIS,
    ("common/language_model/generate.py", "next_probabilities",
     "ranked = numpy.take_along_axis(probabilities, order, axis=1) # (S, V)",
     "ranked = numpy.take_along_axis(probabilities, order) # (S, V)"):
        "axis 1 is the last one, which is the axis anyway",
    ("common/language_model/beam.py", "beam_search",
     "model.set_state([tuple(array[parents] for array in state if array is not None) for state in model.get_state()])",
     "model.set_state([tuple(array[parents] for array in state if True) for state in model.get_state()])"):
        "after a forward every layer has a state",
    ("common/language_model/model.py", "LanguageModel._through",
     'if hasattr(layer, "train_flg"):', "if True:"): "a layer that has no train_flg does not read it",
    ("common/language_model/commands.py", "_evaluate",
     "model.reset_state()", "pass"): "a model that was just loaded has no state",
    ("common/language_model/commands.py", "_generate",
     "sorted(banned), wanted.samples)", "list(banned), wanted.samples)"):
        "which banned word comes first does not matter",
    ("ch_lstm/better_rnnlm.py", "BetterRnnlm.__init__",
     "TimeLSTM(*recurrent_weights(wordvec_size, hidden_size, 4, dtype), stateful=True),",
     "TimeLSTM(*recurrent_weights(hidden_size, wordvec_size, 4, dtype), stateful=True),"):
        "the two sizes must be equal",
    ("ch_lstm/encoder_decoder.py", "Encoder.__init__", "super().__init__()", "pass"): _ALL_COLLECTED,
    ("ch_lstm/encoder_decoder.py", "Decoder.__init__", "super().__init__()", "pass"): _ALL_COLLECTED,
    ("ch_lstm/encoder_decoder.py", "Seq2seq.generate",
     "return self.answer(question, start_id, sample_size)[0].tolist()",
     "return self.answer(question, start_id, sample_size)[-1].tolist()"): _ONE_ROW,
    ("ch_lstm/classify.py", "train",
     "best, best_params = -1.0, []", "best, best_params = -2.0, []"):
        "every accuracy is above both",
    ("ch_lstm/classify.py", "WordDropoutBatches.__iter__",
     "xs = numpy.where(self.rng.random(xs.shape) < self.unknown, self.unknown_id, xs) # (N, T)",
     "xs = numpy.where(((self.rng.random(xs.shape)) <= (self.unknown)), self.unknown_id, xs) # (N, T)"):
        "a random number equals the ratio once in 2^53 draws",
    ("ch_lstm/classify.py", "evaluate",
     "def evaluate(model, sequences, classes, batch_size=500):",
     "def evaluate(model, sequences, classes, batch_size=501):"): _FREE,
    ("ch_lstm/classify.py", "_compare",
     "task, seed = of_each[0].task, of_each[0].seed", "task, seed = of_each[-1].task, of_each[0].seed"): _SAME_OF_ALL,
    ("ch_lstm/classify.py", "_compare",
     "task, seed = of_each[0].task, of_each[0].seed", "task, seed = of_each[0].task, of_each[-1].seed"): _SAME_OF_ALL,
    ("ch_lstm/classify.py", "_logistic_regression",
     "fitted = [LogisticRegression(C=C, max_iter=1000).fit(features, labels) for C in (1, 3, 10, 30)]",
     "fitted = [LogisticRegression(C=C, max_iter=1001).fit(features, labels) for C in (1, 3, 10, 30)]"): _FREE,
    ("ch_lstm/classify.py", "_verdict",
     'p, n = max(accuracies), results[0]["matrix"].sum()',
     'p, n = max(accuracies), results[-1]["matrix"].sum()'): _SAME_OF_ALL,
    ("ch_lstm/classify.py", "_predict",
     "probabilities = np.to_cpu(softmax(scores))[0] # (K,)",
     "probabilities = np.to_cpu(softmax(scores))[-1] # (K,)"): _ONE_ROW,
    ("ch_lstm/seq2seq.py", "_run",
     'examples = x_test[:EXAMPLES], t_test[:EXAMPLES], settings.reverse, id_to_char',
     'examples = x_test[:EXAMPLES], t_test[:], settings.reverse, id_to_char'):
        "only as many right answers are read as there are questions",
    ("ch_lstm/seq2seq.py", "_compared",
     'rows.append((str(epoch[0]["epoch"]), *(f"{row[\'accuracy\']:.2%}" for row in epoch)))',
     'rows.append((str(epoch[-1]["epoch"]), *(f"{row[\'accuracy\']:.2%}" for row in epoch)))'): _SAME_OF_ALL,
    ("ch_lstm/seq2seq.py", "_save_attention",
     "row = slice(longest, longest + 1)", "row = slice(longest, longest + 2)"):
        "a second question is answered too, and only the first is shown",
    ("ch_lstm/seq2seq.py", "_save_attention",
     "weights = model.attention_map(x[row], np.concatenate((t[row, :1], answer), axis=1))[0] # (U, T)",
     "weights = model.attention_map(x[row], np.concatenate((t[row, :1], answer), axis=1))[-1] # (U, T)"): _ONE_ROW,
    ("ch_lstm/seq2seq.py", "_save_attention",
     "[id_to_char[char_id] for char_id in answer[0].tolist()],",
     "[id_to_char[char_id] for char_id in answer[-1].tolist()],"): _ONE_ROW,
    ("ch_lstm/grammar.py", "prefers_right_form",
     "scores = model.predict(corpus[None, start:stop])[0] # (T, V)",
     "scores = model.predict(corpus[None, start:stop])[-1] # (T, V)"): _ONE_ROW,
    ("ch_lstm/grammar.py", "_accuracy_table",
     'rows = [("attractor", "distance", "verbs", *(f"epoch {epoch}" for epoch in range(1, len(history) + 1)))]',
     'rows = [("attractor", "distance", "verbs", *(f"epoch {epoch}" for epoch in range(1, len(history) + 2)))]'):
        "format_table leaves out a heading without a column",
    ("ch_lstm/grammar.py", "_save_pictures",
     "distances = [distance for has_attractor, distance in history[0] if has_attractor == attractor]",
     "distances = [distance for has_attractor, distance in history[-1] if has_attractor == attractor]"): _SAME_OF_ALL,
}
