"""PHiSeg's nets: which latent depends on what, their sizes, and what their settings refuse."""

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from plurimask.nets.latent_pyramid import MIN_SCALE, LatentPyramid, PyramidDecoder, PyramidSettings

SMALL = PyramidSettings(widths=(4, 6, 8, 8), latent_levels=3, convolutions=1)
SIZE = (16, 24)


def pyramid(settings=SMALL):
    torch.manual_seed(0)
    return LatentPyramid(1, settings).eval()


def decoder(settings=SMALL):
    torch.manual_seed(0)
    return PyramidDecoder(settings).eval()


def shown(seed=1):
    return torch.randn((2, 1, *SIZE), generator=torch.Generator().manual_seed(seed))


def latents(settings=SMALL, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn((2, *shape), generator=generator) for shape in settings.latent_shapes(*SIZE)]


def given(z):
    """Hands out latents that are already there."""
    return lambda level, gaussian: z[level]


@pytest.mark.parametrize("levels", [1, 3, 4])
@pytest.mark.parametrize("latent", [1, 2])
def test_latents_have_the_shapes_that_the_settings_say(levels, latent):
    settings = PyramidSettings(widths=(4, 6, 8, 8), latent_levels=levels, latent=latent)
    gaussians, _ = pyramid(settings)(shown(), lambda level, gaussian: gaussian.mean)
    assert [tuple(g.mean.shape[1:]) for g in gaussians] == settings.latent_shapes(*SIZE)


def test_published_latents_go_from_a_quarter_of_the_image_to_a_64th():
    assert PyramidSettings().latent_shapes(128, 128) == [(2, side, side) for side in (32, 16, 8, 4, 2)]


@pytest.mark.parametrize("levels", [1, 3, 4])
def test_logits_of_a_level_have_the_sides_of_the_image_halved_that_often(levels):
    settings = PyramidSettings(widths=(4, 6, 8, 8), latent_levels=levels)
    sides = [tuple(logits.shape[1:]) for logits in decoder(settings)(latents(settings))]
    assert sides == [(1, SIZE[0] // 2**level, SIZE[1] // 2**level) for level in range(levels)]


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_a_gaussian_depends_on_coarser_latents_alone(changed):
    """Directly on the next coarser one; the test hands latents out, so that none passes a change on."""
    net, z = pyramid(), latents()
    before, _ = net(shown(), given(z))
    z[changed] = z[changed] + 1
    after, _ = net(shown(), given(z))
    moved = [not torch.equal(b.mean, a.mean) for b, a in zip(before, after, strict=True)]
    assert moved == [level == changed - 1 for level in range(3)]


@pytest.mark.parametrize("changed", [0, 1, 2])
def test_logits_of_a_level_depend_on_its_latent_and_on_coarser_ones(changed):
    net, z = decoder(), latents()
    before = net(z)
    z[changed] = z[changed] + 1
    moved = [not torch.equal(b, a) for b, a in zip(before, net(z), strict=True)]
    assert moved == [level <= changed for level in range(3)]


def test_every_gaussian_depends_on_what_is_shown():
    net, z = pyramid(), latents()
    first, second = (net(shown(seed), given(z))[0] for seed in (1, 2))
    for one, other in zip(first, second, strict=True):
        assert (one.mean - other.mean).abs().mean() > 0.05 * one.mean.abs().mean()


def test_latents_are_those_that_were_chosen():
    z = latents()
    _, got = pyramid()(shown(), given(z))
    assert all(a is b for a, b in zip(got, z, strict=True))


def test_levels_are_chosen_from_coarse_to_fine():
    order = []
    pyramid()(shown(), lambda level, gaussian: order.append(level) or gaussian.mean)
    assert order == [2, 1, 0]


def test_scale_is_the_softplus_of_its_convolution():
    net = pyramid()
    nn.init.zeros_(net.heads[1].scale.weight)
    nn.init.constant_(net.heads[1].scale.bias, 0.3)
    gaussians, _ = net(shown(), given(latents()))
    torch.testing.assert_close(gaussians[1].stddev, torch.full_like(gaussians[1].mean, 0.3).exp().log1p() + MIN_SCALE)


def test_scale_is_above_zero_however_small_its_convolution():
    net = pyramid()
    nn.init.constant_(net.heads[0].scale.bias, -1e6)
    gaussians, _ = net(shown(), given(latents()))
    assert gaussians[0].stddev.min().item() == pytest.approx(MIN_SCALE)


def test_only_convolutions_without_batch_normalisation_have_a_bias():
    biased = [name for name, layer in pyramid().named_modules() if getattr(layer, "bias", None) is not None]
    normed = {name for name, layer in pyramid().named_modules() if isinstance(layer, nn.BatchNorm2d)}
    assert set(biased) - normed == {f"heads.{level}.{part}" for level in range(3) for part in ("mean", "scale")}


def test_evaluation_does_not_look_at_the_rest_of_the_batch():
    net, z = pyramid(), latents()
    together, _ = net(shown(), given(z))
    alone, _ = net(shown()[:1], given([part[:1] for part in z]))
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many.mean[:1], one.mean)


@pytest.mark.parametrize(("widths", "multiple"), [((4,), 1), ((4, 4, 4), 4), ((4,) * 7, 64)])
def test_multiple_is_that_of_the_halvings(widths, multiple):
    assert PyramidSettings(widths=widths, latent_levels=1).multiple == multiple


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"widths": (8, 8), "latent_levels": 3}, "at most 2 latent_levels, one a width, not 3"),
        ({"widths": ()}, "at least 1 item"),
        ({"widths": (8, 0)}, "greater than or equal to 1"),
        ({"latent": 0}, "greater than or equal to 1"),
        ({"latents": 2}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_pyramid_are_refused(wrong, match):
    with pytest.raises(ValidationError, match=match):
        PyramidSettings(**wrong)
