"""What a run says of its text and of its perplexity."""
import dataclasses
import math

from common.cli.tables import format_table
from common.training.metrics import format_perplexity
from dataset.corpus import SPLITS, Corpus

WORTH_SAYING = 0.01  # smallest share of unknown tokens that stands beside a perplexity


def unit_name(tokenizer: str) -> str:
    """Return what the tokens of a tokenizer are called, in the plural."""
    return "characters" if tokenizer == "characters" else "words"


@dataclasses.dataclass(frozen=True)
class PerplexityInWords:
    """Says a perplexity with what belongs to it: the bits per character, the share of unknown tokens in the text.

    Attributes
    ----------
    tokenizer : str
        Key of `common.text.tokenizers.TOKENIZERS` that made the text.
    unknown_share : float
        Of the tokens of the text, as a fraction of 1.
    """

    tokenizer: str
    unknown_share: float = 0.0

    def __call__(self, perplexity: float, *more: str) -> str:
        """Return a perplexity in words with more remarks, "5.11 (2.35 bits per character, 1.2% <unk>)"."""
        remarks = []
        if self.tokenizer == "characters" and math.isfinite(perplexity):
            remarks.append(f"{math.log2(perplexity):.2f} bits per character")
        if self.unknown_share > WORTH_SAYING:
            remarks.append(f"{self.unknown_share:.1%} <unk>")
        remarks += more
        return format_perplexity(perplexity) + (f" ({', '.join(remarks)})" if remarks else "")


def perplexity_in_words(corpus: Corpus, part: str) -> PerplexityInWords:
    """Return what says a perplexity on a part of a corpus."""
    return PerplexityInWords(corpus.tokenizer, corpus.unknown_share(part))


def table_of_parts(corpus: Corpus) -> str:
    """Return a table of the parts of a corpus: tokens, different tokens, share of unknown ones."""
    rows = [("part", "tokens", "types", "<unk>")]
    for part in SPLITS:
        rows.append((part, f"{len(getattr(corpus, part)):,}", f"{corpus.types[part]:,}",
                     f"{corpus.unknown_share(part):.1%}"))
    return format_table(rows)


def advice(corpus: Corpus) -> list[str]:
    """Return a line for each language in a corpus that was cut at its spaces, though it writes none between words."""
    lines = []
    for language in corpus.languages_without_spaces:
        units = "--unit char reads its characters"
        if language == "Chinese":
            units = "--unit chinese finds its words, " + units
        lines.append(f"note: {language} writes no spaces between words, so that a word here is a whole phrase: {units}")
    return lines
