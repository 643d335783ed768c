"""Regions that overlap, in one label image."""

import numpy as np

from isocenter.regions.label_table import LabelTable


def masks(*rows):
    return [np.array(row, bool).reshape(1, 1, -1) for row in rows]


def find(image, table, name):
    return np.isin(image, [number for number, own in table.rows if own == name])


def test_regions_that_do_not_overlap_have_a_number_each():
    white, gray = masks([1, 1, 0, 0], [0, 0, 1, 0])
    table = LabelTable(["white", "gray", "fluid"])
    image = table.draw({"white": white, "gray": gray})
    assert image.ravel().tolist() == [1, 1, 2, 0]
    assert image.dtype == np.uint8
    assert table.rows == [(1, "white"), (2, "gray"), (3, "fluid")]


def test_every_region_comes_back_from_overlaps():
    rng = np.random.default_rng(0)
    table = LabelTable(["a"])
    regions = {name: rng.uniform(size=(5, 6, 7)) < 0.4 for name in "abcdefg"}
    image = table.draw(regions)
    for name, region in regions.items():
        np.testing.assert_array_equal(find(image, table, name), region, err_msg=name)
    assert not image[~np.any(list(regions.values()), axis=0)].any()


def test_a_second_image_shares_the_numbers():
    table = LabelTable()
    first = {"a": masks([1, 1, 0])[0], "b": masks([0, 1, 1])[0]}
    second = {"b": masks([1, 1, 0])[0], "c": masks([0, 1, 1])[0], "a": masks([0, 0, 0])[0]}
    images = table.draw(first), table.draw(second)
    for image, regions in zip(images, (first, second), strict=True):
        for name, region in regions.items():
            np.testing.assert_array_equal(find(image, table, name), region)
    sets = [tuple(name for number, name in table.rows if number == i) for i in {number for number, _ in table.rows}]
    assert len(sets) == len(set(sets)), "a set of names has one number"


def test_a_region_without_voxels_is_listed():
    table = LabelTable()
    table.draw({"a": masks([1, 0])[0], "b": masks([0, 0])[0]})
    assert table.names == ["a", "b"]
