"""Counts the words of its input."""

import collections
import json
import os
import sys


def count(text: str, top: int) -> dict[str, int]:
    """Returns the most frequent words."""
    return dict(collections.Counter(text.lower().split()).most_common(top))


def main() -> None:
    print(json.dumps(count(sys.stdin.read(), int(os.environ["WORDS_TOP"]))))
