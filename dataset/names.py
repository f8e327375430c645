"""First and last names of people in seventeen languages, all in Latin script.

The lists are those of the Faker package, read as they stand; no name is drawn by chance or made up. What
they hold depends on its version. They mix first and last names in their own proportion (the Icelandic
ones are first names only), and a name may be there in several forms, such as Novák and Nováková.
"""
import collections
import importlib
import random
import re
import unicodedata

from common.errors import InputError

Examples = list[tuple[str, str]]  # names and their languages

# Faker's locales for each language.
LOCALES = {
    "Azerbaijani": ("az_AZ",),
    "Croatian": ("hr_HR",),
    "Dutch": ("nl_NL",),
    "English": ("en_GB", "en_US"),
    "Finnish": ("fi_FI",),
    "French": ("fr_FR", "fr_CA", "fr_CH"),
    "German": ("de_AT",),
    "Icelandic": ("is_IS",),
    "Indonesian": ("id_ID",),
    "Irish": ("ga_IE",),
    "Italian": ("it_IT",),
    "Polish": ("pl_PL",),
    "Slovak": ("sk_SK",),
    "Spanish": ("es_ES",),
    "Swedish": ("sv_SE",),
    "Turkish": ("tr_TR",),
    "Zulu": ("zu_ZA",),
}
LANGUAGES = tuple(LOCALES)

# first_names, last_names, first_names_female, unisex_last_names, ...; last_names_without_suffix holds stems.
_NAME_LIST = re.compile(r"(first|last)_names(?!_without_suffix)")


def load_data(seed: int = 0) -> tuple[Examples, Examples, Examples]:
    """Return the names that only one language has, as many of each, split 80/10/10.

    Parameters
    ----------
    seed : int
        Of the choice from the longer lists, and of the split.

    Returns
    -------
    train, valid, test : list of (str, str)
        Normalized names, each with its language. No name is there twice.

    Raises
    ------
    InputError
        Faker is not installed, or this version of it lacks the lists.
    """
    names = names_of_one_language()
    count = min(map(len, names.values()))
    train_end, valid_end = count * 8 // 10, count * 9 // 10
    train, valid, test = [], [], []
    for language in LANGUAGES:
        chosen = random.Random(f"{language} {seed}").sample(names[language], count)
        labelled = [(name, language) for name in chosen]
        train += labelled[:train_end]
        valid += labelled[train_end:valid_end]
        test += labelled[valid_end:]
    return train, valid, test


def names_of_one_language() -> dict[str, list[str]]:
    """Return the normalized names that only the lists of one language have.

    A name of several languages, as Anna, has no right answer: whichever it was given, the same name
    would be counted wrong elsewhere. Such names are left out.

    Returns
    -------
    dict of str to list of str
        Sorted names of each of `LANGUAGES`.

    Raises
    ------
    InputError
        As in `load_data`.
    """
    names = {language: set().union(*map(names_of_locale, LOCALES[language])) for language in LANGUAGES}
    languages_with = collections.Counter(name for found in names.values() for name in found)
    return {language: sorted(name for name in found if languages_with[name] == 1)
            for language, found in names.items()}


def names_of_locale(locale: str) -> set[str]:
    """Return the set of normalized names that one locale of Faker lists; errors as in `load_data`."""
    try:
        import faker  # noqa: F401
    except ImportError:
        raise InputError("the names need Faker: pip install -e '.[names]'") from None
    try:
        provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
    except (ImportError, AttributeError):
        raise InputError(f"this version of Faker has no names for {locale}: install another one") from None
    # Those that the class has of its own: it inherits English ones where it lacks a list.
    lists = [names for attribute, names in vars(provider).items() if _NAME_LIST.search(attribute)]
    names = {normalize(name) for names in lists for name in names}
    if not names:
        raise InputError(f"this version of Faker has no names for {locale}: install another one")
    return names


def normalize(name: str) -> str:
    """Return a name case-folded (ß becomes ss), its accents composed (NFC), with single spaces only."""
    return " ".join(unicodedata.normalize("NFC", name.casefold()).split())
