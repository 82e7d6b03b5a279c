"""PHiSeg's nets: which latent depends on what, their sizes, and what their settings refuse."""

import pytest
import torch
from torch import nn

from plurimask.nets.latent_pyramid import MIN_SCALE, LatentPyramid, PyramidDecoder, PyramidSettings

SMALL = PyramidSettings(widths=(4, 4, 6, 6, 8, 8), convolutions=1)
SIZE = (32, 64)
LEVELS = range(5)


def pyramid(settings=SMALL):
    """Its Gaussians, which begin as one, moved apart."""
    torch.manual_seed(0)
    made = LatentPyramid(1, settings).eval()
    for weight in made.parameters():
        if weight.ndim == 4 and not weight.any():
            nn.init.kaiming_normal_(weight)
    return made


def decoder(settings=SMALL):
    torch.manual_seed(0)
    return PyramidDecoder(settings).eval()


def shown(seed=1):
    return torch.randn((2, 1, *SIZE), generator=torch.Generator().manual_seed(seed))


def latents(settings=SMALL, seed=2):
    generator = torch.Generator().manual_seed(seed)
    shapes = [(2, settings.latent, *(side // scale for side in SIZE)) for scale in settings.latent_scales]
    return [torch.randn(shape, generator=generator) for shape in shapes]


def given(z):
    """Hands out latents that are already there."""
    return lambda level, gaussian: z[level]


@pytest.mark.parametrize(("widths", "scales"), [((4, 6, 8), [1, 2, 4]), ((4,) * 7, [4, 8, 16, 32, 64])])
def test_the_five_coarsest_levels_have_a_latent_or_all_where_there_are_fewer(widths, scales):
    settings = PyramidSettings(widths=widths)
    assert settings.latent_scales == scales
    image = torch.randn(1, 1, 64, 128)
    gaussians, z = pyramid(settings)(image, lambda level, gaussian: gaussian.mean)
    assert [tuple(g.mean.shape[1:]) for g in gaussians] == [(2, 64 // scale, 128 // scale) for scale in scales]
    sides = [tuple(logits.shape[1:]) for logits in decoder(settings)(z)]
    assert sides == [(1, 64 // 2**level, 128 // 2**level) for level in range(len(scales))]


@pytest.mark.parametrize("changed", LEVELS)
def test_a_gaussian_depends_on_coarser_latents_alone(changed):
    """Directly on the next coarser one; the test hands latents out, so that none passes a change on."""
    net, z = pyramid(), latents()
    before, _ = net(shown(), given(z))
    z[changed] = z[changed] + 1
    after, _ = net(shown(), given(z))
    moved = [not torch.equal(b.mean, a.mean) for b, a in zip(before, after, strict=True)]
    assert moved == [level == changed - 1 for level in LEVELS]


@pytest.mark.parametrize("changed", LEVELS)
def test_logits_of_a_level_depend_on_its_latent_and_on_coarser_ones(changed):
    net, z = decoder(), latents()
    before = net(z)
    z[changed] = z[changed] + 1
    moved = [not torch.equal(b, a) for b, a in zip(before, net(z), strict=True)]
    assert moved == [level <= changed for level in LEVELS]


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
    assert order == [4, 3, 2, 1, 0]


def test_scale_is_above_zero_however_small_its_convolution():
    net = pyramid()
    nn.init.constant_(net.heads[0].scale.bias, -1e6)
    gaussians, _ = net(shown(), given(latents()))
    assert gaussians[0].stddev.min().item() == pytest.approx(MIN_SCALE)


def test_only_convolutions_without_batch_normalisation_have_a_bias():
    biased = [name for name, layer in pyramid().named_modules() if getattr(layer, "bias", None) is not None]
    normed = {name for name, layer in pyramid().named_modules() if isinstance(layer, nn.BatchNorm2d)}
    assert set(biased) - normed == {f"heads.{level}.{part}" for level in LEVELS for part in ("mean", "scale")}


def test_evaluation_does_not_look_at_the_rest_of_the_batch():
    net, z = pyramid(), latents()
    together, _ = net(shown(), given(z))
    alone, _ = net(shown()[:1], given([part[:1] for part in z]))
    for many, one in zip(together, alone, strict=True):
        torch.testing.assert_close(many.mean[:1], one.mean)
