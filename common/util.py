"""The book's helper names, each defined in its own module."""
from common.language_model.evaluate import eval_perplexity, eval_seq2seq
from common.np import np
from common.text.word_vectors import analogy, convert_one_hot, cos_similarity, most_similar, normalize, preprocess
from common.training.clip import clip_grads

to_cpu = np.to_cpu
to_gpu = np.to_gpu

__all__ = [
    "clip_grads", "eval_perplexity", "eval_seq2seq", "to_cpu", "to_gpu", "preprocess", "convert_one_hot",
    "cos_similarity", "most_similar", "analogy", "normalize",
]
