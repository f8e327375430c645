"""Where a text is cut: never within a paragraph, line or sentence that fits into a part."""
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InputError
from common.text.parts import cut_into_parts, shares_of
from common.text.tokenizers import tokenize_characters, tokenize_lines

SHARES = [0.8, 0.1, 0.1]


def parts_of(text, shares=SHARES, tokenize=tokenize_characters):
    return ["".join(part) for part in cut_into_parts(tokenize(text), shares)]


@pytest.mark.parametrize("text, shares", [
    ("80/10/10", (0.8, 0.1, 0.1)), ("8/1/1", (0.8, 0.1, 0.1)), ("1/1/2", (0.25, 0.25, 0.5)),
    ("0.5/0.25/0.25", (0.5, 0.25, 0.25))])
def test_shares(text, shares):
    assert shares_of(text) == pytest.approx(shares, rel=1e-15)


@pytest.mark.parametrize("text", [
    "", "80", "80/20", "80/10/10/0", "90/10/0", "a/b/c", "80/-10/30", "nan/1/1", "inf/1/1", "1e308/1e308/1e308"])
def test_wrong_shares(text):
    with pytest.raises(InputError, match=f"^--split {text}: wanted three numbers above 0, as in 80/10/10"):
        shares_of(text)


def test_lines_are_cut_at_the_nearest_line_end():
    lines = [f"{i:03} line of 20 chars\n" for i in range(100)]
    assert parts_of("".join(lines)) == ["".join(lines[start:stop]) for start, stop in ((0, 80), (80, 90), (90, 100))]
    words = cut_into_parts(tokenize_lines("".join(lines)), SHARES)
    assert [len(part) / 6 for part in words] == [80, 10, 10]


def test_the_nearer_end_of_two_is_taken():
    for sizes, first in (([76, 10, 14], 76), ([78, 10, 12], 78), ([72, 10, 18], 82)):
        text = "".join("x" * (size - 1) + "\n" for size in sizes)
        assert len(parts_of(text, [0.8, 0.2])[0]) == first


def test_a_paragraph_is_not_cut_where_it_fits_into_a_part():
    paragraphs = [f"{i:02} a line\nand another one\n\n" for i in range(40)]
    for part in parts_of("".join(paragraphs)):
        assert part[:2].isdigit() and part.endswith("\n\n")


def test_blank_lines_are_blank_with_white_space_too():
    paragraphs = [f"{i:02} a line\nand another one\n \t\n" for i in range(40)]
    for part in parts_of("".join(paragraphs)):
        assert part[:2].isdigit()


def test_a_paragraph_longer_than_a_part_is_cut_at_a_line_end():
    text = "".join(f"{i:03} words\n" for i in range(100)) + "\nlast\n"
    assert all(part[:3].isdigit() for part in parts_of(text))


def test_a_line_longer_than_a_part_is_cut_behind_a_sentence():
    text = "".join(f"Sentence {i:02} costs 3.14. " for i in range(50))
    parts = parts_of(text)
    assert all(part.lstrip().startswith("Sentence") and part.rstrip().endswith("14.") for part in parts)
    text = "".join(f'He said "no {i:02}!" ' for i in range(50))
    assert all(part.rstrip().endswith('!"') for part in parts_of(text))
    text = "这是一句话。" * 50
    assert all(part.endswith("。") for part in parts_of(text))


def test_what_has_no_end_is_cut_by_tokens():
    assert [len(part) for part in parts_of("x" * 1000)] == [800, 100, 100]
    assert [len(part) for part in cut_into_parts(["na"] * 10, SHARES)] == [8, 1, 1]


def test_lines_of_one_length_as_in_fasta():
    parts = parts_of(">one\n" + ("ACGT" * 15 + "\n") * 200)
    assert all(part.endswith("\n") for part in parts)
    assert [round(len(part) / 61) for part in parts] == [160, 20, 20]


@given(st.lists(st.sampled_from(["a", "bc", ".", "!", "\n", " ", "\n\n"]), max_size=200),
       st.lists(st.integers(1, 9), min_size=1, max_size=3))
def test_nothing_is_lost_and_the_order_stays(tokens, shares):
    shares = [share / sum(shares) for share in shares]
    parts = cut_into_parts(tokens, shares)
    assert sum(parts, []) == tokens and len(parts) == len(shares)
