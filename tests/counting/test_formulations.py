import pytest
import torch

from sasa_cli.attention.reference import reference_local_attention
from sasa_cli.counting.counters import COUNTERS, _quietly, _version, read_counters
from sasa_cli.counting.formulations import FORMULATIONS, LayerAsWritten


@pytest.mark.parametrize("extent", [1, 3, 5])
@pytest.mark.parametrize("shape", [(2, 16, 6, 6), (1, 8, 4, 7)])
@pytest.mark.parametrize("name", FORMULATIONS)
def test_each_way_of_writing_it_is_the_operator(name: str, shape: tuple[int, ...], extent: int):
    torch.manual_seed(0)
    layer = LayerAsWritten(FORMULATIONS[name], shape[1], 2, extent).double()
    maps = torch.randn(shape, dtype=torch.float64)
    query, key, value = (each(maps).unflatten(1, (2, -1)) for each in (layer.query, layer.key, layer.value))
    wanted = reference_local_attention(
        query,
        key,
        value,
        layer.row_embedding,
        layer.column_embedding,
        spatial_extent=extent,
        border="mask",
        content=True,
    ).flatten(1, 2)
    torch.testing.assert_close(layer(maps), wanted)


def test_torch_counts_the_same_layer_in_three_ways():
    readings = read_counters()
    assert (readings.macs_without_position, readings.macs) == (3_637_760, 4_252_416)
    shares = {
        row.formulation: round(100 * row.macs / readings.macs_without_position)
        for row in readings.rows
        if row.counter.startswith("torch Flop")
    }
    assert shares == {
        "unfold, multiply and sum": 66,
        "unfold, einsum": 117,
        "dense attention with a mask": 201,
    }


def test_every_counter_is_in_the_readings_installed_or_not():
    rows = read_counters().rows
    assert {row.counter for row in rows} == set(COUNTERS)
    for row in rows:
        assert (row.version is None) == (_version(COUNTERS[row.counter][0]) is None)
        assert row.macs is None or row.macs >= 2_400_000  # the projections at least


def test_a_counter_that_fails_says_so(monkeypatch: pytest.MonkeyPatch):
    def broken(layer: torch.nn.Module, image: torch.Tensor) -> int:
        raise ValueError("no such operation")

    monkeypatch.setitem(COUNTERS, "broken", ("torch", broken))
    monkeypatch.setitem(COUNTERS, "absent", ("no_such_package_here", broken))
    rows = {row.counter: row for row in read_counters().rows}
    assert rows["broken"].failure == "ValueError: no such operation"
    assert (rows["absent"].version, rows["absent"].macs, rows["absent"].failure) == (None, None, "")


def test_warnings_of_counters_are_kept_from_the_reader(recwarn: pytest.WarningsRecorder):
    def warns(layer: torch.nn.Module, image: torch.Tensor) -> int:
        import warnings

        warnings.warn("operation skipped", stacklevel=1)
        return 1

    assert _quietly(warns, torch.nn.Identity(), torch.zeros(1)) == 1
    assert not recwarn.list
