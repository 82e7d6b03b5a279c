"""Readers who are known: whose mask an image is learned as, and that they are drawn as themselves or as any."""

import pytest
import torch
import toy
from small_batches import always
from tiny import small

from plurimask.errors import SettingsError
from plurimask.methods.known_readers import KnownReaders, named, one_each
from plurimask.records import Batch


def test_half_of_the_images_name_their_readers():
    who = torch.arange(3).expand(2000, 3)
    torch.manual_seed(0)
    told = named(who)
    assert set(map(tuple, told.tolist())) == {(0, 1, 2), (-1, -1, -1)}
    assert (told[:, 0] == 0).float().mean() == pytest.approx(0.5, abs=0.05)


def test_an_image_is_learned_as_a_known_reader_who_drew_and_else_as_all():
    who = torch.tensor([[2, 0, 1], [-1, 4, -1], [5, -1, -1]]).repeat(300, 1)
    drew = torch.tensor([[True, False, True], [True, True, True], [False, True, True]]).repeat(300, 1)
    torch.manual_seed(0)
    reader, slots = one_each(who, drew)
    pairs = {
        (row % 3, one, tuple(slot)) for row, (one, slot) in enumerate(zip(reader.tolist(), slots.tolist(), strict=True))
    }
    assert pairs == {(0, 2, (0, 0, 0)), (0, 1, (2, 2, 2)), (1, 4, (1, 1, 1)), (2, -1, (0, 1, 2))}


def test_nobody_has_z_as_it_is_and_emptiness_of_the_image():
    known = KnownReaders(2, 3)
    torch.nn.init.normal_(known.emptiness)
    z, reader, logit = torch.randn(3, 3), torch.tensor([-1, 0, 1]), torch.zeros(3)
    assert torch.equal(known.latent(z, reader), z + torch.cat([torch.zeros(1, 3), known.means]))
    assert torch.equal(known.empty(logit, reader), torch.cat([torch.zeros(1), known.emptiness]))


def test_a_reader_who_was_not_trained_on_is_refused_by_name():
    with pytest.raises(SettingsError, match="--reader: expected one of ann, bob, got cleo; name one of them"):
        small("one-pass", readers=("ann", "bob")).as_reader("cleo")
    for name in ("one-pass", "ssn"):
        with pytest.raises(SettingsError, match="expected a model that was trained on known readers, got ann"):
            small(name).as_reader("ann")


def test_readers_of_a_known_task_are_drawn_as_themselves_and_together_as_the_mixture():
    """Ann draws the first box and Bob the second."""
    made = always(small("one-pass", std=0, readers=("ann", "bob")))
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(made.parameters(), 4e-3)
    readers, who = toy.BOXES.expand(12, -1, -1, -1), torch.arange(2).expand(12, 2)
    for _ in range(100):
        optimizer.zero_grad()
        made.loss(Batch(toy.images(12), readers, torch.ones((12, 2), dtype=torch.bool), who=who)).total.backward()
        optimizer.step()
    made.eval()
    assert toy.mode_share(made.as_reader("ann"), draws=200)["first"] > 0.8
    assert toy.mode_share(made.as_reader("bob"), draws=200)["second"] > 0.8
    assert toy.mode_share(made, draws=200)["first"] == pytest.approx(0.5, abs=0.2)
