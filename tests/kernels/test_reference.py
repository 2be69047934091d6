import pytest
import torch

from senet.kernels import reference


@pytest.mark.parametrize("shape", [(2, 3, 5), (2, 3, 5, 7), (2, 3, 2, 3, 4)])
def test_squeeze_is_the_mean_or_maximum_of_each_map(shape):
    x = torch.randn(shape, dtype=torch.float64)
    assert torch.allclose(reference.squeeze(x), x.flatten(2).mean(2), rtol=1e-14)
    assert torch.equal(reference.squeeze(x, "max"), x.flatten(2).amax(2))


def test_squeeze_of_single_pixels_is_the_input():
    x = torch.randn(2, 3)
    assert torch.equal(reference.squeeze(x), x)


def test_float64_stays_float64():
    x = torch.full((1, 1, 3, 1), 1 + 1e-12, dtype=torch.float64)
    assert reference.squeeze(x).item() == pytest.approx(1 + 1e-12, abs=1e-15)


def test_squeeze_of_a_large_half_precision_map_does_not_overflow():
    x = torch.full((1, 2, 112, 112), 6e4, dtype=torch.float16)
    z = reference.squeeze(x)
    assert z.dtype == torch.float16
    assert torch.equal(z, x[:, :, 0, 0])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_half_precision_squeeze_is_the_rounded_exact_mean(dtype, layout):
    x = (torch.randn(2, 5, 112, 112) + 3).to(dtype).to(memory_format=layout)
    exact = x.double().mean((2, 3)).to(dtype)
    spacing = torch.finfo(dtype).eps * exact.abs()
    assert ((reference.squeeze(x) - exact).abs() <= spacing).all()
    assert (reference.squeeze(x) == exact).float().mean() > 0.8


def test_excitation_is_equation_3():
    z, w1, w2 = torch.randn(4, 6), torch.randn(2, 6), torch.randn(6, 2)
    s = reference.excitation(z, lambda x: x @ w1.T, torch.relu, lambda x: x @ w2.T, torch.sigmoid)
    assert torch.allclose(s, 1 / (1 + torch.exp(-((z @ w1.T).clamp(min=0) @ w2.T))))


@pytest.mark.parametrize("spatial", [(), (5,), (5, 7), (2, 3, 4)])
def test_scale_multiplies_each_map(spatial):
    x, s = torch.randn(2, 3, *spatial), torch.randn(2, 3)
    y = reference.scale(x, s)
    for n in range(2):
        for c in range(3):
            assert torch.equal(y[n, c], x[n, c] * s[n, c])


def test_scale_keeps_the_type_of_the_maps():
    x = torch.randn(2, 3, 4, 4, dtype=torch.float16)
    assert reference.scale(x, torch.rand(2, 3)).dtype == torch.float16
    assert reference.scale(x.float(), torch.rand(2, 3).bfloat16()).dtype == torch.float32
