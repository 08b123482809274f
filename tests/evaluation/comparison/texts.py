"""Outputs of pretended systems: references with some words dropped and some replaced."""

import random

TEXT = "the cat sat on a mat , while Überraschung «hier» was said and one dog barks at it all day ."
WORDS = TEXT.split()
LINES = 60


def references(seed: int = 0) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randrange(1, 14))) for _ in range(LINES)]


def noisy(texts: list[str], rate: float, seed: int) -> list[str]:
    draw = random.Random(seed)

    def line(text: str) -> str:
        kept = [word for word in text.split() if draw.random() > rate / 3]
        return " ".join(draw.choice(WORDS) if draw.random() < rate else word for word in kept)

    return [line(text) for text in texts]
