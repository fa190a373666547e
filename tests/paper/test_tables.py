from collections import Counter, defaultdict

from sasa_cli.paper.tables import COCO_ROWS, PAPER_ROWS


def test_every_row_of_the_papers_tables_is_there():
    assert Counter(row.table for row in PAPER_ROWS) == {1: 9, 3: 8, 4: 5, 5: 3, 6: 2, 7: 3}
    assert len(COCO_ROWS) == 5
    assert len({(row.table, row.row) for row in PAPER_ROWS}) == len(PAPER_ROWS)


def test_accuracies_of_the_two_splits_are_told_apart():
    assert {row.table for row in PAPER_ROWS if row.split == "held-out"} == {3, 5}
    assert {row.table for row in PAPER_ROWS if row.split == "test"} == {1, 4, 6, 7}


def test_tables_that_repeat_a_network_print_the_same_numbers():
    """ResNet-50 with attention in all stages stands in five tables: a wrong digit would show."""
    printed = defaultdict(set)
    for row in PAPER_ROWS:
        network = row.model.canonical(224).model_dump_json()
        printed[network, "flops"].add(row.flops)
        printed[network, "params"].add(row.params)
        printed[network, row.split].add(row.top1)
    assert len(printed) > 30
    for numbers in printed.values():
        assert len(numbers - {None}) <= 1


def test_numbers_are_in_the_units_of_the_paper():
    for row in PAPER_ROWS:
        assert row.params is None or 10 < row.params < 26
        assert 4 < row.flops < 9
        assert 74 < row.top1 < 81
        assert row.single_source <= {"params", "flops", "top1"}
    assert {row.table for row in PAPER_ROWS if row.params is None} == {4, 7}
