import sys
import unicodedata

import pytest

from common.errors import InputError
from dataset import names


@pytest.fixture
def faker_lists():
    pytest.importorskip("faker", reason="needs Faker: pip install -e '.[names]'")


@pytest.fixture
def parts(faker_lists):
    return names.load_data(seed=0)


def test_at_least_ten_languages_with_400_names_each_and_as_many_of_each(parts):
    train, valid, test = ([language for _, language in part] for part in parts)
    counts = {language: (train.count(language), valid.count(language), test.count(language))
              for language in names.LANGUAGES}
    assert len(counts) >= 10
    assert len(set(counts.values())) == 1
    for_training, for_validation, for_test = counts["Italian"]
    total = for_training + for_validation + for_test
    assert total >= 400
    assert for_training == total * 8 // 10
    assert 0 <= for_test - for_validation <= 1


def test_no_name_is_there_twice_whatever_its_case_and_spaces(parts):
    keys = [" ".join(unicodedata.normalize("NFKC", name).casefold().split()) for part in parts for name, _ in part]
    assert len(set(keys)) == len(keys)


def test_names_are_normalized_and_in_latin_script(parts):
    for part in parts:
        for name, _ in part:
            assert name and name == names.normalize(name)
            letters = [char for char in name if char.isalpha()]
            assert letters and all("LATIN" in unicodedata.name(char) for char in letters)


def test_a_name_of_several_languages_is_left_out(faker_lists):
    found = names.names_of_one_language()
    everywhere = [name for listed in found.values() for name in listed]
    assert len(everywhere) == len(set(everywhere))
    swedish, german = names.names_of_locale("sv_SE"), names.names_of_locale("de_AT")
    assert swedish & german and not swedish & german & set(everywhere)
    assert set(found["Swedish"]) < swedish - german
    assert sorted(found["Swedish"]) == found["Swedish"]


def test_the_lists_are_those_of_the_locale_not_inherited_english_ones(faker_lists):
    from faker.providers.person import Provider

    inherited = {names.normalize(name) for name in Provider.last_names}
    assert inherited and not inherited & (names.names_of_locale("pl_PL") | names.names_of_locale("is_IS"))
    assert len(names.names_of_locale("pl_PL")) > 1000  # its last names stand under names of their own


def test_a_seed_gives_the_same_split(parts):
    assert names.load_data(seed=0) == parts
    assert names.load_data(seed=1) != parts


@pytest.mark.parametrize("name, normalized", [
    ("  De la\tCruz ", "de la cruz"), ("O'BRIEN", "o'brien"), ("Jose\u0301", "jos\u00e9"), (" ", "")])
def test_normalize(name, normalized):
    assert names.normalize(name) == normalized


def test_without_faker_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "faker", None)
    with pytest.raises(InputError, match=r"the names need Faker: pip install -e '\.\[names\]'"):
        names.load_data()


def test_a_faker_without_a_list(faker_lists, monkeypatch):
    monkeypatch.setitem(names.LOCALES, "Zulu", ("zu_XX",))
    with pytest.raises(InputError, match="this version of Faker has no names for zu_XX"):
        names.load_data()
