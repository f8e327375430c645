import json

import numpy
import pytest
import strict_cupy
from any_device import library, np

from common.device_random import DeviceGenerator
from common.np import np as shim

pytestmark = pytest.mark.usefixtures("device")


def device_generator(seed=None):
    return DeviceGenerator(library(), seed)


def test_the_first_numbers_are_those_of_splitmix64():
    generator = device_generator()
    generator.state = 1234567, 1  # the published generator adds its constant before it mixes
    numbers = np.to_cpu(generator.random((3,), np.float64)) * 2**53
    state, expected = 1234567 * 0x9E3779B97F4A7C15, []
    for _ in range(3):
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        expected.append((z ^ z >> 31) >> 11)
    assert numbers.tolist() == expected


def test_on_a_gpu_numbers_are_drawn_by_one_kernel():
    generator = DeviceGenerator(strict_cupy, 0)
    with strict_cupy.counting() as counts:
        generator.random((3, 5))
    assert counts.names["fused uniform_number"] == 1


def place_of_hash(z):
    """Return the place whose hash is z: the mixing of SplitMix64, step by step backwards."""
    z = z ^ z >> 31 ^ z >> 62
    z = z * pow(0x94D049BB133111EB, -1, 2**64) % 2**64
    z = z ^ z >> 27 ^ z >> 54
    z = z * pow(0xBF58476D1CE4E5B9, -1, 2**64) % 2**64
    z = z ^ z >> 30 ^ z >> 60
    return z * pow(0x9E3779B97F4A7C15, -1, 2**64) % 2**64


@pytest.mark.parametrize("dtype, bits", [(np.float32, 24), (np.float64, 53)])
def test_the_largest_hash_gives_the_last_number_before_1_and_the_smallest_gives_0(dtype, bits):
    """With one bit more than the dtype holds, the largest would be rounded to 1."""
    generator = device_generator()
    for z, number in ((2**64 - 1, 1 - 2**-bits), (0, 0), (2**(64 - bits) - 1, 0), (2**(64 - bits), 2**-bits)):
        generator.state = place_of_hash(z), 0
        assert generator.random((1,), dtype).tolist() == [number]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_are_spread_evenly_and_do_not_follow_one_another(dtype):
    numbers = np.to_cpu(device_generator(3).random((400, 500), dtype))
    assert numbers.dtype == dtype and numbers.shape == (400, 500)
    assert numbers.min() >= 0 and numbers.max() < 1
    counts = numpy.histogram(numbers, bins=100, range=(0, 1))[0]
    assert ((counts - 2000) ** 2 / 2000).sum() < 150  # chi squared of 99 degrees of freedom, above 148 once in 1,000
    flat = numbers.reshape(-1).astype(float) - 0.5
    for lag in (1, 2, 500):
        assert abs((flat[lag:] * flat[:-lag]).mean()) < 4 * (1 / 12) / len(flat)**0.5
    assert abs(numpy.corrcoef(flat, device_generator(4).random((flat.size,), np.float64).tolist())[0, 1]) < 0.01


def test_single_precision_reaches_the_same_numbers_to_its_24_bits():
    one, other = device_generator(3).random((1000,), np.float32), device_generator(3).random((1000,), np.float64)
    np.testing.assert_allclose(one, other, atol=2.0**-24, rtol=0)


def test_a_state_is_a_place_in_the_sequence():
    whole = device_generator(3).random((10,), np.float32).tolist()
    generator = device_generator(3)
    first = generator.random((2, 2), np.float32).reshape(-1).tolist()
    state = json.loads(json.dumps(generator.state))
    assert state == [device_generator(3).state[0], 4]
    rest = [*generator.random((2,), np.float32).tolist(), *generator.random((4,), np.float32).tolist()]
    assert first + rest == whole
    generator.state = tuple(state)
    assert generator.random((6,), np.float32).tolist() == rest
    assert device_generator(4).state[1] == 0
    assert device_generator(4).state != device_generator(3).state
    assert device_generator().state != device_generator().state


def test_a_key_at_the_end_of_its_range_goes_on_at_its_beginning():
    generator, other = device_generator(), device_generator()
    generator.state, other.state = (2**64 - 2, 0), (0, 0)
    assert generator.random((4,)).tolist()[2:] == other.random((2,)).tolist()
    assert generator.random((2,)).tolist() == other.random((2,)).tolist()


def test_the_shim_takes_it_on_a_gpu():
    assert isinstance(shim.rng, DeviceGenerator) == (shim.backend == "cupy")
