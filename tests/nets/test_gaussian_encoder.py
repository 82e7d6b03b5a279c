"""The encoder of AMN and ACN against Appendix B and the closed form of the KL between two Gaussians."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import kl_divergence

from plurimask.nets.gaussian_encoder import EncoderSettings, GaussianEncoder, MaskDecoder, gaussian


def encoder(image_channels=1, seed=0, **settings):
    torch.manual_seed(seed)
    return GaussianEncoder(image_channels + 1, EncoderSettings(**settings)).eval()


def inputs(size=(32, 48), image_channels=1):
    generator = torch.Generator().manual_seed(1)
    mask = torch.randint(0, 2, (2, 1, *size), generator=generator).float() * 2 - 1
    return torch.randn((2, image_channels, *size), generator=generator), mask


def test_layers_are_those_of_appendix_b():
    """Stages of three 3x3 convolutions with a ReLU after each, joined by 2x2 average pooling."""
    net = encoder()
    ins = [2, 32, 32, 32, 64, 64, 64, 128, 128, 128, 192, 192]
    outs = [32] * 3 + [64] * 3 + [128] * 3 + [192] * 3
    kinds = [nn.Conv2d, nn.ReLU] * 3
    assert [type(layer) for layer in net.features] == [*kinds, *[nn.AvgPool2d, *kinds] * 3]
    convolutions = [layer for layer in net.features if isinstance(layer, nn.Conv2d)]
    assert [(layer.in_channels, layer.out_channels) for layer in convolutions] == [*zip(ins, outs, strict=True)]
    assert {(layer.kernel_size, layer.padding, layer.stride) for layer in convolutions} == {((3, 3), (1, 1), (1, 1))}
    assert [pool.kernel_size for pool in net.features if isinstance(pool, nn.AvgPool2d)] == [2, 2, 2]


@pytest.mark.parametrize("size", [(32, 48), (24, 40)])
def test_gaussian_is_over_the_latent_at_any_size(size):
    gaussian = encoder(latent=4)(*inputs(size))
    assert (gaussian.batch_shape, gaussian.event_shape) == ((2,), (4,))


def test_features_are_averaged_over_the_whole_image():
    net, (image, mask) = encoder(), inputs()
    features = net.features(torch.cat([image, mask], dim=1))
    expected = features.sum((2, 3)) / features[0, 0].numel() @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(net(image, mask).mean, expected[:, :6])


@pytest.mark.parametrize(("bias", "scale"), [(-1e6, math.exp(-10)), (1e6, math.exp(10))])
def test_scale_is_bounded(bias, scale):
    net = encoder()
    nn.init.constant_(net.head.bias, bias)
    assert net(*inputs()).stddev.flatten().tolist() == pytest.approx([scale] * 12, rel=1e-4)


@pytest.mark.parametrize("which", [0, 1], ids=["image", "mask"])
def test_both_inputs_move_the_gaussian_before_training(which):
    """A fresh encoder must see its input, or AMN and ACN have collapsed before the first step."""
    net, given = encoder(image_channels=4), list(inputs(image_channels=4))
    before = net(*given).mean
    given[which] = given[which].clamp(max=-0.9)
    assert (net(*given).mean - before).abs().mean() > 0.05 * before.abs().mean()


def two_gaussians():
    return encoder(seed=1)(*inputs()), encoder(seed=2)(*inputs())


def test_kl_of_two_outputs_is_the_closed_form():
    q, p = two_gaussians()
    ratio = (q.stddev / p.stddev) ** 2
    expected = 0.5 * (ratio + ((q.mean - p.mean) / p.stddev) ** 2 - 1 - ratio.log()).sum(1)
    torch.testing.assert_close(kl_divergence(q, p), expected, rtol=1e-4, atol=1e-6)


def full(seed=0, count=64, latent=6, spread=1.0):
    """Full-covariance Gaussians of random numbers."""
    size = EncoderSettings(latent=latent, covariance="full").outputs
    return gaussian(spread * torch.randn((count, size), generator=torch.Generator().manual_seed(seed)), latent)


@pytest.mark.parametrize("latent", [2, 6])
def test_a_full_covariance_has_a_number_for_each_entry_of_l(latent):
    net = encoder(latent=latent, covariance="full")
    assert net.head.out_features == latent + latent * (latent + 1) // 2


def test_covariance_is_l_l_transposed():
    """Eq. 25, from the numbers themselves."""
    numbers = torch.tensor([[1.0, 2.0, 3.0, 0.1, -0.2, 0.3, 0.5, -0.6, 0.7]])
    unit = torch.tensor([[1.0, 0, 0], [0.5, 1, 0], [-0.6, 0.7, 1]])
    lower = torch.diag(torch.tensor([0.1, -0.2, 0.3]).exp()) @ unit
    made = gaussian(numbers, 3)
    assert made.mean.tolist() == [[1.0, 2.0, 3.0]]
    torch.testing.assert_close(made.covariance_matrix[0], lower @ lower.T)


def test_a_draw_is_the_mean_and_l_times_noise():
    """Eq. 26."""
    made = full(count=3)
    torch.manual_seed(5)
    drawn = made.rsample()
    torch.manual_seed(5)
    eps = torch.randn(3, 6)
    torch.testing.assert_close(drawn, made.mean + torch.einsum("bij,bj->bi", made.scale_tril, eps))


def test_with_u_the_identity_full_is_diagonal():
    numbers = torch.randn((4, 12), generator=torch.Generator().manual_seed(0))
    plain, whole = gaussian(numbers, 6), gaussian(torch.cat([numbers, torch.zeros(4, 15)], 1), 6)
    torch.testing.assert_close(plain.stddev, whole.stddev)
    torch.testing.assert_close(kl_divergence(plain, gaussian(numbers.flip(0), 6)), _kl(whole, numbers))


def _kl(whole, numbers):
    return kl_divergence(whole, gaussian(torch.cat([numbers.flip(0), torch.zeros(4, 15)], 1), 6))


def test_full_kl_is_the_closed_form():
    """In double precision, from the covariances: trace, distance, log determinants."""
    q, p = full(0), full(1)
    s_q, s_p = q.covariance_matrix.double(), p.covariance_matrix.double()
    apart = (p.mean - q.mean).double()
    trace = torch.diagonal(torch.linalg.inv(s_p) @ s_q, dim1=1, dim2=2).sum(1)
    distance = torch.einsum("bi,bij,bj->b", apart, torch.linalg.inv(s_p), apart)
    expected = 0.5 * (trace + distance - 6 + torch.logdet(s_p) - torch.logdet(s_q))
    torch.testing.assert_close(kl_divergence(q, p).double(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("size", [1.0, 1e2, 1e4])
def test_kl_and_its_gradient_are_finite_at_extreme_numbers(covariance, size):
    outputs = EncoderSettings(covariance=covariance).outputs
    generator = torch.Generator().manual_seed(0)
    numbers = (size * torch.randn((2, 256, outputs), generator=generator)).requires_grad_()
    divergence = kl_divergence(gaussian(numbers[0], 6), gaussian(numbers[1], 6))
    divergence.sum().backward()
    assert divergence.isfinite().all()
    assert (divergence > -1e-3).all()
    assert numbers.grad.isfinite().all()


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
def test_mixed_precision_leaves_the_gaussian_in_single(covariance):
    net = encoder(covariance=covariance)
    with torch.autocast("cpu", torch.bfloat16):
        made = net(*inputs())
    assert made.mean.dtype == made.stddev.dtype == torch.float32
    # bfloat16 features, and a head in single precision: the means are not rounded to eight bits.
    assert (made.mean != made.mean.bfloat16().float()).any()


def test_every_parameter_learns_from_the_full_kl():
    net = encoder(seed=1, covariance="full")
    kl_divergence(net(*inputs()), encoder(seed=2, covariance="full")(*inputs())).sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in net.parameters())


def test_numbers_that_are_not_finite_pass_to_the_loss():
    """The trainer reports them with their step."""
    assert not kl_divergence(gaussian(torch.full((1, 27), math.nan), 6), full(count=1)).isfinite().any()


def test_decoder_can_tell_latents_apart():
    torch.manual_seed(0)
    first, second = MaskDecoder(6)(torch.eye(6)[:2])
    assert not torch.allclose(first, second, atol=1e-4)
