"""From text to ids and back: tokenizers, vocabularies, word vectors.

Read first: vocabulary.
May be skipped: word_vectors, which answers questions to trained vectors; ppmi, which makes some by counting.
"""
