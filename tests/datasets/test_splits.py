"""Splits: shares, stability, known answers, refusals; the rank of cases, and a spread of them over patients."""

import os
import runpy
from collections import Counter
from pathlib import Path

import pytest

from plurimask.datasets.open import choose_cases, open_dataset
from plurimask.datasets.splits import (
    SplitRule,
    check_disjoint,
    describe_sides,
    ranked,
    read_case_list,
    read_patients,
    read_readers,
    read_sides,
    split_indices,
    split_of,
    spread,
)
from plurimask.errors import DatasetError, InputError, SettingsError
from plurimask.files.texts import csv_text


class Listed:
    """Names and patients, which is all that splits look at."""

    root = "listed"

    def __init__(self, names, patients, sides=None):
        self.names, self.patients, self.sides = names, patients, sides or {}

    def __len__(self):
        return len(self.names)


def listed(count, patients):
    return Listed([f"case-{i}" for i in range(count)], [f"patient-{i % patients}" for i in range(count)])


def test_shares_are_80_10_10_within_three_standard_errors():
    sides = [split_of(f"LIDC-IDRI-{i:04d}") for i in range(20_000)]
    assert sides.count("train") / 20_000 == pytest.approx(0.8, abs=3 * (0.8 * 0.2 / 20_000) ** 0.5)
    assert sides.count("val") / 20_000 == pytest.approx(0.1, abs=3 * (0.1 * 0.9 / 20_000) ** 0.5)


@pytest.mark.parametrize(
    ("patient", "side"),
    # First 16 hex digits of `printf ID | b2sum -l 64`: below cccc..., below e666..., or above.
    [("LIDC-IDRI-0001", "train"), ("LIDC-IDRI-0002", "train"), ("i", "val"), ("s", "val"), ("LIDC-IDRI-0014", "test")],
)
def test_known_sides(patient, side):
    assert split_of(patient) == side


def test_sides_stay_when_cases_are_added_in_front():
    few, many = listed(30, 15), listed(300, 15)
    shifted = Listed(["new", *many.names], ["patient-new", *many.patients])
    for side in ("train", "val", "test"):
        chosen = {shifted.names[i] for i in split_indices(shifted, side)}
        assert {few.names[i] for i in split_indices(few, side)} == chosen & set(few.names)


def test_every_case_is_on_one_side_and_no_patient_on_two():
    data = listed(1000, 100)
    sides = {side: split_indices(data, side) for side in ("train", "val", "test")}
    assert sorted(i for indices in sides.values() for i in indices) == list(range(1000))
    check_disjoint({side: [data.patients[i] for i in indices] for side, indices in sides.items()})


def test_a_shared_patient_is_refused_without_naming_it():
    with pytest.raises(DatasetError, match="no patient on both train and test, got 1 shared") as caught:
        check_disjoint({"train": ["a", "secret"], "val": ["b"], "test": ["secret"]})
    assert "secret" not in str(caught.value)


def test_a_case_without_patient_is_refused():
    with pytest.raises(
        DatasetError, match=r"y: expected a patient, .* got none; list every case in patients\.csv .*\)$"
    ):
        split_indices(Listed(["x", "y"], ["p", None]), "train")


@pytest.mark.parametrize(("patients", "asked"), [([None], True), (["p"], True), ([None], False), (["p"], False)])
def test_only_a_command_with_that_option_is_pointed_to_split_all(patients, asked):
    with pytest.raises(DatasetError, match=r"patients\.csv|split\.csv") as caught:
        split_indices(Listed(["x"], patients, {"p": "train"}), "val", asked=asked)
    assert ("--split all" in str(caught.value)) is asked


def test_all_asks_for_no_patients():
    assert split_indices(Listed(["x", "y"], [None, None]), "all") == [0, 1]


def test_sides_that_the_dataset_brings_take_the_place_of_the_hash():
    sides = {"p": "test", "q": "val", "r": "train"}
    data = Listed(["x", "y", "z", "w"], ["p", "q", "r", "p"], sides)
    assert [split_indices(data, side) for side in ("train", "val", "test")] == [[2], [1], [0, 3]]


def test_an_unknown_split_is_refused():
    with pytest.raises(DatasetError, match="expected train, val, test or all, got tset"):
        split_indices(listed(3, 3), "tset")


def test_an_empty_side_is_refused():
    train_only = next(f"p{i}" for i in range(99) if split_of(f"p{i}") == "train")
    with pytest.raises(
        DatasetError, match=r"at least one patient on the test side, got none among 1 patient; .*--split-by rank"
    ):
        split_indices(Listed(["x"], [train_only]), "test")


@pytest.mark.parametrize("count", [3, 4, 10, 29])
def test_exact_shares_leave_no_side_empty_and_are_the_nearest(count):
    patients = [f"p{number}" for number in range(count)]
    sides = Counter(SplitRule("rank", 0.2, 0.2).sides(patients).values())
    assert sides.total() == count
    assert min(sides.values()) >= 1
    assert sides["test"] == sides["val"] == max(1, round(count / 5))


@pytest.mark.parametrize(("count", "folds"), [(29, 5), (5, 5), (4, 2), (3, 3)])
def test_folds_test_every_patient_once_and_share_no_patient(count, folds):
    patients = [f"p{number}" for number in range(count)]
    parts = [SplitRule(folds=folds).sides(patients, fold) for fold in range(1, folds + 1)]
    tested = [patient for sides in parts for patient, side in sides.items() if side == "test"]
    assert sorted(tested) == sorted(patients)
    assert all(set(sides) == set(patients) and set(sides.values()) == {"train", "val", "test"} for sides in parts)
    sizes = [list(sides.values()).count("test") for sides in parts]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("rule", "count", "message"),
    [
        (SplitRule(folds=5), 4, "at least 5 patients for 5 folds, got 4; ask for fewer folds"),
        (SplitRule(folds=2), 3, "at least 4 patients for 2 folds, got 3"),
        (SplitRule("rank"), 2, "at least 3 patients for three sides, got 2"),
    ],
)
def test_too_few_patients_for_a_rule_are_refused(rule, count, message):
    with pytest.raises(DatasetError, match=message):
        rule.sides([f"p{number}" for number in range(count)], 1)


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0, 0.1), (0.1, -1), (float("nan"), 0.1)])
def test_shares_that_leave_none_to_train_are_refused(shares):
    with pytest.raises(SettingsError, match="shares above 0 that leave some to train"):
        SplitRule("rank", *shares)


def test_sides_in_words_count_patients_and_cases():
    said = describe_sides(["p", "p", "q", None], {"p": "train", "q": "val"}, "split.csv")
    assert said == "2 patients: 1 train (2 cases), 1 val (1 case), 0 test (0 cases), by split.csv"
    assert describe_sides(["p", "q"], {"p": "val", "q": "val"}, "x") == "2 patients: 0 train, 2 val, 0 test, by x"


def readers_file(tmp_path, *lines):
    path = tmp_path / "readers.csv"
    path.write_text("case,label,reader\n" + "\n".join(lines) + "\n")
    return path


def test_readers_are_known_by_case_and_label(tmp_path):
    path = readers_file(tmp_path, "a,label1,ann", "a,label0,bob", "b,label1,ann")
    assert read_readers(path, {"a": 2, "b": 3, "c": 1}) == {"a": ("bob", "ann"), "b": (None, "ann", None)}
    assert read_readers(tmp_path / "none.csv", {"a": 2}) == {}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("A,label0,ann", "line 3: expected the name of a case folder, got 'A'"),
        ("a,label2,ann", "line 3: expected a label of case a, label0 to label1, got 'label2'"),
        ("b,label0,ann", "line 3: expected a label of case b, no label, got 'label0'"),
        ("a,label0,ann", "line 3: expected one label a reader and case, got label0 again"),
        ("a,label1,bob", "line 3: expected one label a reader and case, got a second one of case a by bob"),
        ("a,label1,", "line 3: expected a case and its label and its reader, got a cell that is empty"),
    ],
)
def test_readers_of_what_is_not_there_or_twice_are_refused(tmp_path, line, message):
    with pytest.raises(DatasetError, match=message):
        read_readers(readers_file(tmp_path, "a,label0,bob", line), {"a": 2, "b": 0})


def test_spread_takes_every_patient_before_any_second_case():
    data = listed(100, 10)
    assert len({data.patients[i] for i in spread(data, range(100), 10)}) == 10
    counts = [data.patients[i] for i in spread(data, range(100), 25)]
    assert {counts.count(patient) for patient in set(counts)} == {2, 3}


def test_spread_takes_only_from_the_given_positions_in_order_at_most_all():
    chosen = spread(listed(100, 10), range(50, 100), 7)
    assert len(chosen) == 7
    assert chosen == sorted(chosen)
    assert chosen[0] >= 50
    assert chosen != list(range(50, 57))
    assert spread(listed(9, 4), range(9), 20) == list(range(9))


def test_spread_depends_on_names_and_patients_and_not_on_their_order():
    data = listed(60, 12)
    turned = Listed(data.names[::-1], data.patients[::-1])
    chosen = {data.names[i] for i in spread(data, range(60), 17)}
    assert chosen == {turned.names[i] for i in spread(turned, range(60), 17)}


def test_cases_appended_for_new_patients_leave_the_old_patients_choice():
    data = listed(60, 12)
    more = Listed([*data.names, "n1", "n2"], [*data.patients, "new-1", "new-2"])
    assert spread(data, range(60), 12) == [i for i in spread(more, range(62), 14) if i < 60]


def test_ranked_is_in_rounds_over_the_patients_by_the_hash_of_the_name():
    data = Listed(["a", "b", "c", "d", "e"], ["p", "p", "p", "q", "q"])
    # `printf NAME | b2sum -l 64` begins with 40 for a, 84 for b, 37 for c, b5 for d, 10 for e.
    assert [data.names[i] for i in ranked(data, range(5))] == ["e", "c", "a", "d", "b"]


def test_every_start_of_ranked_is_a_spread():
    data = listed(60, 12)
    order = ranked(data, range(60))
    assert all(sorted(order[:limit]) == spread(data, range(60), limit) for limit in range(61))


# --- Case lists: what a file may hold, and the list that ships with the package against the dataset where it lies.

ROOT = Path(__file__).resolve().parents[2]
REAL = Path(os.environ.get("PLURIMASK_DATA", ROOT.parent / "shared" / "data")) / "lidc-slices-128"
BUILT_IN = ROOT / "src" / "plurimask" / "lists" / "lidc-eval-200.txt"


def write(tmp_path, content):
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    return str(path)


@pytest.mark.parametrize(
    "content",
    [b"# why\n\na\n  # and\n   \nb", b"\xef\xbb\xbfa\r\nb\r\n", b"  a  \n\tb\n"],
    ids=["comments and blank lines", "as Windows writes it", "spaces around"],
)
def test_what_is_no_name_is_ignored(tmp_path, content):
    assert read_case_list(write(tmp_path, content)) == ("a", "b")


def test_names_of_any_script_are_read_in_their_order_with_what_is_in_them(tmp_path):
    assert read_case_list(write(tmp_path, "läsion\n病変\na#1\nc d\n".encode())) == ("läsion", "病変", "a#1", "c d")


def test_a_name_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"list\.txt: expected every case once, got b 2 times"):
        read_case_list(write(tmp_path, b"a\nb\nc\nb\n"))


@pytest.mark.parametrize("content", [b"", b"# nothing\n\n"])
def test_a_list_without_names_is_refused(tmp_path, content):
    with pytest.raises(InputError, match=r"list\.txt: expected one case name a line, got none"):
        read_case_list(write(tmp_path, content))


def test_an_unknown_name_lists_the_built_in_ones():
    with pytest.raises(InputError, match=r"lidc-eval-20: .* built-in lists: lidc-eval-200, got 'No such file"):
        read_case_list("lidc-eval-20")


@pytest.mark.parametrize(("content", "got"), [(b"\xff\xfea\0", "no UTF-8 text"), (None, "Is a directory")])
def test_what_is_no_text_file_is_refused(tmp_path, content, got):
    source = str(tmp_path) if content is None else write(tmp_path, content)
    with pytest.raises(InputError, match=f"expected a text file, or one of the built-in lists.*, got '{got}'"):
        read_case_list(source)


def test_the_list_for_lidc_has_200_slices_on_the_test_side_every_patient_before_any_second_slice():
    names = read_case_list("lidc-eval-200")
    patients = [name.partition("-n")[0] for name in names]
    assert len(set(names)) == len(names) == 200
    assert {split_of(patient) for patient in patients} == {"test"}
    rounds = [patients[:position].count(patient) for position, patient in enumerate(patients)]
    assert rounds == sorted(rounds)


def test_the_list_for_lidc_names_its_source_and_licence():
    comment = [line for line in BUILT_IN.read_text().splitlines() if line.startswith("#")]
    assert "Armato" in "".join(comment)
    assert "CC BY 3.0" in "".join(comment)


@pytest.fixture(scope="module")
def real():
    if not REAL.is_dir():
        pytest.skip(f"no real slices at {REAL}; PLURIMASK_DATA names the folder that holds lidc-slices-128")
    return open_dataset(REAL)


def test_the_tool_makes_the_list_for_lidc_again(real):
    make_list = runpy.run_path(str(ROOT / "tools" / "make_eval_list.py"))["make_list"]
    assert make_list(real) == BUILT_IN.read_text()


@pytest.mark.parametrize("count", [1, 50, 200])
def test_the_first_of_the_list_for_lidc_are_a_spread_over_the_test_patients(real, count):
    expected = {real.names[index] for index in spread(real, split_indices(real, "test"), count)}
    assert set(choose_cases(real, "test", count, read_case_list("lidc-eval-200"))) == expected


# --- One patient is one patient, however the id is written.


@pytest.mark.parametrize("other", ["p1", "\uff301", "P\u200b1", "P1 ", "p1\ufeff"])
def test_a_patient_in_two_spellings_is_refused_with_how_they_differ(other):
    data = Listed(["x", "y", "z"], ["P1", "q", other])
    with pytest.raises(DatasetError, match=r"one spelling of each patient, got two, of cases x and z \(character \d: "):
        split_indices(data, "train")
    with pytest.raises(DatasetError, match="no patient on both train and test, got 1 shared"):
        check_disjoint({"train": ["P1"], "test": [other]})


def test_ids_that_differ_in_more_are_of_different_patients():
    data = Listed(["x", "y", "z"], ["P 1", "P1", "P-1"], {"P 1": "train", "P1": "val", "P-1": "test"})
    assert [split_indices(data, side) for side in ("train", "val", "test")] == [[0], [1], [2]]


def test_patients_whose_names_a_spreadsheet_would_run_come_back_as_they_are(tmp_path):
    patients = {"a": "=1+1", "b": "-x", "c": "'=x", "-d": "-5"}
    (tmp_path / "patients.csv").write_text(csv_text([("case", "patient"), *patients.items()]))
    assert read_patients(tmp_path / "patients.csv", patients) == patients
    (tmp_path / "split.csv").write_text(csv_text([("patient", "side"), *((one, "val") for one in patients.values())]))
    assert read_sides(tmp_path / "split.csv", patients.values()) == dict.fromkeys(patients.values(), "val")
