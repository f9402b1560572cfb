"""Fails the build where counting is wrong."""

from words import count

assert count("a b A", 1) == {"a": 2}, count("a b A", 1)
print("words are counted")
