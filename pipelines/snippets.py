"""Short texts with the mean of twenty people's ratings: the data behind VADER, as its source distribution ships it.

Source: C. Hutto and E. Gilbert, "VADER: A Parsimonious Rule-based Model for Sentiment Analysis of Social Media Text",
ICWSM (2014). The distribution is under the MIT licence. Its 4,200 tweets are "tweet-like", with users and addresses
removed; its 3,708 sentences of 300 Amazon reviews are those of M. Hu and B. Liu (2004); its 10,605 sentences of film
reviews are those of B. Pang and L. Lee.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
import tarfile
from dataclasses import dataclass
from typing import Literal

from tfx_edge.errors import DataError
from tfx_edge.pipelines.package_data import VADER

Source = Literal["tweets", "amazon", "movies"]

SOURCES: dict[Source, str] = {
    "tweets": "tweets_GroundTruth.txt",
    "amazon": "amazonReviewSnippets_GroundTruth.txt",
    "movies": "movieReviewSnippets_GroundTruth.txt",
}
"""The file of each source."""

EVALUATED = 4
"""One of so many goes to the eval split."""

_ARCHIVE = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
_WORDS = re.compile(r"[^\W_]+")


@dataclass(frozen=True)
class Snippet:
    """A text of a sentence or a few.

    Attributes:
      source: where it was written.
      number: the number of the review that it is from, where the source numbers reviews; else "".
      rating: the mean rating, from -4 to 4.
      text: as it was written.
    """

    source: Source
    number: str
    rating: float
    text: str

    @property
    def words(self) -> str:
        """What tells texts apart: the words in small letters, without punctuation."""
        return " ".join(_WORDS.findall(self.text.lower()))

    @property
    def split(self) -> Literal["train", "eval"]:
        """By a hash of the words; sentences of one review stay together."""
        key = f"{self.source} {self.number}" if self.number else self.words
        return "train" if hashlib.sha256(key.encode()).digest()[0] % EVALUATED else "eval"


def read(source: Source) -> list[Snippet]:
    """The snippets of a source in the order of the file.

    Raises:
      DataError: the package is not there, or a line is no snippet.
    """
    found = []
    for number, line in enumerate(_file(SOURCES[source]).splitlines(), start=1):
        try:
            name, rating, text = line.split("\t")
            review = name.partition("_")[0] if "_" in name else ""
            found.append(Snippet(source, review, float(rating), html.unescape(text).strip()))
        except ValueError as error:
            raise DataError(
                f"line {number} of {SOURCES[source]} is not a number, a rating and a text: {error}"
            ) from None
    return found


def distinct(snippets: list[Snippet]) -> list[Snippet]:
    """The first of those that have the same words, so that no text is in two splits."""
    first: dict[str, Snippet] = {}
    for each in snippets:
        first.setdefault(each.words, each)
    return list(first.values())


def _file(name: str) -> str:
    with tarfile.open(fileobj=io.BytesIO(VADER.read(_ARCHIVE))) as archive:
        stream = archive.extractfile(f"hutto_ICWSM_2014/{name}")
        return stream.read().decode("utf-8-sig") if stream else ""
