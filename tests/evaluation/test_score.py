"""Evaluation against the metrics one by one, the reference rows, and what is refused."""

import math
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from in_turn import InTurn
from small_panels import CASES, GRID, SIZE, case, panel

from plurimask.errors import InputError
from plurimask.evaluation import COLUMNS, Scores, evaluate, evaluate_on
from plurimask.evaluation.columns import INDEPENDENT
from plurimask.geometry import Grid
from plurimask.metrics.calibration import (
    brier_score,
    empty_share,
    expected_calibration_error,
    ncc,
    reliability_curve,
    soft_dice,
)
from plurimask.metrics.ci_score import ci_harmonic, ci_score, combined_sensitivity, dice_max, diversity_agreement
from plurimask.metrics.conventions import CONVENTIONS, convention_scores
from plurimask.metrics.degenerate import DEGENERATE, leave_one_out
from plurimask.metrics.ged import calibrated_level, ged, hm_iou, reader_diversity, sample_diversity
from plurimask.metrics.lesion import closest_surface, curvas_crps, one_body, size_crps
from plurimask.records import Case, MaskSet


@pytest.fixture(scope="module")
def scores() -> Scores:
    return evaluate([panel(name) for name in ("a", "b", "alone", "unread")], CASES)


def one_by_one(samples: torch.Tensor, readers: torch.Tensor) -> dict[str, float]:
    parts = [part(samples, readers) for part in (combined_sensitivity, dice_max, diversity_agreement)]
    values = {
        "ged_v": ged(samples, readers),
        "ged_u": ged(samples, readers, estimator="u"),
        "d_ss": sample_diversity(samples),
        "d_yy": reader_diversity(readers),
        "sensitivity": parts[0],
        "dice_max": parts[1],
        "agreement": parts[2],
        "ci": ci_score(*parts),
        "ci_harmonic": ci_harmonic(*parts),
        "hm_iou": hm_iou(samples, readers),
        "soft_dice": soft_dice(samples, readers),
        "ncc": ncc(samples, readers),
        "ece": expected_calibration_error(samples, readers),
        "brier": brier_score(samples, readers),
        "empty_samples": empty_share(samples),
        "empty_readers": empty_share(readers),
        "size_crps": size_crps(samples, readers),
        "size_crps_curvas": curvas_crps(samples, readers),
        "surface": closest_surface(samples, readers),
        "one_body": one_body(samples, readers),
    }
    return {key: value.item() for key, value in values.items()}


def stack(array: np.ndarray) -> torch.Tensor:
    return torch.tensor(array)[None]


def mean_of_defined(values: list[float]) -> float:
    return float(np.nanmean(values)) if not np.isnan(values).all() else math.nan


@pytest.mark.parametrize("name", CASES)
def test_each_value_is_that_of_its_metric(scores, name):
    row = next(row for row in scores.rows if row.name == name)
    expected = one_by_one(stack(panel(name).masks), stack(CASES[name].readers))
    assert row.values == pytest.approx(expected, nan_ok=True)


def test_rows_follow_the_panels_and_know_patient_readers_and_samples(scores):
    facts = [(row.name, row.patient, row.readers, row.samples) for row in scores.rows]
    assert facts == [("a", "p1", 4, 5), ("b", "p1", 4, 5), ("alone", "p2", 1, 5), ("unread", None, 0, 5)]


def test_the_mean_is_over_the_cases_where_a_value_is_defined(scores):
    expected = {key: mean_of_defined([row.values[key] for row in scores.rows]) for key in COLUMNS}
    assert scores.mean == pytest.approx(expected, nan_ok=True)


def test_undefined_values_are_counted(scores):
    by_readers = {"ged_u": 2, "d_yy": 2, "d_ss": 0, "empty_samples": 0, "size_crps_curvas": 2, "one_body": 4}
    assert scores.undefined == {key: by_readers.get(key, 1) for key in COLUMNS}


def test_a_value_that_is_nowhere_defined_has_no_mean():
    assert math.isnan(evaluate([panel("a", count=1)], CASES).mean["d_ss"])


def test_the_table_has_the_method_first_then_the_references(scores):
    assert [row.label for row in scores.table] == [
        "toy",
        *DEGENERATE,
        "five thresholds",
        "reader left out",
        "calibrated",
    ]
    assert {row.samples for row in scores.table} == {scores.samples} == {5}


@pytest.mark.parametrize("label", DEGENERATE)
@pytest.mark.parametrize("count", [1, 2, 7])
def test_a_degenerate_predictor_is_scored_at_the_methods_n(label, count):
    scores = evaluate([panel(name, count) for name in CASES], CASES)
    expected = [
        one_by_one(DEGENERATE[label](stack(case.readers), None, count), stack(case.readers)) for case in CASES.values()
    ]
    values = next(row for row in scores.table if row.label == label).values
    wanted = {
        key: mean_of_defined([one[key] for one in expected]) for key in COLUMNS if key not in ("surface", "one_body")
    }
    assert values == pytest.approx(wanted, nan_ok=True)


def test_the_calibrated_row_holds_the_expected_geds_alone(scores):
    levels = [calibrated_level(stack(case.readers), None, 5).item() for case in CASES.values()]
    assert scores.table[-1].values == pytest.approx({"ged_v": mean_of_defined(levels), "ged_u": 0})


def test_a_reader_left_out_is_scored_by_the_best_and_the_mean_of_the_others(scores):
    read = [stack(case.readers) for case in CASES.values()]
    best = [leave_one_out(readers, measure="dice").best.item() for readers in read]
    mean = [leave_one_out(readers, measure="iou").mean.item() for readers in read]
    row = next(row for row in scores.table if row.label == "reader left out")
    assert row.values == pytest.approx({"dice_max": mean_of_defined(best), "hm_iou": mean_of_defined(mean)})


@pytest.mark.parametrize("name", CONVENTIONS)
def test_a_convention_is_scored_on_the_same_masks(scores, name):
    pairs = [(stack(panel(case.name).masks), stack(case.readers)) for case in CASES.values()]
    every = [convention_scores(name, *pair) for pair in pairs]
    row = next(row for row in scores.conventions if row.label == name)
    assert row.values == pytest.approx({key: mean_of_defined([one[key].item() for one in every]) for key in every[0]})


def test_the_reliability_curve_is_that_of_all_cases_together(scores):
    curves = [reliability_curve(stack(panel(case.name).masks), stack(case.readers)) for case in CASES.values()]
    for sums in ("weight", "predicted", "drawn"):
        assert torch.allclose(getattr(scores.reliability, sums)[0], sum(getattr(one, sums)[0] for one in curves))


def test_the_ranks_count_every_reader_of_every_case_once(scores):
    assert sum(scores.ranks) == pytest.approx(sum(len(case.readers) for case in CASES.values()))
    assert len(scores.ranks) == scores.samples + 1


def test_the_first_samples_alone_are_scored_where_a_count_is_given():
    few = {name: MaskSet(name, panel(name).masks[:3], GRID) for name in CASES}
    expected = evaluate(few.values(), CASES).mean
    assert evaluate([panel(name) for name in CASES], CASES, count=3).mean == pytest.approx(expected, nan_ok=True)


def test_a_panel_with_fewer_samples_than_the_count_is_refused():
    with pytest.raises(InputError, match="a: expected at least 6 masks, got 5"):
        evaluate([panel("a")], CASES, count=6)


@pytest.mark.parametrize("spacing", [0.5, 2.0])
def test_sizes_and_distances_are_in_mm_where_the_spacing_is_known(spacing):
    voxels = evaluate([panel("a")], CASES)
    placed = evaluate([panel("a")], {"a": case("a", grid=Grid.plane(SIZE, spacing))})
    assert (placed.units, voxels.units["surface"]) == (
        {"surface": "mm", "size_crps": "mm²", "size_crps_curvas": "mm²"},
        "voxels",
    )
    assert placed.mean["size_crps"] == pytest.approx(voxels.mean["size_crps"] * spacing**2)
    assert placed.mean["surface"] == pytest.approx(voxels.mean["surface"] * spacing)
    assert placed.rows[0].size == pytest.approx(voxels.rows[0].size * spacing**2)


def test_a_case_of_unknown_spacing_among_others_in_mm_has_no_size():
    cases = {"a": case("a", grid=Grid.plane(SIZE, 0.5)), "b": case("b")}
    row = evaluate([panel("a"), panel("b")], cases).rows[1]
    assert all(math.isnan(value) for value in (row.values["size_crps"], row.values["surface"], row.size))


def test_batches_of_several_sizes_and_reader_counts_score_as_alone():
    grids = (GRID, GRID, Grid((4, 6)), GRID)
    names = ("a", "alone", "wide", "b")
    cases = {
        name: case(name, readers=1 + k, grid=grid) for k, (name, grid) in enumerate(zip(names, grids, strict=True))
    }
    panels = [panel(name, grid=grid) for name, grid in zip(names, grids, strict=True)]
    together = evaluate(panels, cases)
    for one in panels:
        alone = evaluate([one], cases).rows[0]
        row = next(row for row in together.rows if row.name == one.name)
        assert row.values == pytest.approx(alone.values, nan_ok=True)


def test_how_the_masks_came_about_is_kept_once_for_each_way():
    panels = [MaskSet(name, panel(name).masks, GRID, "toy", settings={"steps": 1 + (name == "b")}) for name in CASES]
    ways = evaluate(panels, CASES).drawn
    assert sorted(way["settings"]["steps"] for way in ways) == [1, 2]


def test_r_of_empties_is_that_of_the_shares_over_cases():
    def with_empty(name, count):
        own = panel(name)
        return replace(own, masks=own.masks & (np.arange(5) >= count)[:, None, None])

    cases = {name: case(name, patient=f"p{name}") for name in "abcdef"}
    for name, count in zip("abcd", (0, 1, 2, 4), strict=True):
        cases[name] = replace(cases[name], readers=cases[name].readers & (np.arange(4) >= count)[:, None, None])
    found = evaluate([with_empty(name, count) for name, count in zip("abcdef", (0, 2, 1, 5, 0, 1), strict=True)], cases)
    r = np.corrcoef([row.values["empty_samples"] for row in found.rows], [0, 0.25, 0.5, 1, 0, 0])[0, 1]
    assert found.empties.value == pytest.approx(r)
    assert found.empties.interval[0] < r < found.empties.interval[1]
    assert math.isnan(evaluate([panel("a"), panel("b")], CASES).empties.value)


def test_patients_are_counted_once_and_unknown_ones_not_at_all(scores):
    assert scores.patients == 2


def test_cases_without_a_panel_are_reported(scores):
    assert scores.missing == ()
    assert evaluate([panel("a")], CASES).missing == ("b", "alone", "unread")


@pytest.mark.parametrize(("methods", "label"), [(("x", "y"), "x + y"), ((None, None), "unnamed")])
def test_the_first_row_is_named_after_the_methods(methods, label):
    panels = [panel(name, method=method) for name, method in zip("ab", methods, strict=True)]
    assert evaluate(panels, CASES).table[0].label == label


def test_volumes_have_sizes_in_mm3():
    grid = Grid((3, 4, 5), np.diag([0.5, 0.5, 2.0, 1.0]))
    scores = evaluate([panel("v", grid=grid)], {"v": case("v", grid=grid)})
    assert scores.units["size_crps"] == "mm³"
    drawn = [mask.sum() for mask in case("v", grid=grid).readers if mask.any()]
    assert scores.rows[0].size == pytest.approx(np.mean(drawn) * 0.5)


def test_volumes_are_scored_too():
    grid = Grid((3, 4, 5))
    samples, volume = panel("v", grid=grid), case("v", grid=grid)
    row = evaluate([samples], {"v": volume}).rows[0]
    assert row.values == pytest.approx(one_by_one(stack(samples.masks), stack(volume.readers)), nan_ok=True)


def test_a_volume_of_one_plane_scores_as_the_plane_and_turned_and_flipped_ones_as_they_lie():
    plane, grid = Grid((6, 6), np.diag([0.5, 0.5, 1.0, 1.0])), Grid((6, 6, 1), np.diag([0.5, 0.5, 1.0, 1.0]))
    flat = evaluate([panel("v", grid=plane)], {"v": case("v", grid=plane)})
    samples, readers = panel("v", grid=plane).masks[..., None], case("v", grid=plane).readers[..., None]

    def scored(change, grid):
        image = np.zeros((1, *grid.shape), np.float32)
        drawn = Case("v", image, np.ascontiguousarray(change(readers)), grid, "p1")
        return evaluate([MaskSet("v", np.ascontiguousarray(change(samples)), grid)], {"v": drawn})

    assert scored(lambda masks: masks, grid).rows[0].values == pytest.approx(flat.rows[0].values, nan_ok=True)
    deep = Grid((6, 6, 3), np.diag([0.5, 0.5, 2.0, 1.0]))

    def body(masks):
        return np.concatenate([masks, np.roll(masks, 1, 2), np.roll(masks, 1, 1) & masks], axis=3)

    as_it_lies = scored(body, deep).rows[0].values
    for turned in (lambda x: np.rot90(body(x), 1, (1, 2)), lambda x: body(x)[..., ::-1], lambda x: body(x)[:, ::-1]):
        assert scored(turned, deep).rows[0].values == pytest.approx(as_it_lies, nan_ok=True)


def test_panels_are_let_go_batch_by_batch(monkeypatch):
    monkeypatch.setattr("plurimask.evaluation.score._CASES_AT_ONCE", 4)
    alive: weakref.WeakSet[MaskSet] = weakref.WeakSet()
    most = 0

    def stream():
        nonlocal most
        for number in range(20):
            alive.add(drawn := panel(str(number)))
            most = max(most, len(alive))
            yield drawn
            del drawn

    evaluate(stream(), {str(number): case(str(number)) for number in range(20)})
    assert most <= 2 * 4 + 2  # a batch that is scored, one that is read, and its ends


def test_no_panel_is_refused():
    with pytest.raises(InputError, match="expected masks of at least one of the cases to be scored, got none"):
        evaluate([], CASES)


def test_a_panel_of_an_unknown_case_is_refused_by_name():
    with pytest.raises(InputError, match="stranger: expected masks of one of the cases to be scored, got an unknown"):
        evaluate([panel("stranger")], CASES)


def test_a_second_panel_of_a_case_is_refused():
    with pytest.raises(InputError, match="a: expected one mask set a case, got a second one"):
        evaluate([panel("a"), panel("a")], CASES)


def test_panels_of_another_n_are_refused():
    with pytest.raises(InputError, match="b: expected 5 masks, as for a, got 4"):
        evaluate([panel("a"), panel("b", count=4)], CASES)


def test_volumes_among_planes_are_refused():
    grid = Grid((9, 7, 2))
    with pytest.raises(InputError, match="v: expected masks of 2 axes, as for a, got 3"):
        evaluate([panel("a"), panel("v", grid=grid)], {"a": case("a"), "v": case("v", grid=grid)})


def test_another_size_is_refused_with_both_sizes():
    with pytest.raises(InputError, match="a: expected size 9x7, as the case has, got 7x9"):
        evaluate([panel("a", grid=Grid((7, 9)))], CASES)


def test_another_affine_is_refused():
    placed = {"a": case("a", grid=Grid.plane(SIZE, 1.0))}
    with pytest.raises(InputError, match="a: expected the affine of the case, got another one"):
        evaluate([panel("a", grid=Grid.plane(SIZE, 2.0))], placed)


def test_masks_without_an_affine_are_taken_to_lie_on_the_cases_grid():
    placed = {"a": case("a", grid=Grid.plane(SIZE, 1.0))}
    assert evaluate([panel("a")], placed).rows[0].name == "a"


def representative(name):
    drawn = panel(name)
    return replace(drawn, weights=(3,) * len(drawn.masks))


def test_a_representative_panel_has_no_score_that_needs_independent_draws(scores):
    """All others are those of the same masks, counted equally."""
    found = evaluate([representative(name) for name in ("a", "b", "alone", "unread")], CASES)
    assert set(INDEPENDENT) == {"ged_u", "d_ss"}
    row = found.table[0]
    assert (row.label, row.representative) == ("toy, representative", True)
    assert row.values.keys() == COLUMNS.keys() - set(INDEPENDENT)
    assert all(row.values[key] == pytest.approx(scores.mean[key], nan_ok=True) for key in row.values)
    assert all(math.isnan(one.values[key]) for one in found.rows for key in INDEPENDENT)
    by_others = {one.label: one.values["ged"] for one in found.conventions}
    assert math.isnan(by_others["d-persona-u"])
    assert by_others["kohl"] == pytest.approx(row.values["ged_v"])


def test_both_kinds_of_panel_are_scored_apart():
    with pytest.raises(InputError, match="b: expected independent masks, as for a, got representative ones; score"):
        evaluate([panel("a"), representative("b")], CASES)


def test_the_first_masks_of_a_representative_panel_are_none():
    with pytest.raises(InputError, match="a: expected all 5 masks of a representative panel, got the first 2; draw or"):
        evaluate([representative("a")], CASES, count=2)


def test_scores_of_both_kinds_stand_in_one_table(scores):
    both = scores.beside(evaluate([representative(name) for name in ("a", "b", "alone", "unread")], CASES))
    assert [row.label for row in both.table][:3] == ["toy", "toy, representative", scores.table[1].label]
    assert both.mean == scores.mean


def corner(name, transposed, shape=(8, 8)):
    masks = np.zeros((2, *shape), dtype=bool)
    masks[:, :2, 3:6] = True
    if transposed:
        masks = masks.swapaxes(1, 2).copy()
    return masks, Grid(masks.shape[1:])


@pytest.mark.parametrize("transposed", [False, True])
def test_samples_that_fit_with_rows_and_columns_exchanged_are_asked_about(transposed):
    masks, grid = corner("a", transposed)
    readers, _ = corner("a", False)
    one = Case("a", np.zeros((1, 8, 8), np.float32), readers, grid)
    (question,) = evaluate([MaskSet("a", masks, grid)], {"a": one}).questions or ("",)
    assert question.startswith("swapped axes: Dice of samples and readers 0.00, but 1.00 with") == transposed


def test_another_size_that_fits_exchanged_is_refused_with_that_hint():
    masks, grid = corner("a", True, (8, 9))
    readers, own = corner("a", False, (8, 9))
    one = Case("a", np.zeros((1, 8, 9), np.float32), readers, own)
    with pytest.raises(InputError, match="expected size 8x9, as the case has, got 9x8; exchange the rows and columns"):
        evaluate([MaskSet("a", masks, grid)], {"a": one})


def test_scores_by_a_cluster_are_the_same_in_any_order_of_its_parts(monkeypatch):
    panels = {name: panel(name) for name in ("a", "b", "alone", "unread")}
    monkeypatch.setattr("plurimask.evaluation.score._CASES_AT_ONCE", 2)
    here, told = evaluate(panels.values(), CASES), []
    there = evaluate_on(InTurn(), panels, CASES, progress=told.append)
    assert repr(there.rows) == repr(here.rows)
    assert repr((there.table, there.conventions, there.strata)) == repr((here.table, here.conventions, here.strata))
    assert told == [2, 4]


def test_a_cluster_compares_each_panel_with_the_first_of_all(monkeypatch):
    panels = {"a": panel("a"), "b": panel("b").first(4)}
    monkeypatch.setattr("plurimask.evaluation.score._CASES_AT_ONCE", 1)
    with pytest.raises(InputError, match="5 masks, as for a"):
        evaluate_on(InTurn(), panels, CASES)
    with pytest.raises(InputError, match="masks of at least one"):
        evaluate_on(InTurn(), {}, CASES)


def test_cases_that_are_no_mapping_are_refused_with_what_to_give():
    with pytest.raises(InputError, match="cases: expected cases by name, got list; give "):
        evaluate([panel("a")], list(CASES.values()))
