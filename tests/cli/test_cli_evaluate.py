"""plurimask evaluate: what it prints and writes, and what it refuses."""

import csv
import json
from contextlib import nullcontext

import numpy as np
import pytest
from in_turn import InTurn
from running import SCORES, files, full_disk, write_image
from tiny import SIZE, SMALL, write_cases, write_weights

import plurimask as pm
from plurimask.datasets.dataset import BY_HASH
from plurimask.datasets.open import choose_cases


def test_evaluate_refuses_a_folder_without_masks(run, out, dataset, tmp_path):
    (tmp_path / "empty").mkdir()
    said = run("evaluate", tmp_path / "empty", "--data", dataset, "--out", out)
    assert said.refused("CASE/masks.npz", "draw masks first")
    assert not out.exists()


def test_evaluate_refuses_a_file_to_write_to_before_it_reads_any_mask(run, dataset, tmp_path):
    """The masks are not there either: that would be the next refusal."""
    taken = tmp_path / "taken"
    taken.touch()
    assert run("evaluate", tmp_path / "none", "--data", dataset, "--out", taken).refused("taken", "a file")


def test_evaluate_refuses_a_folder_that_cannot_be_made_before_it_reads_any_mask(run, dataset, tmp_path):
    (tmp_path / "taken").touch()
    out = tmp_path / "taken" / "scores"
    assert run("evaluate", tmp_path / "none", "--data", dataset, "--out", out).refused(
        "a file, ", "taken; name another"
    )
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    said = run("evaluate", tmp_path / "none", "--data", dataset, "--out", tmp_path / "loop" / "scores")
    assert said.refused("a link to nothing, ", "loop; name another")


def test_what_trains_or_draws_refuses_a_file_to_write_to_before_it_works(run, dataset, toml, tmp_path, monkeypatch):
    taken = tmp_path / "taken"
    taken.touch()

    def work(*given, **named):
        raise AssertionError("at work")

    for name in ("benchmark.open_bench", "demo.load", "datasets.store.open_store"):  # imported before any is replaced
        monkeypatch.setattr(f"plurimask.{name}", work)
    for command in (("train", toml), ("benchmark", "smoke"), ("demo",)):
        data = () if command == ("demo",) else ("--data", dataset)
        assert run(*command, *data, "--out", taken).refused("taken", "a file")
        assert run(*command, *data, "--out", taken / "in").refused("expected a folder, got a file")


def test_a_link_to_itself_is_refused_wherever_it_stands(run, out, dataset, drawn, tmp_path):
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert run("evaluate", loop, "--data", dataset, "--out", out).code == 2
    assert run("evaluate", drawn, "--data", loop, "--out", out).code == 2
    assert run("evaluate", drawn, "--data", dataset, "--cases", loop, "--out", out).code == 2
    assert run("evaluate", drawn, "--data", dataset, "--compare", loop, "--out", out).code == 2
    assert run("evaluate", drawn, "--data", dataset, "--out", loop).code == 2
    assert not out.exists()


def test_a_folder_of_scores_is_of_one_run(run, out, dataset, drawn, tmp_path, monkeypatch):
    """What an earlier run wrote goes, what is not ours stays, and a run that ends half-way changes nothing."""
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    assert run("evaluate", drawn, "--data", dataset, "--out", out, "--compare", drawn).code == 0
    assert files(out) == SCORES | {"comparison.json", "mine.txt"}
    before = {name: (out / name).read_bytes() for name in files(out)}
    with monkeypatch.context() as patch:
        patch.setattr("plurimask.show.cases.write_report", lambda *given: (out / "no" / "folder").touch())
        assert run("evaluate", drawn, "--data", dataset, "--out", out, "--count", 1).code == 2
    assert {name: (out / name).read_bytes() for name in files(out)} == before
    assert run("evaluate", drawn, "--data", dataset, "--out", out, "--count", 1).code == 0
    assert files(out) == SCORES | {"mine.txt"}


def test_masks_without_a_method_are_called_by_their_folder(run, out, tmp_path, dataset):
    full = write_full(tmp_path / "full", dataset)
    assert run("evaluate", full, "--data", dataset, "--out", out).code == 0
    page = (out / "report.html").read_text()
    assert f"<h1>masks in {tmp_path.name}/full against the readers</h1>" in page


def test_evaluate_refuses_masks_of_another_split(run, out, dataset, drawn):
    said = run("evaluate", drawn, "--data", dataset, "--split", "train", "--out", out)
    assert said.refused("one of the cases to be scored", "name the cases that were drawn")
    assert not out.exists()


def test_evaluate_refuses_masks_of_a_case_that_the_dataset_does_not_have(run, out, dataset, panels):
    next(panels.iterdir()).rename(panels / "stranger")
    assert run("evaluate", panels, "--data", dataset, "--out", out).refused("stranger", "a case of the dataset")
    assert not out.exists()


def test_evaluate_refuses_a_truncated_mask_set(run, out, dataset, panels):
    path = next(panels.glob("*/masks.npz"))
    path.write_bytes(path.read_bytes()[:60])
    assert run("evaluate", panels, "--data", dataset, "--out", out).refused(path.parent.name, "a whole masks.npz")
    assert not out.exists()


def test_evaluate_refuses_data_that_is_not_there(run, out, drawn, tmp_path):
    assert run("evaluate", drawn, "--data", tmp_path / "none", "--out", out).refused("a dataset folder")


def test_evaluate_writes_a_row_a_case_names_its_data_and_prints_the_table(run, out, dataset, drawn):
    said = run("evaluate", drawn, "--data", dataset, "--out", out)
    assert said.code == 0
    assert files(out) == SCORES
    with (out / "scores.csv").open() as file:
        assert {row["name"] for row in csv.DictReader(file)} == {path.name for path in drawn.iterdir()}
    assert all(word in said.out for word in ("cimd", "all empty", "majority", "calibrated", "N = 2 samples"))
    assert f"Open {out / 'report.html'} in a browser." in said.out
    data = {"digest": pm.open_dataset(dataset).digest, "split": "test", "cases": None, "limit": None}
    assert json.loads((out / "summary.json").read_text())["data"] == data | {"split_by": BY_HASH}


def test_a_file_of_sides_says_which_cases_are_scored_and_is_recorded(run, out, tmp_path, dataset, drawn, sides):
    chosen = sorted(path.name for path in drawn.iterdir())[:2]
    table = sides(tmp_path / "list.csv", test=[*chosen, "elsewhere", "nowhere"], val=["nobody"])
    said = run("evaluate", drawn, "--data", dataset, "--split-file", table, "--out", out)
    assert f"{table}: the data lacks 3 of its patients (2 of test, 1 of val), first its number 3\n" in said.out
    assert "2 cases" in said.out
    data = json.loads((out / "summary.json").read_text())["data"]
    assert (data["split_by"], data["split"]) == ("list.csv", "test")
    assert data["digest"] == pm.open_dataset(dataset, table).digest


def test_a_file_of_sides_that_lacks_patients_of_the_data_is_refused(run, out, tmp_path, dataset, drawn):
    (tmp_path / "list.csv").write_text("patient,side\npatient-1,test\n")
    said = run("evaluate", drawn, "--data", dataset, "--split-file", tmp_path / "list.csv", "--out", out)
    assert said.refused("list.csv", f"the side of every patient of {dataset}", "39 without one")
    assert not out.exists()


def test_one_bit_pngs_score_as_masks_of_eight_bits(run, tmp_path, dataset):
    names = choose_cases(pm.open_dataset(dataset), "test", None)
    tables = []
    for bits, drawn in ((1, True), (8, np.uint8(255))):
        root = tmp_path / str(bits)
        for case in (case for case in pm.open_dataset(dataset) if case.name in names):
            write_image(root / "data" / case.name / "image.png", case.image[0].astype(np.uint8))
            for number, mask in enumerate(case.readers):
                write_image(root / "data" / case.name / f"label{number}.png", mask * drawn)
                write_image(root / "own/masks" / case.name / f"sample{number}.png", np.roll(mask, number, 0) * drawn)
        scored = root / "own/masks", "--data", root / "data", "--split", "all", "--out", root / "out"
        assert run("evaluate", *scored).code == 0
        assert files(root / "out") == SCORES
        tables.append((root / "out" / "scores.csv", json.loads((root / "out" / "summary.json").read_text())["table"]))
    (one, one_table), (eight, eight_table) = tables
    assert one.read_bytes() == eight.read_bytes()
    assert one_table == eight_table


def test_a_case_list_names_the_cases_in_its_order(run, out, tmp_path, dataset, weights, drawn):
    names = sorted((path.name for path in drawn.iterdir()), reverse=True)
    (tmp_path / "list.txt").write_text("# mine\n" + "\n".join(names))
    chosen = ("--cases", tmp_path / "list.txt", "--limit", 1, "--out", out)
    assert run("sample", weights, dataset, *chosen, "--count", 1).code == 0
    assert files(out) == {f"{name}/{file}" for name in names[:1] for file in ("masks.npz", "set.json")}
    said = run("evaluate", drawn, "--data", dataset, *chosen)
    assert "1 cases" in said.out
    assert f"{len(names) - 1} mask sets of cases that were not to be scored are passed over\n" in said.out


def test_what_was_drawn_beside_the_scored_side_is_told(run, out, tmp_path, dataset, weights):
    run("sample", weights, dataset, "--count", 1, "--out", tmp_path / "all")
    said = run("evaluate", tmp_path / "all", "--data", dataset, "--out", out)
    assert "are passed over (only the test side is scored; --split all scores every side)" in said.out


def test_the_first_masks_alone_are_scored(run, out, dataset, drawn):
    assert "N = 1 samples" in run("evaluate", drawn, "--data", dataset, "--count", 1, "--out", out).out


def write_full(folder, dataset, count=2):
    """Masks that hold every pixel, by a program without a name, for the cases of the test side."""
    folder.mkdir()
    for name in choose_cases(pm.open_dataset(dataset), "test", None):
        np.save(folder / f"{name}.npy", np.ones((count, SIZE, SIZE), dtype=bool))
    return folder


def test_two_folders_of_masks_are_compared(run, out, tmp_path, dataset, drawn):
    full = write_full(tmp_path / "full", dataset)
    said = run("evaluate", full, "--data", dataset, "--out", out, "--compare", drawn)
    assert f"A: masks in {tmp_path.name}/full · B: cimd" in " ".join(said.out.split())
    written = json.loads((out / "comparison.json").read_text())
    assert written["a"]["mean"]["sensitivity"] == 1
    difference = written["a"]["mean"]["ged_v"] - written["b"]["mean"]["ged_v"]
    assert written["difference"]["mean"]["ged_v"] == pytest.approx(difference)


def test_a_comparison_that_cannot_be_is_refused_with_its_folder_before_anything_is_written(
    run, out, tmp_path, dataset, drawn
):
    other = write_full(tmp_path / "other", dataset, count=3)
    said = run("evaluate", drawn, "--data", dataset, "--out", out, "--compare", other)
    assert said.refused("--compare", str(other), "expected 2 samples on both sides, got 2 and 3")
    assert not out.exists()


def test_full_disk_while_scoring(run, out, dataset, drawn):
    with full_disk(300):
        answer = run("evaluate", drawn, "--data", dataset, "--out", out)
    assert answer.refused("File too large", "free space")
    assert not files(out)


def test_a_model_is_scored_with_both_kinds_of_panel(run, out, dataset, weights):
    options = ["--split", "all", "--limit", 2, "--count", 3, "--panel", "representative", "--pool", 6]
    said = run("evaluate", "--model", weights, "--data", dataset, "--out", out, *options)
    assert said.code == 0
    assert "cimd, representative: no U-GED and no d_SS, which need independent draws" in " ".join(said.out.split())
    table = json.loads((out / "summary.json").read_text())["table"]
    assert [row["label"] for row in table[:2]] == ["cimd", "cimd, representative"]
    assert "ged_u" not in table[1]["mean"]
    assert "which need independent draws" in (out / "report.html").read_text()
    chosen = [pm.read_mask_set(path) for path in (out / "representative").iterdir()]
    assert [sum(panel.weights) for panel in chosen] == [6, 6]
    again = run("evaluate", out / "representative", "--data", dataset, "--split", "all", "--out", out / "again")
    assert again.code == 0
    assert "what share of readers would draw about each" in (out / "again/report.html").read_text()


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([], "evaluate: expected a folder of masks, or --model, got neither"),
        (["masks", "--model", "lidc"], "evaluate: expected a folder of masks, or --model, got both"),
        (["masks", "--panel", "representative"], "--panel: expected --model, got masks"),
        (["masks", "--pool", 9], "--pool: expected --model, got masks"),
        (["masks", "--seed", 5], "--seed: expected --model, got masks"),
        (["masks", "--device", "cpu"], "--device: expected --model, got masks"),
        (["--model", "lidc", "--compare", "none"], "none: expected "),
        (["--model", "lidc", "--pool", 9], "pool: expected none for independent draws, got 9"),
    ],
)
def test_evaluate_refuses_what_does_not_go_together(run, out, dataset, given, words):
    assert run("evaluate", *given, "--data", dataset, "--out", out).refused(words)
    assert not out.exists()


def test_a_model_that_knows_readers_is_drawn_and_scored_as_each(run, out, tmp_path):
    data = write_cases(tmp_path / "cases", count=4)
    signed = [
        f"case-{number:02d},label{label},{who}" for number in range(4) for label, who in enumerate(("ann", "bob"))
    ]
    (data / "readers.csv").write_text("\n".join(["case,label,reader", *signed]) + "\n")
    method = {"name": "one-pass"} | SMALL["one-pass"] | {"readers": ["ann", "bob"]}
    weights = write_weights(tmp_path / "known.safetensors", method=method, sampler=None)
    assert run("sample", weights, data, "--out", out, "--count", 3, "--reader", "bob").code == 0
    assert pm.read_mask_set(out / "case-00").settings["reader"] == "bob"
    said = run("sample", weights, data, "--out", out, "--count", 3, "--reader", "cleo")
    assert said.refused("--reader: expected one of ann, bob, got cleo")
    scores = tmp_path / "scores"
    given = ("evaluate", "--model", weights, "--data", data, "--split", "all", "--count", 3, "--out", scores)
    said = run(*given, "--each-reader")
    assert "masks drawn as each reader" in said.out
    drawn_as = json.loads((scores / "summary.json").read_text())["drawn_as"]
    assert list(drawn_as["by_reader"]) == ["ann", "bob"]
    assert np.shape(drawn_as["dice"]) == (2, 2)
    assert files(scores / "as") >= {f"{who}/masks/case-00/masks.npz" for who in ("ann", "bob")}
    page = (scores / "report.html").read_text()
    assert page.index("Readers who are known") < page.index("masks drawn as each reader")


def test_each_reader_is_asked_of_models_that_know_some(run, out, dataset, drawn, weights):
    said = run("evaluate", "--model", weights, "--data", dataset, "--out", out, "--count", 2, "--each-reader")
    assert said.refused("--each-reader: expected a model that was trained on known readers, got tiny; leave it out")
    assert run("evaluate", drawn, "--data", dataset, "--out", out, "--each-reader").refused("--each-reader", "--model")


def test_a_cluster_draws_and_scores_the_same_at_an_address(run, out, dataset, weights, tmp_path, monkeypatch):
    drawing = "--count", 2, "--panel", "representative", "--pool", 3
    assert run("evaluate", "--model", weights, "--data", dataset, "--out", tmp_path / "here", *drawing).code == 0
    far = "--data", f"file://{dataset}", "--out", f"file://{out}"
    assert run("evaluate", "--model", weights, *far, *drawing).refused("expected --engine ray")
    monkeypatch.setattr("plurimask.cluster.Cluster", lambda address: nullcontext(InTurn()))
    said = run("evaluate", "--model", weights, *far, *drawing, "--engine", "ray")
    assert said.code == 0, said.err
    assert files(out) == files(tmp_path / "here")
    for name in ("scores.csv", "summary.json"):
        assert (out / name).read_text() == (tmp_path / "here" / name).read_text()


def test_evaluate_refuses_data_that_nobody_read(run, out, drawn, tmp_path):
    data = write_cases(tmp_path / "cases")
    for label in data.glob("*/label*"):
        label.unlink()
    said = run("evaluate", drawn, "--data", data, "--split", "all", "--out", out)
    assert said.refused("expected readers' masks, of one case at least, got none")
