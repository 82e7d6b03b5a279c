"""Each convention against a slow one over sets of voxels, written from what its source does, and where they differ."""

import math
from itertools import permutations, product
from statistics import fmean

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment
from slow_pairs import PAIRS, by_case, panels, row, voxels

from plurimask.errors import InputError, SettingsError
from plurimask.metrics.conventions import CONVENTIONS, convention_scores, convention_values
from plurimask.metrics.ged import ged
from plurimask.metrics.overlap import count_pairs


def set_iou(a, b, neither):
    return len(a & b) / len(a | b) if a | b else neither


def classes(masks):
    """The voxels of lesion and of background, mask by mask."""
    return [(voxels(mask), voxels(~mask)) for mask in masks]


def lesion(a, b):
    return set_iou(a[0], b[0], neither=1.0)


def lesion_never_agreeing_when_empty(a, b):
    return set_iou(a[0], b[0], neither=0.0)


def mean_of_classes_held(a, b):
    per_class = [set_iou(x, y, neither=None) for x, y in zip(a, b, strict=True)]
    return fmean(iou for iou in per_class if iou is not None)


def best_of_every_choice(samples, readers, iou):
    few, many = sorted((samples, readers), key=len)
    return max(fmean(iou(a, b) for a, b in zip(few, picked, strict=True)) for picked in permutations(many, len(few)))


def best_of_repeated_masks(samples, readers, iou):
    common = math.lcm(len(samples), len(readers))
    samples, readers = (masks * (common // len(masks)) for masks in (samples, readers))
    table = torch.tensor([[iou(a, b) for b in readers] for a in samples])
    return float(table[linear_sum_assignment(table, maximize=True)].double().mean())


SLOW = {  # name: IoU, estimator, matching
    "plurimask": (lesion, "v", best_of_repeated_masks),
    "kohl": (lesion, "v", None),
    "kohl-classes": (mean_of_classes_held, "v", None),
    "phiseg": (lesion, "v", None),
    "ccdm": (lesion, "v", best_of_repeated_masks),
    "flowssn": (lesion, "v", best_of_every_choice),
    "d-persona": (lesion_never_agreeing_when_empty, "v", None),
    "d-persona-u": (lesion, "u", None),
    "ambdiffseg": (lesion, "once", None),
    "values": (None, "v", None),
}
NAMES = st.sampled_from(sorted(SLOW))
MATCHED = st.sampled_from(sorted(name for name, (_, _, match) in SLOW.items() if match))
SAME_GED = st.sampled_from(["kohl", "phiseg", "ccdm", "flowssn"])


def slow_ged(name, samples, readers):
    iou, estimator, _ = SLOW[name]
    within = PAIRS[estimator]
    samples, readers = classes(samples), classes(readers)

    def mean_distance(pairs):
        if name == "values":  # of all pairs together
            pairs = [(a[0], b[0]) for a, b in pairs]
            added = sum(len(a) + len(b) for a, b in pairs)
            return 1 - 2 * sum(len(a & b) for a, b in pairs) / max(added, 1) if pairs else math.nan
        distances = [1 - iou(a, b) for a, b in pairs]
        return fmean(distances) if distances else math.nan

    crossed = mean_distance(product(samples, readers))
    return 2 * crossed - mean_distance(within(samples)) - mean_distance(within(readers))


def slow_hm_iou(name, samples, readers):
    iou, _, match = SLOW[name]
    return match(classes(samples), classes(readers), iou)


def score(name, measure, samples, readers):
    return convention_scores(name, row(*samples), row(*readers))[measure].item()


def test_every_convention_has_a_slow_one():
    assert set(CONVENTIONS) == set(SLOW)


@given(panels(), NAMES)
def test_ged_equals_the_slow_one_over_the_readers_who_read(panel, name):
    expected = by_case(lambda s, r: slow_ged(name, s, r), *panel)
    torch.testing.assert_close(convention_scores(name, *panel)["ged"], expected, equal_nan=True)


@given(panels(), MATCHED)
def test_hm_iou_equals_the_slow_one_over_the_readers_who_read(panel, name):
    expected = by_case(lambda s, r: slow_hm_iou(name, s, r), *panel)
    torch.testing.assert_close(convention_scores(name, *panel)["hm_iou"], expected, rtol=0, atol=1e-6)


@given(panels(), SAME_GED)
def test_four_sources_count_ged_as_we_do(panel, name):
    torch.testing.assert_close(convention_scores(name, *panel)["ged"], ged(*panel))


@given(panels(least_samples=2, least_readers=2))
def test_the_uncalled_ged_of_d_persona_is_our_u_ged(panel):
    torch.testing.assert_close(convention_scores("d-persona-u", *panel)["ged"], ged(*panel, "u"))


@given(panels(), NAMES, st.integers(0, 99))
def test_the_order_of_readers_does_not_matter(panel, name, seed):
    samples, readers, valid = panel
    order = torch.randperm(readers.shape[1], generator=torch.manual_seed(seed))
    moved = convention_scores(name, samples, readers[:, order], valid[:, order])
    torch.testing.assert_close(moved, convention_scores(name, samples, readers, valid), equal_nan=True)


@given(panels(), NAMES)
def test_values_from_one_shared_count_are_the_scores(panel, name):
    shared = convention_values(CONVENTIONS[name], count_pairs(*panel))
    torch.testing.assert_close(shared, convention_scores(name, *panel), equal_nan=True, rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(SLOW))
def test_hm_iou_is_given_only_where_the_source_reports_it(name):
    measures = convention_scores(name, row("10", "01"), row("10", "01")).keys()
    assert measures == ({"ged", "hm_iou"} if SLOW[name][2] else {"ged"})


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plurimask", 2 * 1 / 2 - 0 - 1 / 2),
        ("d-persona", 2 * 1 - 1 - 3 / 4),  # an empty mask is at distance 1 from every mask, itself included
        ("d-persona-u", 2 * 1 / 2 - 0 - 1),
        ("ambdiffseg", 2 * 1 / 2 - 0 - 1 / 3),
        ("kohl-classes", 2 * 1 / 2 - 0 - 1 / 2),
    ],
)
def test_empty_samples_against_one_reader_who_drew_and_one_who_did_not(name, expected):
    assert score(name, "ged", ["0000", "0000"], ["0000", "1111"]) == expected


def test_a_missed_lesion_is_at_distance_one_for_us_and_near_a_half_where_background_counts():
    assert score("plurimask", "ged", ["0000"], ["1000"]) == 2 * 1
    assert score("kohl-classes", "ged", ["0000"], ["1000"]) == 2 * (1 - (0 + 3 / 4) / 2)


def test_two_empty_and_two_full_masks_agree_where_background_counts():
    assert score("kohl-classes", "ged", ["00"], ["00"]) == 0
    assert score("kohl-classes", "ged", ["11"], ["11"]) == 0


def test_a_sample_too_many_counts_for_us_and_not_in_rectangular_matching():
    samples, readers = ["1100", "0011"], ["1100"]
    assert score("plurimask", "hm_iou", samples, readers) == (1 + 0) / 2
    assert score("flowssn", "hm_iou", samples, readers) == 1


def test_a_perfect_panel_scores_zero_over_all_pairs_and_less_over_distinct_ones():
    panel = ["1100", "0011"]
    assert score("plurimask", "ged", panel, panel) == 2 * 1 / 2 - 1 / 2 - 1 / 2
    assert score("d-persona-u", "ged", panel, panel) == 2 * 1 / 2 - 1 - 1


def test_one_sample_has_no_distinct_pairs():
    assert math.isnan(score("d-persona-u", "ged", ["10"], ["10", "01"]))


def test_an_image_that_nobody_read_is_undefined():
    scores = convention_scores("flowssn", row("10"), row("10"), torch.tensor([[False]]))
    assert all(value.isnan().all() for value in scores.values())


def test_an_unknown_name_lists_the_known():
    with pytest.raises(SettingsError, match=r"kohl or kohl-classes or phiseg or ccdm or flowssn or d-persona.*'kohl2'"):
        convention_scores("kohl2", row("1"), row("1"))


def test_masks_that_are_not_bool_are_refused():
    with pytest.raises(InputError, match="bool"):
        convention_scores("kohl", row("1").float(), row("1"))
