"""The encoder of AMN and ACN against Appendix B and the closed form of the KL between two Gaussians."""

import math

import pytest
import torch
from pydantic import ValidationError
from torch import nn
from torch.distributions import MultivariateNormal, kl_divergence

from plurimask.nets.gaussian_encoder import EncoderSettings, GaussianEncoder, MaskDecoder, gaussian


def encoder(image_channels=1, seed=0, **settings):
    torch.manual_seed(seed)
    return GaussianEncoder(image_channels + 1, EncoderSettings(**settings)).eval()


def inputs(size=(32, 48), image_channels=1):
    generator = torch.Generator().manual_seed(1)
    mask = torch.randint(0, 2, (2, 1, *size), generator=generator).float() * 2 - 1
    return torch.randn((2, image_channels, *size), generator=generator), mask


def layers(kind):
    return [layer for layer in encoder().modules() if isinstance(layer, kind)]


def test_stages_have_the_filters_of_appendix_b():
    widths = [conv.out_channels for conv in layers(nn.Conv2d)]
    assert widths == [32] * 3 + [64] * 3 + [128] * 3 + [192] * 3


def test_convolutions_are_3x3_and_keep_the_size():
    assert {(conv.kernel_size, conv.padding, conv.stride) for conv in layers(nn.Conv2d)} == {((3, 3), (1, 1), (1, 1))}


def test_stages_are_joined_by_2x2_average_pooling():
    assert [pool.kernel_size for pool in layers(nn.AvgPool2d)] == [2, 2, 2]


def test_every_convolution_is_followed_by_relu():
    features = list(encoder().features)
    after = [features[k + 1] for k, layer in enumerate(features) if isinstance(layer, nn.Conv2d)]
    assert len(after) == 12
    assert all(isinstance(layer, nn.ReLU) for layer in after)


def test_parameters_are_those_of_the_layout():
    """Twelve 3x3 convolutions with bias, and a 1x1 one (on pooled features: linear) to six means and six scales."""
    ins = [2, 32, 32, 32, 64, 64, 64, 128, 128, 128, 192, 192]
    outs = [32] * 3 + [64] * 3 + [128] * 3 + [192] * 3
    expected = sum(9 * i * o + o for i, o in zip(ins, outs, strict=True)) + 192 * 12 + 12
    assert sum(weight.numel() for weight in encoder().parameters()) == expected


@pytest.mark.parametrize("size", [(32, 48), (24, 40), (128, 128)])
@pytest.mark.parametrize("latent", [1, 6])
def test_gaussian_is_over_the_latent_at_any_size(size, latent):
    gaussian = encoder(latent=latent)(*inputs(size))
    assert (gaussian.batch_shape, gaussian.event_shape) == ((2,), (latent,))


def test_features_are_averaged_over_the_whole_image():
    net, (image, mask) = encoder(), inputs()
    features = net.features(torch.cat([image, mask], dim=1))
    expected = features.sum((2, 3)) / features[0, 0].numel() @ net.head.weight.T + net.head.bias
    torch.testing.assert_close(net(image, mask).mean, expected[:, :6])


def test_second_half_of_the_head_is_the_log_scale():
    net = encoder()
    nn.init.zeros_(net.head.weight)
    net.head.bias.data = torch.arange(12.0) / 10
    torch.testing.assert_close(net(*inputs()).stddev[0], torch.exp(torch.arange(6.0, 12.0) / 10))


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


def test_kl_of_two_outputs_is_the_mean_log_ratio_of_draws():
    q, p = encoder(seed=1)(*inputs()), encoder(seed=2)(*inputs())
    torch.manual_seed(3)
    draws = q.sample((100_000,))
    ratio = q.log_prob(draws) - p.log_prob(draws)
    error = 4 * ratio.std(0) / math.sqrt(100_000)
    assert ((ratio.mean(0) - kl_divergence(q, p)).abs() < error).all()


def test_every_parameter_learns_from_the_kl():
    net = encoder(seed=1)
    kl_divergence(net(*inputs()), encoder(seed=2)(*inputs())).sum().backward()
    assert all(weight.grad is not None and weight.grad.any() for weight in net.parameters())


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


def test_any_covariance_can_be_said():
    """The numbers that give a strongly correlated one are found by its Cholesky factor."""
    wanted = torch.tensor([[1.0, 0.99], [0.99, 1.0]])
    lower = torch.linalg.cholesky(wanted)
    scale = lower.diagonal()
    numbers = torch.tensor([[0.0, 0.0, *scale.log().tolist(), (lower[1, 0] / scale[1]).item()]])
    torch.testing.assert_close(gaussian(numbers, 2).covariance_matrix[0], wanted)


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


def test_full_kl_in_single_precision_is_that_in_double():
    q, p = full(0, spread=2.0), full(1, spread=2.0)
    exact = [MultivariateNormal(g.mean.double(), scale_tril=g.scale_tril.double()) for g in (q, p)]
    torch.testing.assert_close(kl_divergence(q, p).double(), kl_divergence(*exact), rtol=1e-3, atol=1e-3)


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


def test_kl_is_finite_where_p_is_as_narrow_and_correlated_as_it_can_be():
    worst = torch.cat([torch.zeros(6), torch.full((6,), -10.0), torch.full((15,), 10.0)])[None]
    alternating = worst.clone()
    alternating[:, 12:] = -10
    wide = torch.cat([torch.full((6,), 1e4), torch.full((6,), 10.0), torch.full((15,), 10.0)])[None]
    for narrow in (worst, alternating):
        assert kl_divergence(gaussian(wide, 6), gaussian(narrow, 6)).isfinite().all()


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


def test_decoder_makes_a_mask_of_its_size():
    assert MaskDecoder(6)(torch.zeros(3, 6)).shape == (3, 1, MaskDecoder.size, MaskDecoder.size)


def test_decoder_can_tell_latents_apart():
    torch.manual_seed(0)
    first, second = MaskDecoder(6)(torch.eye(6)[:2])
    assert not torch.allclose(first, second, atol=1e-4)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"widths": (32, 0)}, "greater than or equal to 1"),
        ({"convolutions": 0}, "greater than or equal to 1"),
        ({"covariance": "banded"}, "'diagonal' or 'full'"),
        ({"latent": 0}, "greater than or equal to 1"),
        ({"filters": (32,)}, "Extra inputs"),
    ],
)
def test_settings_that_make_no_encoder_are_refused(wrong, match):
    with pytest.raises(ValidationError, match=match):
        EncoderSettings(**wrong)
