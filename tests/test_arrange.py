"""What a user asks of a table: columns, rows, order, marks."""

import dataclasses

import pytest

from fer_bench.records import units
from fer_bench.records.errors import FerBenchError
from fer_bench.reporting import arrange
from fer_bench.reporting.table import Column, Table

NAME = Column("name", "Network", align="left")
MACS = Column("macs", "MACs", units.scaled, better="lower")
LATENCY = Column("latency_s", "Latency (ms)", units.milliseconds, better="lower", interval="interval_s")
RATE = Column("rate", "Rate", better="higher")
PUBLISHED = Column("accuracy", "Accuracy, as published", align="left")


def table(*rows, columns=(NAME, MACS, LATENCY), **more):
    return Table("t", columns, rows, notes=tuple((f"of {row['name']}",) for row in rows), **more)


def timed(name, low, high):
    return {"name": name, "latency_s": (low + high) / 2, "interval_s": (low, high)}


def marks(of):
    return [dict(row) for row in arrange.mark_best(of).marks]


def names(of):
    return [row["name"] for row in of.rows]


COUNTED = table(
    {"name": "a", "macs": 30}, {"name": "b", "macs": 10}, {"name": "c", "macs": None}, {"name": "d", "macs": 20}
)


def test_columns_are_found_by_key_or_heading_in_the_order_asked_for():
    of = dataclasses.replace(COUNTED, columns=(NAME, MACS, PUBLISHED))
    (found,) = arrange.choose_columns({"t": of}, "Accuracy, as published, macs,NETWORK").values()
    assert [column.key for column in found.columns] == ["accuracy", "macs", "name"]


def test_the_name_of_a_row_stays_before_its_columns_unless_it_is_asked_for_elsewhere():
    (found,) = arrange.choose_columns({"t": COUNTED}, "latency_s,macs,MACs,latency_s").values()
    assert [column.key for column in found.columns] == ["name", "latency_s", "macs"]
    (found,) = arrange.choose_columns({"t": dataclasses.replace(COUNTED, columns=(NAME, MACS))}, "macs,name").values()
    assert (found.label, found.label_place) == ("name", 1)
    assert [row[0] for row in found.cells()] == ["30", "10", "–", "20"]
    assert [row[1] for row in found.cells()][:2] == ["a [1]", "b [2]"]


def test_only_tables_that_have_all_columns_are_kept():
    other = dataclasses.replace(COUNTED, columns=(NAME, LATENCY))
    assert list(arrange.choose_columns({"one": COUNTED, "other": other}, "name,latency_s")) == ["one", "other"]
    assert list(arrange.choose_columns({"one": COUNTED, "other": other}, "name,macs")) == ["one"]


def test_an_unknown_column_is_reported_with_those_that_there_are():
    with pytest.raises(FerBenchError, match="no table has beauty; t has name, macs, latency_s"):
        arrange.choose_columns({"t": COUNTED}, "name,beauty")
    split = {
        "one": dataclasses.replace(COUNTED, columns=(MACS,)),
        "other": dataclasses.replace(COUNTED, columns=(NAME,)),
    }
    with pytest.raises(FerBenchError, match=r"no table has all of them; name is in other; macs is in one$"):
        arrange.choose_columns(split, "name,macs")


def test_of_many_columns_an_error_names_the_nearest_and_the_first():
    many = Table("t", tuple(Column(f"key{n}", f"Key {n}") for n in range(20)), ())
    with pytest.raises(FerBenchError) as caught:
        arrange.choose_columns({"one": many, "other": many}, "key99")
    assert "no table has key99 (did you mean key9 or key19 or key8?)" in str(caught.value)
    assert "there are key0, key1, key2, key3, key4, key5, key6, key7 and 12 more: --table NAME" in str(caught.value)


def test_a_model_that_is_named_twice_has_its_rows_once():
    assert names(arrange.choose_models({"t": COUNTED}, ["d", "a", "d"])["t"]) == ["d", "a"]


def test_rows_of_models_come_in_the_order_asked_for_with_their_notes():
    (found,) = arrange.choose_models({"t": COUNTED}, ["d", "a"]).values()
    assert names(found) == ["d", "a"]
    assert found.notes == (("of d",), ("of a",))


def test_a_table_without_networks_stays_and_one_without_the_network_goes():
    machine = Table("machine", (Column("cpu", "CPU"),), ({"cpu": "x"},))
    assert list(arrange.choose_models({"t": COUNTED, "m": machine, "u": table({"name": "z"})}, ["a"])) == ["t", "m"]


def test_an_unknown_model_is_reported_with_the_nearest():
    near = table({"name": "resnet50"}, {"name": "vgg13_ferplus"})
    with pytest.raises(FerBenchError, match=r"--models resnet5: no table has it; did you mean resnet50\?"):
        arrange.choose_models({"t": near}, ["resnet5"])
    with pytest.raises(FerBenchError, match="there are resnet50, vgg13_ferplus"):
        arrange.choose_models({"t": near}, ["zzz"])


@pytest.mark.parametrize(("key", "order"), [("macs", "bdac"), ("-MACs", "adbc"), ("name", "abcd"), ("-name", "dcba")])
def test_rows_are_sorted_by_raw_values_and_missing_ones_come_last(key, order):
    assert "".join(names(arrange.sort_rows({"t": COUNTED}, key)["t"])) == order


@pytest.mark.parametrize("key", ["macs", "-macs"])
def test_equal_rows_stay_as_they_were(key):
    equal = table(*({"name": name, "macs": 5} for name in "xay"))
    assert names(arrange.sort_rows({"t": equal}, key)["t"]) == ["x", "a", "y"]


def test_shapes_sort_by_their_numbers():
    shapes = ([3, 224, 224], [3, 48, 48], (1, 96, 96))
    of = table(*({"name": str(n), "macs": shape} for n, shape in enumerate(shapes)))
    assert names(arrange.sort_rows({"t": of}, "macs")["t"]) == ["2", "1", "0"]


def test_to_sort_by_what_no_table_has_is_a_mistake_and_by_what_one_has_is_none():
    other = dataclasses.replace(COUNTED, columns=(NAME,))
    assert names(arrange.sort_rows({"t": COUNTED, "o": other}, "macs")["o"]) == ["a", "b", "c", "d"]
    with pytest.raises(FerBenchError, match="--sort -beauty: no table has that column; o has name"):
        arrange.sort_rows({"o": other}, "-beauty")


def test_marks_and_notes_go_with_their_rows():
    rows = [row for row in COUNTED.rows if row["macs"] is not None]
    found = arrange.sort_rows({"t": arrange.mark_best(table(*rows))}, "macs")["t"]
    assert found.marks == ({"macs": "best"}, {"macs": "second"}, {})
    assert found.notes[0] == ("of b",)
    assert "italic" not in arrange.choose_columns({"t": found}, "latency_s")["t"].legend("bold", "italic")


def test_equal_counts_share_a_mark_and_the_last_gets_none():
    of = table(*({"name": str(n), "macs": macs} for n, macs in enumerate((2, 1, 1, 2, 3))))
    assert marks(of) == [{"macs": "second"}, {"macs": "best"}, {"macs": "best"}, {"macs": "second"}, {}]
    assert marks(table({"name": "a", "macs": 1}, {"name": "b", "macs": 2})) == [{"macs": "best"}, {}]
    assert marks(table({"name": "a", "macs": 1}, {"name": "b", "macs": 1})) == [{}, {}]


def test_more_can_be_better():
    of = table(*({"name": str(n), "rate": rate} for n, rate in enumerate((1, 3, 2))), columns=(NAME, RATE))
    assert marks(of) == [{}, {"rate": "best"}, {"rate": "second"}]


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        (((1, 2), (3, 4), (5, 6)), ["best", "second", None]),
        (((1, 3), (2, 4), (5, 6)), [None, None, None]),  # the best two overlap
        (((1, 2), (3, 5), (4, 6)), ["best", None, None]),  # the second and third do
        (((1, 2), (2, 3), (5, 6)), [None, None, None]),  # touching is not apart
        (((1, 2), (1, 2), (5, 6)), [None, None, None]),  # equal intervals are no equal times
        (((4, 5), (1, 9), (6, 7)), [None, None, None]),  # a wide one overlaps all
    ],
)
def test_times_are_marked_only_where_their_intervals_are_apart(spans, expected):
    of = table(*(timed(str(n), *span) for n, span in enumerate(spans)))
    assert [row.get("latency_s") for row in marks(of)] == expected


def test_a_time_without_an_interval_is_never_compared():
    of = table(timed("a", 1, 2), timed("b", 3, 4), {"name": "c", "latency_s": 9})
    assert marks(of) == [{}, {}, {}]


def test_a_value_that_is_known_to_a_tolerance_is_apart_only_beyond_it():
    columns = (NAME, dataclasses.replace(MACS, tolerance="share"))
    rows = {"name": "exact", "macs": 100}, {"name": "printed", "macs": 104, "share": 0.05}, {"name": "c", "macs": 200}
    assert marks(table(*rows, columns=columns)) == [{}, {}, {}]
    assert marks(table(*rows, columns=(NAME, MACS)))[:2] == [{"macs": "best"}, {"macs": "second"}]


def test_nothing_is_marked_where_settings_or_machines_differ():
    rows = [{"name": name, "macs": n, "batch": batch} for n, (name, batch) in enumerate((("a", 1), ("b", 2), ("c", 1)))]
    columns = (NAME, MACS, Column("batch", "Batch", setting=True))
    assert arrange.mark_best(table(*rows, columns=columns)).marks == ()
    same = table(*(row | {"batch": 1} for row in rows), columns=columns)
    assert [row.get("macs") for row in marks(same)] == ["best", "second", None]
    assert arrange.mark_best(dataclasses.replace(same, comparable=False)).marks == ()


def test_where_a_network_that_was_measured_has_no_value_nothing_is_best():
    assert marks(COUNTED) == [{}, {}, {}, {}]
    ours = ({"name": "a", "macs": 1, "latency_s": 3}, {"name": "b", "macs": 2, "latency_s": None})
    columns = (NAME, MACS, dataclasses.replace(LATENCY, interval=""))
    assert marks(table(*ours, columns=columns)) == [{"macs": "best"}, {}]


def test_a_network_of_a_paper_may_lack_a_value_and_the_legend_says_so():
    rows = ({"name": "a", "macs": 1}, {"name": "b", "macs": 2}, {"name": "theirs", "macs": None, "paper": "p"})
    marked = arrange.mark_best(table(*rows))
    assert marked.marks[0] == {"macs": "best"}
    assert "best of those measured" in marked.legend("bold", "italic")
    assert "measured" not in arrange.mark_best(table(*rows[:2])).legend("bold", "italic")


def test_networks_with_another_number_of_classes_are_not_compared():
    rows = [
        {"name": name, "macs": macs, "num_classes": classes}
        for name, macs, classes in (("faces", 1, 2), ("a", 2, 7), ("b", 3, 7), ("theirs", 4, None))
    ]
    marked = arrange.mark_best(table(*rows))
    assert marked.marks == ({}, {"macs": "best"}, {"macs": "second"}, {})
    assert "another number of classes than most are not compared" in marked.legend("bold", "italic")
    assert marks(table(*rows[:2])) == [{}, {}]  # as many of either
    assert arrange.mark_best(table(*rows[1:])).marking == ()


def test_the_legend_says_that_inputs_differ():
    rows = [{"name": str(n), "macs": n, "input_shape": shape} for n, shape in enumerate(([3, 8, 8], (3, 8, 8), None))]
    assert arrange.mark_best(table(*rows)).marking == ()
    other = {"name": "z", "macs": 9, "input_shape": (1, 8, 8)}
    assert arrange.mark_best(table(*rows, other)).legend("bold", "italic").endswith("; inputs differ.")
