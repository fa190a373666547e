import pytest
import torch
from torch import Tensor

from sasa_cli.models import StemAttention
from sasa_cli.models.position import sinusoidal_encoding
from sasa_cli.spec import AttentionSpec, StemSpec

VALUES = ["spatial", "conv", "plain"]
ATTENTIONS = [
    AttentionSpec(),
    AttentionSpec(embedding="per_head"),
    AttentionSpec(content=False),
    AttentionSpec(position="absolute"),
    AttentionSpec(position="none"),
]


def attention_stem(values: str = "spatial", attention: AttentionSpec | None = None, mixtures: int = 3):
    torch.manual_seed(0)
    spec = StemSpec(kind="attention", values=values, mixtures=mixtures)
    return StemAttention(3, 16, spec, attention or AttentionSpec(), dtype=torch.float64)


def image(height: int = 8, width: int = 12) -> Tensor:
    return torch.randn(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def value_at(stem: StemAttention, x: Tensor, a: int, b: int) -> Tensor:
    """v_ab of all channels, ``(B, C)``, as the paper's appendix A.1 and Table 7 describe it."""
    weight = stem.value.weight
    if stem.stem.values == "plain":
        return x[:, :, a, b] @ weight[:, :, 0, 0].T
    if stem.stem.values == "conv":
        window = torch.nn.functional.pad(x, (1, 2, 1, 2))[:, :, a : a + 4, b : b + 4]
        return torch.einsum("bihw,oihw->bo", window, weight)
    place = stem.mixture_row_embedding[:, a % 4] + stem.mixture_column_embedding[:, b % 4]
    p = (stem.mixture_embedding @ place).softmax(0)
    projections = weight[:, :, 0, 0].unflatten(1, (stem.stem.mixtures, 3))  # (C, m, C_in)
    return x[:, :, a, b] @ torch.einsum("m,omi->oi", p, projections).T


def pixel_by_pixel(stem: StemAttention, x: Tensor) -> Tensor:
    """The stem from its weights, in loops over heads and pairs of pixels of a block."""
    heads, dim, half = stem.stem.heads, stem.head_dim, stem.head_dim // 2
    query = torch.einsum("oi,bihw->bohw", stem.query.weight[:, :, 0, 0], x)
    key = torch.zeros_like(query)
    if stem.key is not None:
        key = torch.einsum("oi,bihw->bohw", stem.key.weight[:, :, 0, 0], x)
    y = torch.zeros_like(query)
    encoding = sinusoidal_encoding(torch.empty(1, 1, 4, 4), heads * dim).double()
    for n in range(heads):
        channels = slice(n * dim, (n + 1) * dim)
        encoded = encoding[n::heads] if stem.attention.position == "absolute" else torch.zeros(dim, 4, 4)
        rows, columns = (
            e[n] if e is not None and e.dim() == 3 else e for e in (stem.row_embedding, stem.column_embedding)
        )
        for i in range(x.shape[2]):
            for j in range(x.shape[3]):
                q = query[:, channels, i, j] + encoded[:, i % 4, j % 4]
                logits, values = [], []
                for a in range(i // 4 * 4, i // 4 * 4 + 4):
                    for b in range(j // 4 * 4, j // 4 * 4 + 4):
                        logit = (q * (key[:, channels, a, b] + encoded[:, a % 4, b % 4])).sum(1)
                        if rows is not None:
                            logit = logit + q[:, :half] @ rows[:, a - i + 3] + q[:, half:] @ columns[:, b - j + 3]
                        logits.append(logit)
                        values.append(value_at(stem, x, a, b)[:, channels])
                weights = torch.stack(logits).softmax(0)  # (16, B)
                y[:, channels, i, j] = (weights[..., None] * torch.stack(values)).sum(0)
    return y


@pytest.mark.parametrize("attention", ATTENTIONS, ids=lambda a: f"{a.position}-{a.embedding}-{a.content}")
@torch.no_grad()
def test_stem_is_the_attention_of_the_paper(attention: AttentionSpec):
    stem = attention_stem(attention=attention)
    torch.testing.assert_close(stem(image()), pixel_by_pixel(stem, image()))


@pytest.mark.parametrize("values", VALUES[1:])
@torch.no_grad()
def test_other_values_are_those_of_table_7(values: str):
    stem = attention_stem(values)
    torch.testing.assert_close(stem(image(8, 4)), pixel_by_pixel(stem, image(8, 4)))


@pytest.mark.parametrize("values", VALUES)
@pytest.mark.parametrize(("height", "width"), [(7, 9), (1, 3), (5, 8)])
@torch.no_grad()
def test_sides_that_are_no_multiple_of_four_are_filled_with_zeros(values: str, height: int, width: int):
    stem = attention_stem(values)
    x = image(height, width)
    filled = torch.zeros(2, 3, -(-height // 4) * 4, -(-width // 4) * 4, dtype=x.dtype)
    filled[:, :, :height, :width] = x
    torch.testing.assert_close(stem(x), stem(filled)[:, :, :height, :width])


@torch.no_grad()
def test_mixture_depends_on_the_place_and_sums_to_one():
    p = attention_stem(mixtures=5).mixture_weights()  # (m, 4, 4)
    assert p.shape == (5, 4, 4)
    torch.testing.assert_close(p.sum(dim=0), torch.ones(4, 4, dtype=p.dtype))
    assert (p.flatten(1)[:, :1] != p.flatten(1)[:, 1:]).all()


def test_one_mixture_is_one_projection():
    assert torch.equal(attention_stem(mixtures=1).mixture_weights(), torch.ones(1, 4, 4, dtype=torch.float64))


@torch.no_grad()
def test_logits_start_moderate():
    stem = attention_stem()
    x = image(64, 64)
    logits = stem._logits(stem._positioned(stem.query(x)), stem._positioned(stem.key(x)))
    assert 0.5 < logits.std(dim=-1).mean() < 2


def test_half_precision_under_autocast():
    stem = attention_stem().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = stem(image().float())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), stem(image().float()), rtol=0.1, atol=0.1)


def test_heads_that_do_not_divide_are_refused():
    spec = StemSpec(kind="attention", heads=3)
    with pytest.raises(ValueError, match=r"stem\.heads: 3 does not divide the 16 channels; allowed are"):
        StemAttention(3, 16, spec, AttentionSpec())


def test_heads_of_one_channel_cannot_mix_by_place():
    spec = StemSpec(kind="attention", heads=4)
    with pytest.raises(ValueError, match=r"stem\.heads: 4 leaves one channel a head"):
        StemAttention(3, 4, spec, AttentionSpec(position="none"))
