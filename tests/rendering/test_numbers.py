import pytest

from sasa_cli.rendering.numbers import TIME_UNITS, headed, in_unit, p_value, percent, points
from sasa_cli.rendering.table import Number
from sasa_cli.reporting.evidence.paired import Difference
from sasa_cli.reporting.evidence.statistics import Measure, half_width_factor
from sasa_cli.reporting.pages.intervals import interval, signed_interval


def test_absent_numbers_are_a_dash() -> None:
    assert str(percent(None)) == "–"
    assert percent(None).values == (None,)
    assert str(interval(None)) == "–"
    assert str(interval(Measure(1, 80.0, None))) == "80.00 ± –"
    assert str(interval(Measure(3, 80.0, 0.126 / half_width_factor(3)))) == "80.00 ± 0.13"


@pytest.mark.parametrize(
    ("values", "unit", "texts"),
    [
        ([18_015_504, 25_557_032], "M", ["18.0", "25.6"]),
        ([6_966_317_056, None], "G", ["6.97", "–"]),
        ([406_000, 1_046_000], "M", ["0.406", "1.046"]),
        ([950, 12], "", ["950", "12"]),
        ([0, 2_000], "k", ["0.00", "2.00"]),
        ([None], "", ["–"]),
        ([], "", []),
    ],
)
def test_a_column_has_one_unit(values: list[float | None], unit: str, texts: list[str]) -> None:
    name, entries = in_unit(values)
    assert (name, list(map(str, entries))) == (unit, texts)
    assert [entry.value for entry in entries] == values  # programs get them in units of one


def test_time_in_the_unit_of_the_longest() -> None:
    assert in_unit([30.0, 90.0], TIME_UNITS, most_decimals=1) == ("min", [Number(30.0, "0.5"), Number(90.0, "1.5")])
    assert in_unit([7200.0], TIME_UNITS) == ("h", [Number(7200.0, "2.00")])


def test_header_names_the_unit() -> None:
    assert headed("FLOPs", "G") == "FLOPs (G)"
    assert headed("Images/s", "") == "Images/s"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (1.0, "1.00"),
        (0.1, "0.10"),
        (0.0496, "0.050"),
        (0.0012, "0.0012"),
        (0.0001, "0.0001"),
        (1e-5, "<0.0001"),
    ],
)
def test_p_values(value: float | None, text: str) -> None:
    assert p_value(value) == Number(value, text)


def test_differences_have_a_sign_unless_they_round_to_nothing() -> None:
    assert str(signed_interval(Difference(1.204, None, 1))) == "+1.20 ± –"
    assert str(signed_interval(Difference(-0.4, None, 3))) == "−0.40 ± –"
    assert str(signed_interval(Difference(-0.001, None, 3))) == "0.00 ± –"
    assert str(signed_interval(None)) == "–"
    assert tuple(map(str, (points(8.168), points(137.0), points(None)))) == ("8.17", ">100", "–")
