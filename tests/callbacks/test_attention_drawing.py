"""Drawing of matrices with tokens on their axes, in any script."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.font_manager import get_font
from PIL import Image

from s2s_lightning.plotting import fonts, matrices
from s2s_lightning.plotting.fonts import fonts_for
from s2s_lightning.plotting.matrices import PAGE, Panel, columns_of, layout, save

ARABIC, HEBREW, CHINESE = "سلام", "שלום", "日本"


def panel(source: int, target: int, label: str = "token") -> Panel:
    weights = np.random.default_rng(0).dirichlet(np.ones(source), target)
    return Panel("validation 0", [label] * source, [label] * target, weights)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three fonts: of Latin letters, of Latin and Arabic, of Chinese."""
    glyphs = {"Latin": "abc", "Both": "abc" + ARABIC, "Han": CHINESE}
    monkeypatch.setattr(fonts, "_installed", lambda: [(name, name) for name in glyphs])
    monkeypatch.setattr(fonts, "_having", lambda path, characters: characters & set(glyphs[path]))
    monkeypatch.setattr(fonts, "_found", {})


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("text", "names", "missing"),
    [
        ("cab", ["Latin"], ""),
        ("", ["Latin"], ""),
        ("ab " + ARABIC, ["Latin", "Both"], ""),
        (CHINESE + "a", ["Latin", "Han"], ""),
        (HEBREW + "a", ["Latin"], HEBREW),
        ("a\u200f\u200d", ["Latin"], ""),
    ],
)
def test_fonts_are_chosen_by_the_glyphs_that_they_have(text: str, names: list[str], missing: str) -> None:
    assert fonts_for(text) == (names, set(missing))


def test_every_character_of_the_chosen_fonts_has_a_glyph_in_one_of_them() -> None:
    text = "abc ▁</s>" + ARABIC + HEBREW + CHINESE
    names, missing = fonts_for(text)
    files = [get_font(path) for name, path in fonts._installed() if name in names]
    for character in set(text) - {" "}:
        assert (character in missing) != any(file.get_char_index(ord(character)) for file in files)


def test_right_to_left_text_is_shaped_in_its_order(tmp_path: Path) -> None:
    """The letters of a joined word are not those that stand alone, and the first one stands at the right."""
    whole = panel(1, 1, ARABIC)
    apart = panel(1, 1, "\u200c".join(ARABIC))  # what forbids to join
    for name, item in (("whole", whole), ("apart", apart)):
        save([item], tmp_path / f"{name}.png")
    assert pixels(tmp_path / "whole.png").shape != pixels(tmp_path / "apart.png").shape or not np.array_equal(
        pixels(tmp_path / "whole.png"), pixels(tmp_path / "apart.png")
    )


def test_missing_glyphs_are_said_in_one_line_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    having = fonts._having
    monkeypatch.setattr(fonts, "_having", lambda path, characters: having(path, characters - set(CHINESE)))
    monkeypatch.setattr(fonts, "_found", {})
    monkeypatch.setattr(matrices, "_noted", set())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(3):
            save([panel(4, 4, CHINESE + "a")], tmp_path / "chinese.png")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert "no installed font has 2 of the characters to draw (CJK" in lines[0]


def test_a_label_stays_on_its_line_and_keeps_what_shapes_it() -> None:
    assert matrices._printable(["a\nb", "x\u200dy", "long" * 20]) == ["a\\nb", "x\u200dy", ("long" * 20)[:23] + "…"]


def test_wide_and_combining_characters_are_given_their_room() -> None:
    assert [columns_of(text) for text in ("ab", CHINESE, "a\u0301")] == [2, 4, 1]


def test_boxes_never_overlap_and_stay_on_the_page() -> None:
    panels = [panel(*size) for size in [(8, 6), (3, 9), (60, 40), (12, 2), (5, 5), (9, 9), (120, 3)]]
    panels += [item._replace(cell=0.08, captions=[(1, "step 1")]) for item in panels]
    boxes, width, height = layout(panels)
    for number, box in enumerate(boxes):
        assert box.left > 0
        assert box.left + box.width < width
        assert box.top + box.height < height
        for other in boxes[:number]:
            apart = other.left + other.width < box.left or other.top + other.height < box.top
            assert apart or box.left + box.width < other.left


def test_a_long_sentence_makes_a_wider_page_with_cells_of_the_same_size(tmp_path: Path) -> None:
    save([panel(150, 20)], tmp_path / "long.png")
    save([panel(10, 20)], tmp_path / "short.png")
    long, short = (Image.open(tmp_path / name).size for name in ("long.png", "short.png"))
    assert long[0] - short[0] > PAGE * 100
    assert long[1] == short[1]


def test_tokens_that_look_like_formulas_are_drawn_as_they_are(tmp_path: Path) -> None:
    save([panel(3, 3, label=r"$\frac{")], tmp_path / "formula.png")
    assert len(np.unique(pixels(tmp_path / "formula.png").reshape(-1, 3), axis=0)) > 10
