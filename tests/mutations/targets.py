"""What `make test-mutations` edits, and the tests that must notice.

A key is a file from the repository root. Its value: the classes and functions to edit, None for all, and
the tests to run, as files in tests/ or the beginnings of names of tests in them.
"""

CHECKER = "common/gradients/test_checker.py::test_every_layer[numpy-"
SCRIPTS = "common/language_model/test_commands.py"
OWN_TEXT = "common/language_model/test_own_text.py"
BOTH_DEVICES = "devices/test_training_step.py"
GATES = "common/layers/test_gate_activations.py"

TARGETS = {
    "common/functions.py": (None, ["common/test_functions.py", "common/device/test_elementwise.py", CHECKER]),
    "common/device/elementwise.py": (None, ["common/device/test_elementwise.py", BOTH_DEVICES]),
    "common/device/ids.py": (None, ["common/device/test_ids.py", CHECKER]),
    "common/device/segment_sums.py": (None, [
        "common/device/test_segment_sums.py", "common/layers/test_dense.py", BOTH_DEVICES, CHECKER]),
    "common/device_random.py": (None, ["common/test_device_random.py", CHECKER]),
    "common/layers/dense.py": (None, [
        "common/layers/test_dense.py", "common/device/test_ids.py", "common/layers/test_base.py", BOTH_DEVICES,
        CHECKER]),
    "common/layers/recurrent.py": ({"RecurrentLayer"}, [
        "common/layers/test_rnn.py", "common/layers/test_lstm.py", "common/layers/test_base.py",
        "common/fast/test_lstm.py", CHECKER]),
    "common/layers/packing.py": (None, ["common/layers/test_packing.py", CHECKER]),
    "common/layers/rnn.py": (None, [
        "common/layers/test_rnn.py", "common/layers/test_base.py", GATES, CHECKER]),
    "common/fast/rnn.py": (None, ["common/fast/test_rnn.py", CHECKER]),
    "common/layers/lstm.py": (None, [
        "common/layers/test_lstm.py", "common/layers/test_base.py", GATES, CHECKER]),
    "common/fast/lstm.py": (None, ["common/fast/test_lstm.py", "common/layers/test_base.py", CHECKER]),
    "common/layers/gru.py": (None, [
        "common/layers/test_gru.py", "common/layers/test_base.py", GATES, CHECKER]),
    "common/layers/bidirectional.py": (None, [
        "common/layers/test_bidirectional.py", "common/layers/test_base.py", CHECKER]),
    "common/layers/stack.py": (None, ["common/layers/test_stack.py", "common/layers/test_base.py", CHECKER]),
    "common/layers/time.py": (None, [
        "common/layers/test_time.py", "common/layers/test_base.py", "common/layers/test_packing.py",
        "common/layers/test_dense.py::test_a_number_equal_to_the_dropout_ratio", CHECKER]),
    "common/layers/regularization.py": (None, ["common/layers/test_regularization.py"]),
    "common/layers/weight_drop.py": (None, ["common/layers/test_weight_drop.py"]),
    "common/layers/sampled_softmax.py": (None, ["common/layers/test_sampled_softmax.py", CHECKER]),
    "common/layers/sparse.py": (None, ["common/training/test_sparse_gradients.py"]),
    "common/fast/loss.py": (None, ["common/fast/test_loss.py", "common/layers/test_base.py", CHECKER]),
    "common/layers/base.py": (None, ["common/layers/test_base.py", "common/layers/test_dense.py", CHECKER]),
    "common/layers/attention.py": (None, ["common/layers/test_attention.py", "common/layers/test_base.py", CHECKER]),
    "common/layers/losses.py": (None, [
        "common/layers/test_squared_error.py", "common/layers/test_dense.py", "common/device/test_ids.py",
        "common/layers/test_base.py", "common/fast/test_forms.py", BOTH_DEVICES, CHECKER]),
    "common/fast/forms.py": (None, ["common/fast/test_forms.py", "common/language_model/test_model.py"]),
    "common/fast/buffers.py": (None, [
        "common/fast/test_buffers.py", "common/fast/test_lstm.py", "common/fast/test_loss.py"]),
    "common/fast/sampled_softmax.py": (None, ["common/fast/test_sampled_softmax.py", CHECKER]),
    "common/device/threads.py": (None, ["common/device/test_threads.py", "common/fast/test_lstm.py"]),
    "common/optimizer.py": (None, ["common/test_optimizer.py", BOTH_DEVICES]),
    "common/training/clip.py": (None, ["common/training/test_clip.py", "common/test_trainer.py", BOTH_DEVICES]),
    "common/layers/initial.py": (None, ["common/layers/test_initial.py"]),
    "common/training/epochs.py": (None, [
        "common/training/test_epochs.py", "common/training/test_finite.py", "common/training/test_clip.py"]),
    "common/training/schedules.py": (None, ["common/training/test_schedules.py"]),
    "common/files/safetensors.py": (None, ["common/files/test_safetensors.py"]),
    "common/language_model/model_file.py": (None, ["ch_lstm/test_small_model.py"]),
    "common/training/accumulate.py": (None, ["common/training/test_accumulate.py"]),
    "common/training/batches.py": (None, [
        "common/training/test_batches.py", "common/training/test_epochs.py", "common/test_trainer.py"]),
    "common/text/tokenizers.py": (None, ["common/text/test_vocabulary.py", "common/text/test_scripts.py"]),
    "common/text/reading.py": (None, ["common/text/test_reading.py"]),
    "common/text/parts.py": (None, ["common/text/test_parts.py", "dataset/test_corpus.py"]),
    "common/text/vocabulary.py": (None, ["common/text/test_vocabulary.py"]),
    "common/training/metrics.py": (None, ["common/training/test_metrics.py"]),
    "common/base_model.py": (None, [
        "common/test_base_model.py", "common/files/test_pickles.py", "common/test_forget.py"]),
    "common/cli/command.py": (None, ["common/cli/test_command.py", "common/cli/test_settings.py", SCRIPTS]),
    "common/cli/settings.py": (None, ["common/cli/test_settings.py", SCRIPTS]),
    "common/cli/signals.py": (None, ["common/language_model/test_run.py"]),
    "common/files/atomic.py": (None, ["common/files/test_atomic.py"]),
    "common/files/lock.py": (None, ["common/files/test_atomic.py"]),
    "common/files/json_text.py": (None, ["common/files/test_json_text.py"]),
    "common/files/arrays.py": (None, ["common/files/test_arrays.py"]),
    "common/files/pickles.py": (None, ["common/files/test_pickles.py"]),
    "common/language_model/machine.py": (None, ["common/language_model/test_machine.py"]),
    "common/training/finite.py": (None, ["common/training/test_finite.py"]),
    "dataset/download.py": (None, ["dataset/test_downloads.py"]),
    "common/trainer.py": (None, ["common/test_trainer.py"]),
    "common/language_model/progress.py": (None, ["common/language_model/test_run.py"]),
    "common/language_model/run.py": (None, ["common/language_model/test_run.py", SCRIPTS, OWN_TEXT]),
    "common/training/checkpoint.py": (None, ["common/training/test_checkpoint.py", SCRIPTS]),
    "common/language_model/evaluate.py": (None, ["common/language_model/test_evaluate.py", SCRIPTS]),
    "common/language_model/generate.py": (None, ["common/language_model/test_generate.py", SCRIPTS, OWN_TEXT]),
    "common/language_model/beam.py": (None, ["common/language_model/test_beam.py", "common/test_forget.py"]),
    "common/language_model/model.py": (None, [
        "common/language_model/test_model.py", "common/test_forget.py", "common/language_model/test_generate.py",
        "common/language_model/test_evaluate.py", BOTH_DEVICES]),
    "common/language_model/report.py": (None, ["common/language_model/test_report.py"]),
    "common/language_model/commands.py": (None, [SCRIPTS, OWN_TEXT]),
    "dataset/corpus.py": (None, ["dataset/test_corpus.py"]),
    "ch_rnn/simple_rnnlm.py": (None, ["common/language_model/test_model.py"]),
    "ch_lstm/rnnlm.py": (None, ["common/language_model/test_model.py"]),
    "ch_lstm/better_rnnlm.py": (None, ["common/language_model/test_model.py"]),
    "ch_lstm/awd_lstm.py": (None, ["ch_lstm/test_awd_lstm.py"]),
    "common/language_model/cell_rnnlm.py": (None, ["common/language_model/test_model.py"]),
    "ch_lstm/classifier.py": (None, [
        "ch_lstm/test_classifier.py", "ch_lstm/test_classify.py", "common/test_forget.py"]),
    "ch_lstm/classify.py": (None, ["ch_lstm/test_classify.py"]),
    "ch_lstm/encoder_decoder.py": (None, [
        "ch_lstm/test_encoder_decoder.py", "ch_lstm/test_seq2seq.py", "common/test_forget.py"]),
    "ch_lstm/seq2seq.py": (None, ["ch_lstm/test_seq2seq.py"]),
    "ch_lstm/grammar.py": (None, ["ch_lstm/test_grammar.py"]),
}

# Files that have changed since all of their edits were made: in these an edit may survive without an explanation.
CHANGED = {
    "common/files/safetensors.py", "common/language_model/model_file.py", "common/layers/sampled_softmax.py",
    "common/layers/sparse.py",
    "common/base_model.py", "common/cli/signals.py", "common/files/arrays.py", "common/files/atomic.py",
    "common/files/json_text.py", "common/files/lock.py", "common/files/pickles.py",
    "common/language_model/machine.py", "common/language_model/progress.py", "common/text/vocabulary.py",
    "common/training/finite.py", "dataset/download.py",
    "ch_lstm/better_rnnlm.py", "ch_lstm/classifier.py", "ch_lstm/classify.py", "ch_lstm/encoder_decoder.py",
    "ch_lstm/grammar.py", "ch_lstm/rnnlm.py", "ch_lstm/seq2seq.py", "ch_rnn/simple_rnnlm.py",
    "common/cli/command.py", "common/cli/settings.py", "common/device/elementwise.py", "common/device/ids.py",
    "common/device/segment_sums.py", "common/device_random.py", "common/fast/buffers.py", "common/fast/forms.py",
    "common/fast/loss.py", "common/fast/lstm.py", "common/fast/rnn.py", "common/device/threads.py",
    "common/functions.py", "common/language_model/cell_rnnlm.py", "common/language_model/commands.py",
    "common/language_model/evaluate.py", "common/language_model/generate.py", "common/language_model/model.py",
    "common/language_model/report.py", "common/language_model/run.py", "common/layers/attention.py",
    "common/layers/base.py", "common/layers/bidirectional.py", "common/layers/dense.py", "common/layers/initial.py",
    "common/layers/losses.py", "common/layers/lstm.py", "common/layers/packing.py", "common/layers/recurrent.py",
    "common/layers/stack.py", "common/layers/time.py", "common/optimizer.py", "common/text/parts.py",
    "common/text/reading.py", "common/text/tokenizers.py", "common/trainer.py", "common/training/accumulate.py",
    "common/training/batches.py", "common/training/checkpoint.py", "common/training/clip.py",
    "common/training/epochs.py", "common/training/metrics.py", "common/training/schedules.py", "dataset/corpus.py",
}
# Of the others every edit is caught or explained, and a sample is of these.
WHOLE = TARGETS.keys() - CHANGED
