"""Drawing of matrices with tokens on their axes, in any script."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from matplotlib.font_manager import findfont, get_font
from PIL import Image

from s2s_lightning.plotting import fonts, matrices
from s2s_lightning.plotting.fonts import families
from s2s_lightning.plotting.matrices import PAGE, Panel, columns_of, layout, save

ARABIC, HEBREW, CHINESE = "سلام", "שלום", "日本"


def panel(source: int, target: int, label: str = "token") -> Panel:
    weights = np.random.default_rng(0).dirichlet(np.ones(source), target)
    return Panel("validation 0", [label] * source, [label] * target, weights)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def test_the_preferred_fonts_come_first_and_none_is_a_placeholder() -> None:
    names = families()
    assert names[0] == "DejaVu Sans"
    assert not [name for name in names if name.startswith(fonts.PLACEHOLDERS)]
    assert [name for name in fonts.FIRST if name in names] == names[: len(set(fonts.FIRST) & set(names))]


@pytest.mark.parametrize("text", ["abc ▁</s>", ARABIC, HEBREW, CHINESE])
def test_a_character_is_reported_only_if_no_installed_font_has_it(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fonts, "_noted", set())
    save([panel(2, 2, text)], tmp_path / "text.png")
    files = [get_font(findfont(name)) for name in families()]
    missing = [c for c in set(text) - {" "} if not any(file.get_char_index(ord(c)) for file in files)]
    assert bool(capsys.readouterr().err) == bool(missing)


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
    monkeypatch.setattr(matrices, "families", lambda: ["DejaVu Sans"])
    monkeypatch.setattr(fonts, "_noted", set())
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
