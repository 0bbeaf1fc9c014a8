"""Augmentation: ranges as Keras and torchvision mean them, and chance that follows from seed, epoch and place."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import ndimage, stats
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as pixels

from fer_bench.accuracy import augment
from fer_bench.accuracy.recipe_tables import Augmentation
from fer_bench.accuracy.recipes import read_recipe
from fer_bench.networks.contract import Crop, InputContract

UNIT = InputContract("grey", (3, 3), (0, 1), (0,), (1,), "bilinear", False, Crop("none", 0, False), ("happy", "sad"))
COLOUR = dataclasses.replace(UNIT, colour="RGB")
NINE = torch.arange(1.0, 10).view(1, 1, 3, 3)


def still(**changes):
    """What is done to one image: nothing but for the changes."""
    rest = {"zoom_x": 1, "zoom_y": 1, "crop_side": 1, "brightness": 1, "contrast": 1, "saturation": 1} | changes
    kinds = {"flip": bool, "flip_vertical": bool, "grayscale": bool}
    made = {
        field.name: np.array([rest.get(field.name, 0)], kinds.get(field.name, float))
        for field in dataclasses.fields(augment.Drawn)
    }
    return augment.Drawn(**made)


def applied(images, how, contract=UNIT, **changes):
    return augment.apply(images, still(**changes), how, contract)


ALL = Augmentation(rotation=1, shift_x=0.1, shift_y=0.1, zoom=0.1, shear=1)


# Worked by hand on 1..9 in rows of three.
@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ({"flip": True}, [3, 2, 1, 6, 5, 4, 9, 8, 7]),
        ({"flip_vertical": True}, [7, 8, 9, 4, 5, 6, 1, 2, 3]),
        ({"rotation": 90}, [7, 4, 1, 8, 5, 2, 9, 6, 3]),  # clockwise
        ({"shift_x": 1 / 3}, [1, 1, 2, 4, 4, 5, 7, 7, 8]),  # to the right, the edge repeated
        ({"shift_y": -1 / 3}, [4, 5, 6, 7, 8, 9, 7, 8, 9]),  # up
        ({"zoom_x": 0.5}, [1.5, 2, 2.5, 4.5, 5, 5.5, 7.5, 8, 8.5]),  # half of the width is seen, all of the height
        ({"zoom_y": 2}, [1, 2, 3, 4, 5, 6, 7, 8, 9]),  # beyond the picture its edge
        # The first pixel enlarged: beyond it the edge, and a third of the way to its neighbours.
        ({"crop_side": 1 / 3, "crop_x": 0, "crop_y": 0}, [1, 1, 4 / 3, 1, 1, 4 / 3, 2, 2, 7 / 3]),
    ],
)
def test_a_picture_of_nine_pixels_moves_as_worked_out_by_hand(changes, expected):
    made = applied(NINE, ALL, **changes).flatten().tolist()
    assert made == pytest.approx(expected, abs=1e-5)


def test_a_constant_fills_what_lies_beyond_in_units_of_pixels():
    how = dataclasses.replace(ALL, fill="constant", fill_value=0.5)
    contract = dataclasses.replace(UNIT, value_range=(-1, 1), mean=(0.2,), std=(0.4,))
    made = applied(NINE, how, contract, shift_x=1 / 3)
    assert made[0, 0, 0].tolist() == pytest.approx([(0.0 - 0.2) / 0.4, 1, 2], abs=1e-5)


def keras(image, drawn):
    """Keras's affine transform, written from its documentation: scipy, matrices of (row, column) about the centre."""
    angle, shear = np.deg2rad(drawn.rotation[0]), np.deg2rad(drawn.shear[0])
    rows, columns = image.shape
    turned = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    moved = np.array([[1, 0, -drawn.shift_y[0] * rows], [0, 1, -drawn.shift_x[0] * columns], [0, 0, 1]])
    sheared = np.array([[1, -np.sin(shear), 0], [0, np.cos(shear), 0], [0, 0, 1]])
    zoomed = np.diag([drawn.zoom_y[0], drawn.zoom_x[0], 1])
    centre = np.array([[1, 0, (rows - 1) / 2], [0, 1, (columns - 1) / 2], [0, 0, 1]])
    matrix = centre @ turned @ moved @ sheared @ zoomed @ np.linalg.inv(centre)
    return ndimage.affine_transform(image, matrix[:2, :2], matrix[:2, 2], order=1, mode="nearest")


@pytest.mark.parametrize("place", range(5))
def test_keras_s_ranges_give_what_scipy_gives_by_its_matrices(place):
    how = Augmentation(rotation=40, shift_x=0.2, shift_y=0.1, zoom=0.3, shear=20)
    drawn = augment.draw(how, 3, 1, [place])
    image = torch.rand((20, 26), generator=torch.Generator().manual_seed(place))
    made = augment.apply(image[None, None], drawn, how, UNIT)[0, 0].numpy()
    assert drawn.zoom_x != drawn.zoom_y
    np.testing.assert_allclose(made, keras(image.double().numpy(), drawn), atol=2e-5)


@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("interpolation", ["bilinear", "nearest"])
def test_torchvision_s_ranges_give_what_its_own_function_gives(place, interpolation):
    how = Augmentation("torchvision", rotation=40, shift_x=0.2, shift_y=0.1, zoom=0.3, shear=20, fill="constant")
    how = dataclasses.replace(how, interpolation=interpolation)
    drawn = augment.draw(how, 3, 1, [place])
    image = torch.rand((1, 20, 26), generator=torch.Generator().manual_seed(place))

    def theirs(picture):
        return pixels.affine(
            picture,
            angle=float(drawn.rotation[0]),
            translate=[round(drawn.shift_x[0] * 26), round(drawn.shift_y[0] * 20)],
            scale=1 / float(drawn.zoom_x[0]),
            shear=[float(drawn.shear[0]), 0.0],
            interpolation=InterpolationMode(interpolation),
            fill=None,
        )

    made = augment.apply(image[None], drawn, how, UNIT)[0]
    # Pixels that lie on a border between two, in single precision, are left to either.
    differ = (made - theirs(image)).abs() > 1e-4
    assert differ.float().mean() <= (0.01 if interpolation == "nearest" else 0)
    assert (theirs(torch.ones_like(image)) == 0).any()  # something lies beyond the picture


@pytest.mark.parametrize(
    ("name", "value", "theirs"),
    [
        ("brightness", 1.3, lambda image: pixels.adjust_brightness(image, 1.3)),
        ("contrast", 0.6, lambda image: pixels.adjust_contrast(image, 0.6)),
        ("saturation", 1.8, lambda image: pixels.adjust_saturation(image, 1.8)),
        ("hue", -0.15, lambda image: pixels.adjust_hue(image, -0.15)),
        ("grayscale", True, lambda image: pixels.rgb_to_grayscale(image, 3)),
    ],
)
@pytest.mark.parametrize("colour", ["RGB", "BGR"])
def test_colours_change_as_torchvision_changes_them(name, value, theirs, colour):
    image = torch.rand((1, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    contract = dataclasses.replace(COLOUR, colour=colour, value_range=(0, 255), mean=(10, 20, 30), std=(2, 3, 4))
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (contract.mean, contract.std))
    seen = image if colour == "RGB" else image.flip(1)
    how = Augmentation("torchvision", **{name: 0.5})
    made = applied((seen * 255 - mean) / std, how, contract, **{name: value})
    expected = theirs(image[0]) if colour == "RGB" else theirs(image[0]).flip(0)
    torch.testing.assert_close((made[0] * std + mean) / 255, expected, atol=1e-5, rtol=0)


def test_keras_s_contrast_is_about_the_mean_of_each_channel():
    image = torch.tensor([0.2, 0.4, 0.8, 0.6]).view(1, 2, 1, 2)  # means 0.3 and 0.7
    contract = dataclasses.replace(UNIT, mean=(0,))
    made = applied(image, Augmentation(contrast=0.5), contract, contrast=1.5)
    assert made.flatten().tolist() == pytest.approx([0.15, 0.45, 0.85, 0.55])


@pytest.mark.parametrize("name", ["rao2023", "zhu2024", "safavi2023", "muminov2024:two_phases"])
def test_an_image_s_augmentation_depends_on_neither_batch_nor_order(name):
    how = read_recipe(name).augmentation
    images = torch.rand((6, 3, 24, 24), generator=torch.Generator().manual_seed(1))
    whole = augment.augment(images, how, COLOUR, 7, 2, range(100, 106))
    alone = [augment.augment(images[i : i + 1], how, COLOUR, 7, 2, [100 + i]) for i in range(6)]
    assert torch.equal(whole, torch.cat(alone))
    back = augment.augment(images.flip(0), how, COLOUR, 7, 2, range(105, 99, -1))
    assert torch.equal(whole, back.flip(0))
    for other in ((8, 2, 100), (7, 3, 100), (7, 2, 101)):
        assert not torch.equal(whole[0], augment.augment(images[:1], how, COLOUR, *other[:2], [other[2]])[0])


def test_nothing_is_done_where_nothing_is_asked_for():
    images = torch.rand(4, 1, 3, 3)
    assert augment.augment(images, Augmentation(), UNIT, 0, 1, range(4)) is images


def test_what_is_drawn_is_uniform_and_has_no_pattern():
    values = augment.uniforms(0, 1, range(20_000), 4)
    assert values.min() >= 0
    assert values.max() < 1
    others = [augment.uniforms(*drawn, range(20_000), 4)[:, 0] for drawn in ((0, 2), (1, 1), (-1, 1))]
    columns = [*values.T, values[1:, 0], *others]
    for column in columns:
        assert stats.kstest(column, "uniform").pvalue > 1e-4
    for other in columns[1:]:
        assert abs(np.corrcoef(columns[0][: len(other)], other)[0, 1]) < 0.03  # 4 standard errors of 1/sqrt(n)


def test_splitmix_gives_the_numbers_of_its_authors():
    # The first outputs of the reference generator for the seed 0: states 0x9E37...7C15 times 1, 2 and 3.
    states = np.arange(1, 4, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    expected = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    assert augment._mixed(states).tolist() == expected


def test_ranges_are_drawn_within_their_bounds_and_flips_by_their_share():
    how = Augmentation(flip=0.25, rotation=10, shift_x=0.1, zoom=0.2, crop=0.8, brightness=0.3)
    drawn = augment.draw(how, 0, 1, range(4000))
    assert abs(drawn.flip.mean() - 0.25) < 0.03  # 4 standard errors
    for values, low, high in (
        (drawn.rotation, -10, 10),
        (drawn.shift_x, -0.1, 0.1),
        (drawn.zoom_x, 0.8, 1.2),
        (drawn.crop_side, 0.8, 1),
        (drawn.brightness, 0.7, 1.3),
    ):
        assert low <= values.min() < low + 0.02 * (high - low)
        assert high - 0.02 * (high - low) < values.max() <= high
    assert not drawn.shift_y.any()
    assert not drawn.flip_vertical.any()
