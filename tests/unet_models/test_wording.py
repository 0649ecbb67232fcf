"""Lists in messages."""

from __future__ import annotations

from unet_models.wording import first_of


def test_a_list_is_cut_with_the_number_of_the_rest():
    assert first_of([]) == ""
    assert first_of(["a", "b", "c"]) == "a, b, c"
    assert first_of(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
    assert first_of(["a", "b", "c"], 1, joined=" and ") == "a and 2 more"
