"""CIMD: its loss against a computation of its own, who learns from what, and that it can learn a mask at all."""

import math

import numpy as np
import pytest
import torch
from small_batches import batch, loss, panel
from tiny import SMALL, recipe, small, stir
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from plurimask.diffusion.samplers import SamplerSettings
from plurimask.errors import SettingsError
from plurimask.methods.ambiguity import AmbiguitySettings
from plurimask.methods.mask_diffusion import Cimd
from plurimask.methods.method import reader_masks

TIMESTEPS = 6


def method(predicts="x_0", raters="one", vlb_weight=0.001, variance="learned-range", **ambiguity):
    """A small CIMD with all weights away from their start; few time steps, so that t = 1 comes up in a batch."""
    torch.manual_seed(0)
    settings = recipe().method
    made = Cimd(
        settings.model_copy(
            update={
                "raters": raters,
                "vlb_weight": vlb_weight,
                "diffusion": settings.diffusion.model_validate(
                    {"predicts": predicts, "variance": variance, "schedule": {"timesteps": TIMESTEPS}}
                ),
                "ambiguity": AmbiguitySettings(encoder=settings.ambiguity.encoder, **ambiguity),
            }
        )
    )
    stir(made, 0.05)
    return made


def draws(made, cases, seed):
    """What `loss` draws under this seed: images, masks x_0, times t and noise, in its order."""
    torch.manual_seed(seed)
    shown, mask = reader_masks(cases, made.settings.raters)
    x_0 = 2 * mask - 1
    t = torch.randint(1, TIMESTEPS + 1, (len(x_0),))
    return shown, x_0, t, torch.randn_like(x_0)


def expected(made, cases, seed):
    """Every term of Eq. 15 in double precision, from the equations and the networks alone."""
    shown, x_0, t, eps = draws(made, cases, seed)
    alphas = 1 - np.linspace(1e-4, 0.02, TIMESTEPS).clip(max=1) * 1000 / TIMESTEPS
    alphas = torch.from_numpy(alphas.clip(min=0.001))
    gammas = torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(alphas, 0)])
    gamma, gamma_s, alpha = (v[:, None, None, None] for v in (gammas[t], gammas[t - 1], alphas[t - 1]))
    x_t = gamma.sqrt() * x_0 + (1 - gamma).sqrt() * eps  # Eq. 4
    with torch.no_grad():
        output = made.denoiser(x_t.float(), shown, t).double()
    said = output[:, :1]
    target, x_hat = {
        "eps": (eps, (x_t - (1 - gamma).sqrt() * said) / gamma.sqrt()),
        "x_0": (x_0, said),
        "v": (gamma.sqrt() * eps - (1 - gamma).sqrt() * x_0, gamma.sqrt() * x_t - (1 - gamma).sqrt() * said),
    }[made.settings.diffusion.predicts]
    x_hat = x_hat.clamp(-1, 1)

    def mean(start):  # Eq. 3
        return (gamma_s.sqrt() * (1 - alpha) * start + alpha.sqrt() * (1 - gamma_s) * x_t) / (1 - gamma)

    def posterior_variance(time):
        return ((1 - gammas[time - 1]) * (1 - alphas[time - 1]) / (1 - gammas[time]))[:, None, None, None]

    small = posterior_variance(t.clamp(min=2))
    share = output[:, 1:].sigmoid()
    scale = (0.5 * (share * (1 - alpha).log() + (1 - share) * small.log())).exp()
    kl = kl_divergence(Normal(mean(x_0.double()), small.sqrt()), Normal(mean(x_hat), scale))  # Eq. 7
    below_zero = Normal(mean(x_hat), scale).cdf(torch.zeros(()).double())
    drawn = (1 + x_0) / 2  # 0 or 1, or the share of raters
    decoder = -(drawn * (1 - below_zero).log() + (1 - drawn) * below_zero.log())  # Eq. 6
    vlb = torch.where(t[:, None, None, None] == 1, decoder, kl).mean() / math.log(2)

    terms = {"simple": ((target - said) ** 2).mean(), "vlb": vlb}  # Eq. 9
    total = terms["simple"] + made.settings.vlb_weight * TIMESTEPS * vlb  # Eq. 10
    if made.settings.ambiguity.mode != "off":
        seen = x_hat if made.settings.ambiguity.acn_input == "x_0" else said
        with torch.no_grad():
            q = made.ambiguity.amn(shown, x_0).base_dist
            p = made.ambiguity.acn(shown, seen.float()).base_dist
        ratio = (q.scale / p.scale).double() ** 2
        distance = ((q.mean - p.mean) / p.scale).double() ** 2
        terms["amb"] = 0.5 * (ratio + distance - 1 - ratio.log()).sum(1).mean()  # Eq. 14
        total = total + made.settings.ambiguity.beta * terms["amb"]
    return terms | {"total": total}


TRAINED = {"beta": 0.3}


@pytest.mark.parametrize(
    ("predicts", "raters", "ambiguity"),
    [
        *((predicts, "one", TRAINED) for predicts in ("eps", "x_0", "v")),
        *((predicts, "all", TRAINED | {"acn_input": "eps"}) for predicts in ("eps", "x_0", "v")),
        ("eps", "mean", TRAINED),
        ("eps", "majority", TRAINED),
        ("v", "mean", {"mode": "off"}),
    ],
)
def test_every_term_of_the_loss_is_that_of_the_equations(predicts, raters, ambiguity):
    made, cases = method(predicts, raters, vlb_weight=0.1, **ambiguity), batch(8)
    torch.manual_seed(1)
    found = made.loss(cases)
    wanted = expected(made, cases, seed=1)
    got = {**{name: found.terms[name].item() for name in wanted if name != "total"}, "total": found.total.item()}
    assert got == pytest.approx({name: value.item() for name, value in wanted.items()}, rel=1e-4)


def test_a_soft_mask_is_learned_as_it_is():
    _, x_0, _, _ = draws(method(raters="mean"), batch(8), seed=1)
    assert set(x_0.unique().tolist()) > {-1.0, 0.0, 1.0}


def test_the_draws_of_these_tests_hold_the_first_time_and_later_ones():
    _, _, t, _ = draws(method(), batch(8), seed=1)
    assert 1 in t
    assert t.max() > 1


def test_all_readers_are_seen_in_one_step():
    cases = batch(8)
    shown, x_0, t, _ = draws(method(raters="all"), cases, seed=1)
    assert len(shown) == len(x_0) == cases.valid.sum()
    assert len(t.unique()) > 1  # each with its own t


def gradients(made, seed=1):
    """Size of the gradient that each part of the method gets from the loss; None where nothing is to learn."""
    torch.manual_seed(seed)
    made.loss(batch(8)).total.backward()
    parts = {"denoiser": made.denoiser}
    if hasattr(made, "ambiguity"):
        parts |= dict(made.ambiguity.named_children())
    return {name: _size(part) for name, part in parts.items()}


def _size(part):
    grads = [weight.grad for weight in part.parameters()]
    return None if all(grad is None for grad in grads) else sum(grad.abs().sum().item() for grad in grads)


@pytest.mark.parametrize(
    ("mode", "learns"),
    [
        ("trained", {"denoiser", "amn", "acn"}),
        ("frozen", {"denoiser"}),
        ("acn_only", {"denoiser", "acn"}),
        ("anchored", {"denoiser", "amn", "acn", "decoder"}),
        ("off", {"denoiser"}),
    ],
)
def test_mode_says_who_learns(mode, learns):
    made = method(mode=mode)
    assert {name for name, size in gradients(made).items() if size} == learns
    optimised = {name.removeprefix("ambiguity.") for name, weight in made.named_parameters() if weight.requires_grad}
    assert {name.split(".")[0] for name in optimised} == learns


def test_off_has_neither_amn_nor_acn_and_a_fixed_variance_no_l_vlb():
    made = method(mode="off", variance="fixed-small")
    assert not [name for name in made.state_dict() if not name.startswith("denoiser.")]
    assert set(made.loss(batch(8)).terms) == {"simple"}


def output_gradient(made):
    """d L_total / d f_theta's output, (n, 2, H, W)."""
    kept = []

    def keep(module, inputs, output):
        output.retain_grad()
        kept.append(output)

    with made.denoiser.register_forward_hook(keep):
        torch.manual_seed(1)
        made.loss(batch(8)).total.backward()
    return kept[0].grad


@pytest.mark.parametrize("mode", ["trained", "frozen", "acn_only", "anchored"])
@pytest.mark.parametrize("acn_input", ["x_0", "eps"])
def test_the_denoiser_learns_from_l_amb_through_acn(mode, acn_input):
    grads = [output_gradient(method(mode=mode, acn_input=acn_input, beta=beta)) for beta in (0.0, 10.0)]
    assert (grads[0] - grads[1]).abs().max() > 1e-6


def test_anchor_teaches_amn_where_beta_is_zero():
    assert gradients(method(mode="anchored", beta=0.0))["amn"] > 0
    assert gradients(method(mode="trained", beta=0.0))["amn"] == 0


@pytest.mark.parametrize("predicts", ["eps", "x_0", "v"])
def test_l_vlb_teaches_the_variance_and_not_the_mean(predicts):
    without, with_it = (output_gradient(method(predicts, vlb_weight=weight, mode="off")) for weight in (0.0, 1.0))
    torch.testing.assert_close(with_it[:, :1], without[:, :1], rtol=0, atol=0)
    assert not without[:, 1:].any()
    assert with_it[:, 1:].any()


def test_spread_tells_a_collapsed_encoder():
    made = method()
    healthy = made.loss(batch(8)).terms["amn_spread"]
    torch.nn.init.zeros_(made.ambiguity.amn.head.weight)
    assert made.loss(batch(8)).terms["amn_spread"] < 1e-6 < healthy


def full_covariance(**ambiguity):
    """A small CIMD-FC."""
    settings = recipe().method
    encoder = settings.ambiguity.encoder.model_copy(update={"latent": 3, "covariance": "full"})
    torch.manual_seed(0)
    made = Cimd(settings.model_copy(update={"ambiguity": AmbiguitySettings(encoder=encoder, **ambiguity)}))
    stir(made, 0.05)
    return made


def test_full_covariance_changes_amn_and_acn_alone():
    made, plain = full_covariance(), Cimd(recipe().method)
    assert made.denoiser.state_dict().keys() == plain.denoiser.state_dict().keys()
    assert made.ambiguity.amn.head.out_features == made.ambiguity.acn.head.out_features == 3 + 3 + 3


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_l_amb_of_full_covariances_is_the_kl_in_double_precision(precision):
    made, cases = full_covariance(), batch(8)
    shown, mask = reader_masks(cases, "majority")
    x_0 = 2 * mask - 1
    with torch.no_grad(), torch.autocast("cpu", precision, enabled=precision == torch.bfloat16):
        _, terms = made.ambiguity(shown, x_0, -x_0)
        q, p = made.ambiguity.amn(shown, x_0), made.ambiguity.acn(shown, -x_0)
    exact = [MultivariateNormal(g.mean.double(), g.covariance_matrix.double()) for g in (q, p)]
    assert terms["amb"].dtype == torch.float32
    assert terms["amb"].item() == pytest.approx(kl_divergence(*exact).mean().item(), rel=1e-4)


@pytest.mark.parametrize("covariance", ["diagonal", "full"])
@pytest.mark.parametrize("mode", ["trained", "anchored"])
def test_the_loss_trains_in_mixed_precision(covariance, mode):
    made = full_covariance(mode=mode) if covariance == "full" else method(mode=mode)
    with torch.autocast("cpu", torch.bfloat16):
        found = made.loss(batch(8))
    found.total.backward()
    assert all(term.isfinite() for term in found.terms.values())
    assert all(weight.grad.isfinite().all() for weight in made.parameters())


def test_a_draw_of_the_anchored_latent_has_the_full_covariance():
    made = full_covariance(mode="anchored")
    torch.manual_seed(1)
    made.loss(batch(8)).total.backward()
    below = made.ambiguity.amn.head.weight.grad[6:]
    assert below.abs().sum(1).gt(0).all()


def test_the_loss_of_segdiff_is_that_of_cimd_with_its_denoiser():
    made = small("segdiff", ambiguity=SMALL["cimd"]["ambiguity"] | {"beta": 0.3})
    cimd = Cimd(recipe().method.model_copy(update={"ambiguity": made.settings.ambiguity}))
    cimd.denoiser, cimd.ambiguity = made.denoiser, made.ambiguity
    one, other = loss(made, batch(8)), loss(cimd, batch(8))
    assert one.terms.keys() == {"simple", "vlb", "amb", "amn_spread", "acn_spread"}
    assert (one.terms, one.total) == (other.terms, other.total)


def test_the_denoiser_of_segdiff_learns_from_the_attached_loss():
    grads = []
    for beta in (0.0, 10.0):
        made = small("segdiff", ambiguity=SMALL["cimd"]["ambiguity"] | {"beta": beta})
        loss(made, batch(8)).total.backward()
        grads.append(made.denoiser.image_encoder.start.weight.grad)
    assert (grads[0] - grads[1]).abs().max() > 1e-6


def test_the_score_of_two_predictions_at_one_time_stands_in_place_of_l_amb():
    made, cases = method(mode="score", beta=0.3, vlb_weight=0.1), batch(8)
    torch.manual_seed(1)
    found = made.loss(cases)
    with torch.no_grad():
        shown, x_0, t, eps = draws(made, cases, seed=1)
        predicted = []
        for mask, noise in ((x_0, eps), (2 * reader_masks(cases, "one")[1] - 1, torch.randn_like(x_0))):
            x_t = made.process.q_sample(mask, t, noise)
            predicted.append((made.process.predict(made.denoiser(x_t, shown, t), x_t, t).x_0 + 1) / 2)
    x, y = torch.cat(predicted, 1).double(), cases.readers.double()

    def distance(a, b):
        both, apart = a.sum() + b.sum() + 0.1, (a - b).abs().sum()
        return 1 - (both - apart) / (both + apart)

    pairs = [
        torch.stack([distance(one, y[case, r]) for one in x[case]]).mean() - distance(*x[case]) / 2
        for case, r in cases.valid.nonzero().tolist()
    ]
    assert found.terms["score"].item() == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-4)
    rest = found.terms["simple"] + 0.1 * TIMESTEPS * found.terms["vlb"]
    torch.testing.assert_close(found.total.detach(), rest + 0.3 * found.terms["score"])
    assert not hasattr(made, "ambiguity")


def test_the_score_asks_for_one_reader_a_draw():
    with pytest.raises(SettingsError, match=r"expected raters of one, where ambiguity\.mode is score, got all"):
        recipe(method={"raters": "all", "ambiguity": {"mode": "score"}})


def test_unit_targets_are_learned_as_they_are_and_cut_at_a_half():
    made, cases = method(), batch(8)
    made = Cimd(made.settings.model_copy(update={"unit_targets": True}))
    torch.manual_seed(1)
    shown, mask = reader_masks(cases, "one")
    t = torch.randint(1, TIMESTEPS + 1, (len(mask),))
    x_t = made.process.q_sample(mask, t, torch.randn_like(mask))
    torch.manual_seed(1)
    simple = made.loss(cases).terms["simple"]
    assert simple.item() == pytest.approx(((made.denoiser(x_t, shown, t)[:, :1] - mask) ** 2).mean().item())
    for value, filled in ((0.4, False), (0.6, True)):
        made.predict = lambda encoded, noise, *state, value=value: torch.full_like(state[0], value)
        assert panel(made, [0], SamplerSettings(name="ddim", steps=2)).all().item() is filled
