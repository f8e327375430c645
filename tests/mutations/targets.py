"""What `make test-mutations` edits, and the tests that must notice.

A key is a file from the repository root. Its value: the classes and functions to edit, None for all, and
the tests to run, as files in tests/ or the beginnings of names of tests in them.
"""

CHECKER = "common/test_gradient_check.py::test_every_layer[numpy-"
BOTH_DEVICES = "devices/test_training_step.py"

TARGETS = {
    "common/functions.py": (None, ["common/test_functions.py", "common/test_elementwise.py", CHECKER]),
    "common/elementwise.py": (None, ["common/test_elementwise.py", BOTH_DEVICES]),
    "common/ids.py": (None, ["common/test_ids.py", CHECKER]),
    "common/segment_sums.py": (None, [
        "common/test_segment_sums.py", "common/test_layers.py", BOTH_DEVICES, CHECKER]),
    "common/device_random.py": (None, ["common/test_device_random.py", CHECKER]),
    "common/layers.py": (None, [
        "common/test_layers.py", "common/test_ids.py", "common/test_layer.py", BOTH_DEVICES, CHECKER]),
    "common/recurrent.py": ({"RecurrentLayer"}, [
        "common/test_rnn.py", "common/test_lstm.py", "common/test_layer.py", "common/test_fast_lstm.py", CHECKER]),
    "common/packing.py": (None, ["common/test_packing.py", CHECKER]),
    "common/rnn.py": (None, ["common/test_rnn.py", "common/test_layer.py", CHECKER]),
    "common/fast_rnn.py": (None, ["common/test_fast_rnn.py", CHECKER]),
    "common/lstm.py": (None, ["common/test_lstm.py", "common/test_layer.py", CHECKER]),
    "common/fast_lstm.py": (None, ["common/test_fast_lstm.py", "common/test_layer.py", CHECKER]),
    "common/gru.py": (None, ["common/test_gru.py", "common/test_layer.py", CHECKER]),
    "common/bidirectional.py": (None, ["common/test_bidirectional.py", "common/test_layer.py", CHECKER]),
    "common/stack.py": (None, ["common/test_stack.py", "common/test_layer.py", CHECKER]),
    "common/time_layers.py": (None, [
        "common/test_time_layers.py", "common/test_layer.py", "common/test_packing.py",
        "common/test_layers.py::test_a_number_equal_to_the_dropout_ratio", CHECKER]),
    "common/fused_loss.py": (None, ["common/test_fused_loss.py", "common/test_layer.py", CHECKER]),
    "common/layer.py": (None, ["common/test_layer.py", "common/test_layers.py", CHECKER]),
    "common/attention.py": (None, ["common/test_attention.py", "common/test_layer.py", CHECKER]),
    "common/squared_error.py": (None, ["common/test_squared_error.py", "common/test_layer.py", CHECKER]),
    "common/buffers.py": (None, ["common/test_buffers.py", "common/test_fast_lstm.py", "common/test_fused_loss.py"]),
    "common/threads.py": (None, ["common/test_threads.py", "common/test_fast_lstm.py"]),
    "common/optimizer.py": (None, ["common/test_optimizer.py", BOTH_DEVICES]),
    "common/clip.py": (None, ["common/test_clip.py", "common/test_trainer.py", BOTH_DEVICES]),
    "common/initial.py": (None, ["common/test_initial.py"]),
    "common/batches.py": (None, ["common/test_batches.py", "common/test_trainer.py"]),
    "common/text.py": (None, ["common/test_text.py"]),
    "common/classification.py": (None, ["common/test_classification.py"]),
    "common/base_model.py": (None, ["common/test_base_model.py", "common/test_pickles.py", "common/test_forget.py"]),
    "common/cli.py": (None, ["common/test_cli.py", "common/test_language_model_scripts.py"]),
    "common/trainer.py": (None, ["common/test_trainer.py"]),
    "common/training_run.py": (None, ["common/test_training_run.py", "common/test_language_model_scripts.py"]),
    "common/checkpoint.py": (None, ["common/test_checkpoint.py", "common/test_language_model_scripts.py"]),
    "common/evaluate.py": (None, ["common/test_evaluate.py", "common/test_language_model_scripts.py"]),
    "common/generate.py": (None, ["common/test_generate.py", "common/test_language_model_scripts.py"]),
    "common/language_model.py": (None, [
        "common/test_language_model.py", "common/test_forget.py", "common/test_generate.py", "common/test_evaluate.py",
        BOTH_DEVICES]),
    "common/language_model_scripts.py": (None, ["common/test_language_model_scripts.py"]),
    "dataset/corpus.py": (None, ["dataset/test_corpus.py"]),
    "ch_rnn/simple_rnnlm.py": (None, ["common/test_language_model.py"]),
    "ch_lstm/rnnlm.py": (None, ["common/test_language_model.py"]),
    "ch_lstm/better_rnnlm.py": (None, ["common/test_language_model.py"]),
    "ch_lstm/cell_rnnlm.py": (None, ["common/test_language_model.py"]),
    "ch_lstm/classifier.py": (None, [
        "ch_lstm/test_classifier.py", "ch_lstm/test_classify.py", "common/test_forget.py"]),
    "ch_lstm/classify.py": (None, ["ch_lstm/test_classify.py"]),
    "ch_lstm/encoder_decoder.py": (None, [
        "ch_lstm/test_encoder_decoder.py", "ch_lstm/test_seq2seq.py", "common/test_forget.py"]),
    "ch_lstm/seq2seq.py": (None, ["ch_lstm/test_seq2seq.py"]),
    "ch_lstm/grammar.py": (None, ["ch_lstm/test_grammar.py"]),
}

# Files of which every edit is caught or explained. A sample is of these: in the others edits survive that nobody has
# looked at yet, which a whole run shows.
WHOLE = {
    "common/device_random.py", "common/elementwise.py", "common/functions.py", "common/ids.py",
    "common/segment_sums.py",
}
