"""What the kernels of `kernels` share: the tile of a program, and pointers into the tensors."""

import triton
import triton.language as tl


@triton.jit
def place_tile(heads, height, width, GROUP: tl.constexpr, TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr):
    """This program's image and place among all; head, y and x of each row of its tile, and whether that is its own.

    A row beyond the last head or pixel repeats the last, so that it computes with valid numbers; nothing stores it.
    """
    program = tl.program_id(0)
    tiles_across = tl.cdiv(width, TILE_WIDTH)
    tiles = tiles_across * tl.cdiv(height, TILE_HEIGHT)
    groups = tl.cdiv(heads, GROUP)
    tile = program % tiles
    image = program // tiles // groups
    row = tl.arange(0, TILE_HEIGHT * TILE_WIDTH * GROUP)
    pixel = row // GROUP
    head = program // tiles % groups * GROUP + row % GROUP
    y = tile // tiles_across * TILE_HEIGHT + pixel // TILE_WIDTH
    x = tile % tiles_across * TILE_WIDTH + pixel % TILE_WIDTH
    own = (head < heads) & (y < height) & (x < width)
    head, y, x = tl.minimum(head, heads - 1), tl.minimum(y, height - 1), tl.minimum(x, width - 1)
    return image, image * tiles + tile, head, y, x, own


@triton.jit
def map_pointers(base, image, head, y, x, channel, strides, ALIGNMENT: tl.constexpr):
    """Pointers ``(rows, WIDE)`` into ``(B, N, D, H, W)``; ALIGNMENT divides all strides but that of the channels."""
    plane = image.to(tl.int64) * strides[0] + head.to(tl.int64) * strides[1]
    pixel = plane + y.to(tl.int64) * strides[3] + x.to(tl.int64) * strides[4]
    return base + tl.multiple_of(pixel, ALIGNMENT)[:, None] + channel.to(tl.int64)[None, :] * strides[2]


@triton.jit
def bits_of_columns(x, width, K: tl.constexpr):
    """Bit b of each row: whether window column b lies inside the map. One register in place of K predicates."""
    first = tl.maximum(K // 2 - x, 0)
    end = tl.minimum(width + K // 2 - x, K)
    return (1 << end) - (1 << first)


@triton.jit
def bits_of_row(y, down, height, columns_inside):
    """The bits of `bits_of_columns` for the window row `down` rows below the query's; none where it lies outside."""
    return tl.where((y + down >= 0) & (y + down < height), columns_inside, 0)


@triton.jit
def read_place(at, strides, down, right, mask, ALIGNMENT: tl.constexpr, COMPUTE: tl.constexpr):
    """``(rows, WIDE)`` of the places `down` and `right` of those that `at` points to, zero outside the mask."""
    step = tl.multiple_of(down * tl.cast(strides[3], tl.int64) + right * tl.cast(strides[4], tl.int64), ALIGNMENT)
    return tl.load(at + step, mask=mask, other=0.0).to(COMPUTE)


@triton.jit
def column_terms(q, at_column, second, K: tl.constexpr, COMPUTE: tl.constexpr):
    """q2 . column[b] for each column b of the window: a tuple of ``(rows,)``, which stays in registers."""
    terms = ()
    for b in tl.static_range(K):
        r = tl.load(at_column + b, mask=second, other=0.0).to(COMPUTE)
        terms = terms + (tl.sum(q * r, axis=1),)
    return terms


@triton.jit
def scalar_pointers(base, image, heads, head, height, y, width, x):
    """Pointers ``(rows,)`` into a contiguous ``(B, N, H, W)``."""
    return base + ((image.to(tl.int64) * heads + head) * height + y) * width + x


@triton.jit
def which_channels(channel, D: tl.constexpr):
    """Which channels ``(1, WIDE)`` there are; plainly all, for the compiler, where D is WIDE."""
    if channel.shape[0] == D:
        return (channel >= 0)[None, :]
    return (channel < D)[None, :]


@triton.jit
def embedding_pointers(base, head, channel, K: tl.constexpr, HALF: tl.constexpr, SHARED: tl.constexpr):
    """Pointers ``(rows, WIDE)`` to the first offset of ``(D // 2, k)`` or ``(N, D // 2, k)``; the next follow it."""
    if SHARED:
        return base + head[:, None] * 0 + channel[None, :] * K
    return base + head[:, None] * (HALF * K) + channel[None, :] * K


@triton.jit
def store_partial(
    base, part, index, group_head, heads, channel, values, FIRST: tl.constexpr, D: tl.constexpr, K: tl.constexpr
):
    """Sum ``values (rows, WIDE)`` over the pixels of the tile into half of the channels of ``(parts, N, K, D)``."""
    GROUP: tl.constexpr = group_head.shape[0]
    WIDE: tl.constexpr = channel.shape[0]
    summed = tl.sum(tl.reshape(values, (values.shape[0] // GROUP, GROUP, WIDE)), axis=0)
    if FIRST:
        inside = channel < D // 2
    else:
        inside = (channel >= D // 2) & (channel < D)
    at = ((part.to(tl.int64) * heads + group_head[:, None]) * K + index) * D + channel[None, :]
    tl.store(base + at, summed, mask=(group_head < heads)[:, None] & inside[None, :])
