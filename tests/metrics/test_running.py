"""The torchmetrics classes against their pure functions: over batches, in a collection, over two processes."""

import pickle
from datetime import timedelta
from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from slow_pairs import row
from torchmetrics import MetricCollection

from plurimask.errors import InputError, SettingsError
from plurimask.metrics import running
from plurimask.metrics.calibration import brier_score, expected_calibration_error, ncc, soft_dice
from plurimask.metrics.ci_score import (
    ci_harmonic,
    ci_score,
    combined_sensitivity,
    dice_max,
    diversity_agreement,
)
from plurimask.metrics.ged import ged, hm_iou, reader_diversity, sample_diversity
from plurimask.metrics.lesion import size_crps


def insight(samples, readers, valid, score=ci_score, strict=False, **variance):
    agreement = diversity_agreement(samples, readers, valid, **variance)
    return score(combined_sensitivity(samples, readers, valid, strict), dice_max(samples, readers, valid), agreement)


# Class, its settings, and the pure function with the same settings.
CLASSES = [
    (running.GeneralizedEnergyDistance, {}, ged),
    (running.GeneralizedEnergyDistance, {"estimator": "u"}, partial(ged, estimator="u")),
    (running.GeneralizedEnergyDistance, {"distance": "dice"}, partial(ged, distance="dice")),
    (running.HungarianMatchedIoU, {}, hm_iou),
    (running.HungarianMatchedIoU, {"matching": "rectangular"}, partial(hm_iou, matching="rectangular")),
    (running.SoftDice, {}, soft_dice),
    (running.BestDice, {}, dice_max),
    (running.CombinedSensitivity, {"strict": True}, partial(combined_sensitivity, strict=True)),
    (running.DiversityAgreement, {"variance": "iou"}, partial(diversity_agreement, variance="iou")),
    (running.CollectiveInsight, {}, insight),
    (running.CollectiveInsight, {"mean": "harmonic"}, partial(insight, score=ci_harmonic)),
    (running.CollectiveInsight, {"variance": "iou", "strict": True}, partial(insight, variance="iou", strict=True)),
    (running.SampleDiversity, {}, lambda samples, readers, valid: sample_diversity(samples)),
    (running.SampleDiversity, {"distance": "dice"}, lambda samples, readers, valid: sample_diversity(samples, "dice")),
    (running.ReaderDiversity, {}, lambda samples, readers, valid: reader_diversity(readers, valid)),
    (running.NormalizedCrossCorrelation, {}, ncc),
    (running.BrierScore, {}, brier_score),
    (running.ExpectedCalibrationError, {"bins": 3}, partial(expected_calibration_error, bins=3)),
    (running.SizeCRPS, {"voxel_size": 0.5}, partial(size_crps, voxel_size=0.5)),
]
EMPTY = row("000", "000")


def some_panels(cases=7):
    """samples (cases, 4, 5, 5), readers (cases, 3, 5, 5) and valid, some cases with one reader or none."""
    generator = torch.manual_seed(4)
    samples, readers = (torch.rand(cases, n, 5, 5, generator=generator) > 0.6 for n in (4, 3))
    valid = torch.arange(3) < (torch.arange(cases) % 4)[:, None]
    samples[3], readers[3] = False, False
    return samples, readers, valid


def every_class():
    return MetricCollection({f"{index:02}": kind(**settings) for index, (kind, settings, _) in enumerate(CLASSES)})


@pytest.mark.parametrize(("kind", "settings", "measure"), CLASSES)
def test_the_mean_over_batches_is_that_of_the_pure_function_over_defined_cases(kind, settings, measure):
    samples, readers, valid = some_panels()
    metric = kind(**settings)
    for batch in (slice(0, 1), slice(1, 5), slice(5, 7)):
        metric.update(samples[batch], readers[batch], valid[batch])
    expected = measure(samples, readers, valid)
    torch.testing.assert_close(metric.compute(), expected.nanmean())
    assert metric.undefined == expected.isnan().sum()
    assert metric.defined + metric.undefined == 7


def test_every_class_is_tried():
    classes = {
        name for name, kind in vars(running).items() if isinstance(kind, type) and kind.__module__ == running.__name__
    }
    assert classes - {"CaseMean"} == {kind.__name__ for kind, _, _ in CLASSES}


def test_a_collection_gives_the_figures_of_each_alone():
    samples, readers, valid = some_panels()
    together = every_class()
    for batch in (slice(0, 4), slice(4, 7)):
        together.update(samples[batch], readers[batch], valid[batch])
    expected = [measure(samples, readers, valid).nanmean() for _, _, measure in CLASSES]
    torch.testing.assert_close(list(together.compute().values()), expected)


def test_measures_that_agree_on_the_first_batch_stay_apart_in_a_collection():
    together = MetricCollection(
        {
            "v": running.GeneralizedEnergyDistance(estimator="v"),
            "u": running.GeneralizedEnergyDistance(estimator="u"),
            "dice": running.BestDice(),
            "soft": running.SoftDice(),
        }
    )
    together.update(EMPTY, EMPTY)
    samples, readers = row("110", "100"), row("100", "001")
    together.update(samples, readers)
    expected = [
        (ged(samples, readers, estimator="v") + 0) / 2,
        (ged(samples, readers, estimator="u") + 0) / 2,
        (dice_max(samples, readers) + 1) / 2,
        (soft_dice(samples, readers) + 1) / 2,
    ]
    figures = together.compute()
    torch.testing.assert_close(torch.stack([figures[name] for name in ("v", "u", "dice", "soft")]), torch.cat(expected))


def test_without_a_defined_case_the_mean_is_undefined():
    metric = running.GeneralizedEnergyDistance(estimator="u")
    metric.update(EMPTY[:, :1], EMPTY)
    assert metric.compute().isnan()
    assert metric.undefined == 1


def test_valid_may_be_left_out():
    metric = running.BestDice()
    metric.update(row("10"), row("10", "01"))
    assert metric.compute() == 1 / 2


def test_forward_returns_the_figure_of_the_batch_and_goes_on_counting():
    metric = running.BestDice()
    assert metric(row("10"), row("10")) == 1
    assert metric(row("10"), row("01")) == 0
    assert metric.compute() == 1 / 2


def test_reset_forgets_all_cases():
    metric = running.BestDice()
    metric.update(row("10"), row("01"))
    metric.reset()
    metric.update(row("10"), row("10"))
    assert metric.compute() == metric.defined == 1


def test_figures_stay_in_float64_when_the_network_is_cast():
    metric = running.BestDice().to(torch.float16).float()
    metric.update(row("110"), row("100"))
    assert metric.compute().dtype == torch.float64
    assert metric.compute().item() == pytest.approx(2 / 3, abs=1e-12)


def test_a_metric_survives_pickling():
    metric = running.GeneralizedEnergyDistance(estimator="u")
    metric.update(row("110", "100"), row("100", "001"))
    again = pickle.loads(pickle.dumps(metric))
    again.update(row("110", "100"), row("100", "001"))
    assert (again.compute(), again.defined) == (metric.compute(), 2)


def test_a_setting_that_the_measure_does_not_know_is_refused():
    with pytest.raises(ValueError, match="Unexpected keyword arguments: `estimator`"):
        running.BestDice(estimator="u")


def test_errors_of_the_measure_come_through():
    with pytest.raises(SettingsError, match="estimator: expected v or u or once, got 'w'"):
        running.GeneralizedEnergyDistance(estimator="w").update(EMPTY, EMPTY)
    with pytest.raises(InputError, match="the same size on both sides"):
        running.BestDice().update(EMPTY, row("00"))


def one_of_two_processes(rank, folder, shares):
    """Score this process's share of the cases, and leave the figures of both processes in `folder`."""
    torch.set_num_threads(1)
    store = dist.FileStore(str(folder / "store"), 2)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2, timeout=timedelta(seconds=120))
    found = []
    for share in shares:
        metrics = every_class()
        if share[rank]:
            metrics.update(*(table[share[rank]] for table in some_panels()))
        undefined = {}
        for name, metric in metrics.items():
            with metric.sync_context():
                undefined[name] = metric.undefined.clone()
        found.append((metrics.compute(), undefined))
    torch.save(found, folder / f"rank{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def by_two_processes(tmp_path_factory):
    """Figures and counts of undefined cases as (shares, rank); second process with all cases but two, then with all."""
    folder = tmp_path_factory.mktemp("processes")
    shares = ([[0, 2], [1, 3, 4, 5, 6]], [[], [0, 1, 2, 3, 4, 5, 6]])
    mp.spawn(one_of_two_processes, (folder, shares), nprocs=2)
    return {
        (name, rank): figures
        for rank in range(2)
        for name, figures in zip(("uneven", "one without a case"), torch.load(folder / f"rank{rank}.pt"), strict=True)
    }


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("shares", ["uneven", "one without a case"])
def test_two_processes_give_the_figures_and_counts_of_one(by_two_processes, shares, rank):
    alone = every_class()
    alone.update(*some_panels())
    figures, undefined = by_two_processes[shares, rank]
    torch.testing.assert_close(figures, alone.compute(), rtol=1e-12, atol=1e-12)
    assert undefined == {name: metric.undefined for name, metric in alone.items()}
