from __future__ import annotations

from dataclasses import replace

import pytest

from limit.gauntlet.answers import extract, is_right, normalize
from limit.gauntlet.tasks import Task

PLAIN = Task("t", "generation_task_with_answers", "c", 0, 0.0, "f")
COT = replace(PLAIN, cot_delimiter=" #### ")
STRICT = replace(PLAIN, do_normalization=False, cot_delimiter="The answer is ", early_stopping_criteria=("\n\n", "Q."))


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("The  Old_Boat!", "old boat"),
        ("a man, an apple", "man apple"),
        ("-3", "3"),
        ("2.5", "2 5"),
        ("L‘été’s `x´", "l été s x"),
        ("theatre", "theatre"),
    ],
)
def test_normal_form(text: str, form: str) -> None:
    assert normalize(text) == form


@pytest.mark.parametrize(
    ("task", "text", "accepted", "right"),
    [
        (PLAIN, " the Baker of Rome", ("Baker",), True),
        (PLAIN, "not the baker", ("baker",), False),
        (PLAIN, "18 apples", ("1",), True),
        (PLAIN, "anything", ("(a",), True),
        (COT, "1 + 2 #### 3 and then #### 4", ("4",), True),
        (COT, "1 + 2 #### 3 and then #### 4", ("3",), False),
        (COT, "5", ("5",), True),
        (STRICT, "The answer is -3.\n\nThe answer is 7", ("-3",), True),
        (STRICT, "The answer is 3", ("-3",), False),
        (STRICT, "so Q.The answer is 3", ("3",), False),
    ],
)
def test_right_answers(task: Task, text: str, accepted: tuple[str, ...], right: bool) -> None:
    assert is_right(task, text, accepted) is right


def test_a_stop_string_is_literal_text() -> None:
    task = replace(PLAIN, do_normalization=False, early_stopping_criteria=(".", "|"))
    assert extract(task, "one. two| three") == "one"
