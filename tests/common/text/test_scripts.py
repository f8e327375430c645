"""Words as a reader of each script cuts them, by lists written by hand: joined again, a torn word would not show."""
import sys
import unicodedata

import pytest

from common.text.reading import clean_text
from common.text.tokenizers import (
    join_tokens,
    languages_without_spaces,
    lower,
    tokenize_cased_lines,
    tokenize_characters,
    tokenize_lines,
    tokenize_words,
)

WORDS = {
    "Hindi": ("हिन्दी में किताबें पढ़ना।", ["हिन्दी", "में", "किताबें", "पढ़ना", "।"]),
    "Sanskrit": ("धर्मक्षेत्रे कुरुक्षेत्रे॥", ["धर्मक्षेत्रे", "कुरुक्षेत्रे", "॥"]),
    "Bengali": ("আমি বাংলায় কথা বলি।", ["আমি", "বাংলায়", "কথা", "বলি", "।"]),
    "Tamil": ("தமிழ் மொழி பேசுகிறேன்.", ["தமிழ்", "மொழி", "பேசுகிறேன்", "."]),
    "Kannada": ("ಕನ್ನಡ ಭಾಷೆ, ನಮ್ಮ", ["ಕನ್ನಡ", "ಭಾಷೆ", ",", "ನಮ್ಮ"]),
    "Telugu": ("తెలుగు భాష", ["తెలుగు", "భాష"]),
    "Malayalam": ("മലയാളം ഭാഷ", ["മലയാളം", "ഭാഷ"]),
    "Burmese": ("မြန်မာ စာ", ["မြန်မာ", "စာ"]),
    "Thai, a phrase": ("ภาษาไทย น้ำ", ["ภาษาไทย", "น้ำ"]),
    "Arabic with vowels": ("السَّلَامُ عَلَيْكُمْ، كَيْفَ؟", ["السَّلَامُ", "عَلَيْكُمْ", "،", "كَيْفَ", "؟"]),
    "Persian with a joiner": ("می\u200cخواهم بروم", ["می\u200cخواهم", "بروم"]),
    "Urdu": ("یہ کتاب ہے۔", ["یہ", "کتاب", "ہے", "۔"]),
    "Hebrew with vowels": ("שָׁלוֹם עֲלֵיכֶם", ["שָׁלוֹם", "עֲלֵיכֶם"]),
    "Hebrew acronyms": ('צה"ל צה״ל ג׳ירף', ['צה"ל', "צה״ל", "ג׳ירף"]),
    "Hebrew in quotes": ('אמר "שלום" לו', ["אמר", '"', "שלום", '"', "לו"]),
    "Vietnamese": ("Tiếng Việt rất đẹp", ["tiếng", "việt", "rất", "đẹp"]),
    "French": ("L’été, à Paris", ["l’été", ",", "à", "paris"]),
    "Catalan": ("col·legi paral·lel", ["col·legi", "paral·lel"]),
    "German": ("Straße, Größe Übermut", ["straße", ",", "größe", "übermut"]),
    "Greek": ("Ο ΚΑΙΡΟΣ", ["ο", "καιρος"]),
    "Turkish": ("İstanbul ILIK", ["istanbul", "ilik"]),
    "Korean": ("한국어 단어", ["한국어", "단어"]),
    "Russian": ("Привет, ёж-ка!", ["привет", ",", "ёж-ка", "!"]),
    "Cherokee": ("ᏣᎳᎩ", [lower("ᏣᎳᎩ")]),
    "Amharic": ("ሰላም ነው።", ["ሰላም", "ነው", "።"]),
    "soft hyphen": ("co\u00adoperate", ["co\u00adoperate"]),
    "hyphens": ("well‐known non‑breaking self-made", ["well‐known", "non‑breaking", "self-made"]),
    "numbers": ("3.14 1,000 ١٢٣ ٣٫١٤ 50%", ["3.14", "1,000", "١٢٣", "٣٫١٤", "50", "%"]),
    "emoji": ("👨‍👩‍👧 hi 🇩🇪🇫🇷 👍🏽 1️⃣ ❤️!", ["👨‍👩‍👧", "hi", "🇩🇪", "🇫🇷", "👍🏽", "1️⃣", "❤️", "!"]),
    "direction marks": ("\u200fשלום\u200f \u202babc\u202c", ["שלום", "abc"]),
    "zero width space": ("a\u200bb", ["a", "b"]),
    "mathematics": ("x_1 ∈ ℝ, a̅b", ["x_1", "∈", lower("ℝ"), ",", "a̅b"]),
    "source code": ("def f(x): x == y", ["def", "f", "(", "x", ")", ":", "x", "==", "y"]),
}


@pytest.mark.parametrize("text, words", WORDS.values(), ids=WORDS)
def test_words(text, words):
    assert tokenize_words(clean_text(text)) == [clean_text(word) for word in words]


@pytest.mark.parametrize("text, words", WORDS.values(), ids=WORDS)
def test_words_stay_whole_in_the_decomposed_form_too(text, words):
    decomposed = unicodedata.normalize("NFD", text)
    found = tokenize_words(decomposed)
    assert [unicodedata.normalize("NFC", word) for word in found] == [
        unicodedata.normalize("NFC", word) for word in words]


@pytest.mark.parametrize("text, words", WORDS.values(), ids=WORDS)
def test_words_are_the_same_again_after_joining(text, words):
    assert tokenize_words(join_tokens(words, "words")) == words


def test_lower_case_makes_one_character_of_each():
    for code in range(sys.maxunicode + 1):
        assert len(lower(chr(code))) == 1, hex(code)
    assert lower("I\u0307") == lower("İ") == "i"
    for letter in ("ẖ", "ǰ", "ẘ", "ẗ", "ẙ"):  # their capitals are two code points
        assert lower(clean_text(letter.upper())) == letter
    assert lower("H\u0331" + "e\u0301") == "h\u0331e\u0301"  # not composed before, nor after


def test_capitals_can_stay():
    assert tokenize_cased_lines("Don't İstanbul\n") == ["Don't", "İstanbul", "<eos>"]
    assert tokenize_lines("Don't İstanbul\n") == ["don't", "istanbul", "<eos>"]
    assert join_tokens(["Don't", "go", ".", "<eos>", "I"], "cased lines") == "Don't go.\nI"


CHARACTERS = {
    "Hindi": ("क्षि ना", ["क्षि", " ", "ना"]),
    "Thai": ("น้ำ", ["น้ำ"]),
    "Tamil": ("நி", ["நி"]),
    "Korean": ("한글", ["한", "글"]),
    "emoji": ("👨‍👩‍👧🇩🇪", ["👨‍👩‍👧", "🇩🇪"]),
    "accent": ("e\u0301a", ["e\u0301", "a"]),
    "code": ("  if x:\n\ty", list("  if x:\n\ty")),
}


@pytest.mark.parametrize("text, characters", CHARACTERS.values(), ids=CHARACTERS)
def test_characters_are_what_a_reader_sees(text, characters):
    assert tokenize_characters(text) == characters and join_tokens(characters, "characters") == text


@pytest.mark.parametrize("text, languages", [
    ("The cat sat.", []), ("Η γάτα.", []), ("한국어 단어", []), ("ภาษาไทย", ["Thai"]), ("ພາສາລາວ", ["Lao"]),
    ("ភាសាខ្មែរ", ["Khmer"]), ("မြန်မာ", ["Burmese"]), ("我们学习中文。", ["Chinese"]),
    ("日本語を話します", ["Japanese"]), ("カタカナ", ["Japanese"]),
    ("A Thai word, ไทย, in English text that is long", []),
    ("中文 and ไทย", ["Chinese", "Thai"]), ("", [])])
def test_languages_without_spaces(text, languages):
    assert languages_without_spaces(text) == languages
