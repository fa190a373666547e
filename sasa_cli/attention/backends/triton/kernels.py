"""The three Triton kernels of backend ``triton``; importing this module imports Triton.

A program computes a tile: TILE_HEIGHT x TILE_WIDTH pixels of GROUP neighbouring heads of one image. Its arrays are
``(rows, D)`` with one row per pixel and head, the head running fastest, so that in channels-last maps neighbouring
threads read neighbouring channels. D is filled up to a power of two, WIDE, with zeros. All arithmetic is plain
products and sums in COMPUTE, float32 or float64: half-precision maps lose nothing inside.

The position logit of the place (a, b) is q1 . row[a] + q2 . column[b]. The columns' k parts are computed once per tile
and kept in registers, as a tuple; the rows' once per window row. The backward pass is two kernels without atomics, so
that the same input always gives the same bits: one gathers what reaches a query from its window, the other what
reaches a key from the queries whose windows hold it.
"""

import triton
import triton.language as tl

from sasa_cli.attention.backends.triton.tile import (
    bits_of_columns,
    bits_of_row,
    column_terms,
    embedding_pointers,
    map_pointers,
    place_tile,
    read_place,
    scalar_pointers,
    store_partial,
    which_channels,
)

# Below any logit, yet finite: the difference of two such is zero, not NaN.
LOWEST = tl.constexpr(-3.0e38)
# Compiled once for all maps, not once more for those of one row or of a multiple of 16.
SIZES = ("heads", "height", "width")


@triton.jit(do_not_specialize=SIZES)
def forward(
    query, key, value, row_embedding, column_embedding, output, lse,
    query_strides, key_strides, value_strides, output_strides,
    heads, height, width,
    D: tl.constexpr, WIDE: tl.constexpr, K: tl.constexpr, MASKED: tl.constexpr, SHARED: tl.constexpr,
    COMPUTE: tl.constexpr, ALIGNMENT: tl.constexpr, ALIGNMENT_OUT: tl.constexpr,
    GROUP: tl.constexpr, TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """Output and log-sum-exp. A window row at a time: its K logits, then one step of the online softmax."""
    REACH: tl.constexpr = K // 2
    image, _, head, y, x, own = place_tile(heads, height, width, GROUP, TILE_HEIGHT, TILE_WIDTH)
    channel = tl.arange(0, WIDE)
    filled = which_channels(channel, D)
    at_query = map_pointers(query, image, head, y, x, channel, query_strides, ALIGNMENT)
    at_value = map_pointers(value, image, head, y, x, channel, value_strides, ALIGNMENT)
    if key is not None:
        at_key = map_pointers(key, image, head, y, x, channel, key_strides, ALIGNMENT)
    q = tl.load(at_query, mask=filled, other=0.0).to(COMPUTE)

    first, second = (channel < D // 2)[None, :], (channel >= D // 2)[None, :] & filled
    if row_embedding is not None:
        at_row = embedding_pointers(row_embedding, head, channel, K, D // 2, SHARED)
        at_column = embedding_pointers(column_embedding, head, channel - D // 2, K, D // 2, SHARED)
    column_logits = ()
    if row_embedding is not None:
        column_logits = column_terms(q, at_column, second, K, COMPUTE)

    peak = tl.full([q.shape[0]], LOWEST, COMPUTE)
    total = tl.zeros([q.shape[0]], COMPUTE)
    mixture = tl.zeros(q.shape, COMPUTE)
    columns_inside = bits_of_columns(x, width, K)
    for a in range(K):
        places_inside = bits_of_row(y, a - REACH, height, columns_inside)
        row_logit = tl.zeros([q.shape[0]], COMPUTE)
        if row_embedding is not None:
            row_logit = tl.sum(q * tl.load(at_row + a, mask=first, other=0.0).to(COMPUTE), axis=1)

        logits = ()
        highest = peak
        for b in tl.static_range(K):
            inside = (places_inside & (1 << b)) != 0
            logit = row_logit
            if row_embedding is not None:
                logit += column_logits[b]
            if key is not None:
                k = read_place(at_key, key_strides, a - REACH, b - REACH, filled & inside[:, None], ALIGNMENT, COMPUTE)
                logit += tl.sum(q * k, axis=1)
            if MASKED:
                logit = tl.where(inside, logit, float("-inf"))
            logits = logits + (logit,)
            highest = tl.maximum(highest, logit)

        shrink = tl.exp(peak - highest)
        peak = highest
        total *= shrink
        mixture *= shrink[:, None]
        for b in tl.static_range(K):
            inside = (places_inside & (1 << b)) != 0
            weight = tl.exp(logits[b] - peak)
            total += weight
            v = read_place(at_value, value_strides, a - REACH, b - REACH, filled & inside[:, None], ALIGNMENT, COMPUTE)
            mixture += weight[:, None] * v

    at_output = map_pointers(output, image, head, y, x, channel, output_strides, ALIGNMENT_OUT)
    tl.store(at_output, (mixture / total[:, None]).to(output.dtype.element_ty), mask=filled & own[:, None])
    tl.store(scalar_pointers(lse, image, heads, head, height, y, width, x), peak + tl.log(total), mask=own)


@triton.jit(do_not_specialize=SIZES)
def backward_query(
    query, key, value, row_embedding, column_embedding, output, lse, grad_output, grad_query, partials, delta,
    query_strides, key_strides, value_strides, output_strides, grad_strides, grad_query_strides,
    heads, height, width,
    D: tl.constexpr, WIDE: tl.constexpr, K: tl.constexpr, MASKED: tl.constexpr, SHARED: tl.constexpr,
    COMPUTE: tl.constexpr, ALIGNMENT: tl.constexpr, ALIGNMENT_OUT: tl.constexpr,
    GROUP: tl.constexpr, TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """Gradient of the query, and this tile's part of those of the embeddings; stores delta = sum(output * grad)."""
    REACH: tl.constexpr = K // 2
    image, part, head, y, x, own = place_tile(heads, height, width, GROUP, TILE_HEIGHT, TILE_WIDTH)
    channel = tl.arange(0, WIDE)
    filled = which_channels(channel, D)
    at_query = map_pointers(query, image, head, y, x, channel, query_strides, ALIGNMENT)
    at_value = map_pointers(value, image, head, y, x, channel, value_strides, ALIGNMENT)
    at_grad = map_pointers(grad_output, image, head, y, x, channel, grad_strides, ALIGNMENT)
    at_output = map_pointers(output, image, head, y, x, channel, output_strides, ALIGNMENT)
    if key is not None:
        at_key = map_pointers(key, image, head, y, x, channel, key_strides, ALIGNMENT)
    q = tl.load(at_query, mask=filled, other=0.0).to(COMPUTE)
    grad = tl.load(at_grad, mask=filled, other=0.0).to(COMPUTE)
    mean = tl.sum(grad * tl.load(at_output, mask=filled, other=0.0).to(COMPUTE), axis=1)
    tl.store(scalar_pointers(delta, image, heads, head, height, y, width, x), mean, mask=own)
    log_total = tl.load(scalar_pointers(lse, image, heads, head, height, y, width, x), mask=own, other=float("inf"))

    first, second = (channel < D // 2)[None, :], (channel >= D // 2)[None, :] & filled
    if row_embedding is not None:
        at_row = embedding_pointers(row_embedding, head, channel, K, D // 2, SHARED)
        at_column = embedding_pointers(column_embedding, head, channel - D // 2, K, D // 2, SHARED)
    column_logits = ()
    grad_columns = ()
    if row_embedding is not None:
        column_logits = column_terms(q, at_column, second, K, COMPUTE)
        for _ in tl.static_range(K):
            grad_columns = grad_columns + (tl.zeros([q.shape[0]], COMPUTE),)

    group_head = tl.program_id(0) // (tl.cdiv(width, TILE_WIDTH) * tl.cdiv(height, TILE_HEIGHT))
    group_head = group_head % tl.cdiv(heads, GROUP) * GROUP + tl.arange(0, GROUP)
    grad_q = tl.zeros(q.shape, COMPUTE)
    columns_inside = bits_of_columns(x, width, K)
    for a in range(K):
        places_inside = bits_of_row(y, a - REACH, height, columns_inside)
        row_logit = tl.zeros([q.shape[0]], COMPUTE)
        if row_embedding is not None:
            r = tl.load(at_row + a, mask=first, other=0.0).to(COMPUTE)
            row_logit = tl.sum(q * r, axis=1)
        grad_row = tl.zeros([q.shape[0]], COMPUTE)
        new_grad_columns = ()
        for b in tl.static_range(K):
            inside = (places_inside & (1 << b)) != 0
            logit = row_logit
            if row_embedding is not None:
                logit += column_logits[b]
            if key is not None:
                k = read_place(at_key, key_strides, a - REACH, b - REACH, filled & inside[:, None], ALIGNMENT, COMPUTE)
                logit += tl.sum(q * k, axis=1)
            if MASKED:
                logit = tl.where(inside, logit, float("-inf"))
            v = read_place(at_value, value_strides, a - REACH, b - REACH, filled & inside[:, None], ALIGNMENT, COMPUTE)
            grad_logit = tl.exp(logit - log_total) * (tl.sum(grad * v, axis=1) - mean)
            if key is not None:
                grad_q += grad_logit[:, None] * k
            if row_embedding is not None:
                grad_row += grad_logit
                new_grad_columns = new_grad_columns + (grad_columns[b] + grad_logit,)
        if row_embedding is not None:
            grad_columns = new_grad_columns
            r = tl.load(at_row + a, mask=first, other=0.0).to(COMPUTE)
            grad_q += grad_row[:, None] * r
            store_partial(partials, part, a, group_head, heads, channel, grad_row[:, None] * q, True, D, K)

    if row_embedding is not None:
        for b in tl.static_range(K):
            r = tl.load(at_column + b, mask=second, other=0.0).to(COMPUTE)
            grad_q += grad_columns[b][:, None] * r
            store_partial(partials, part, b, group_head, heads, channel, grad_columns[b][:, None] * q, False, D, K)
    at_grad_query = map_pointers(
        grad_query, image, head, y, x, channel,
        grad_query_strides, ALIGNMENT_OUT,
    )  # fmt: skip
    tl.store(at_grad_query, grad_q.to(grad_query.dtype.element_ty), mask=filled & own[:, None])


@triton.jit(do_not_specialize=SIZES)
def backward_key_value(
    query, key, value, row_embedding, column_embedding, lse, grad_output, delta, grad_key, grad_value,
    query_strides, key_strides, value_strides, grad_strides, grad_key_strides, grad_value_strides,
    heads, height, width,
    D: tl.constexpr, WIDE: tl.constexpr, K: tl.constexpr, SHARED: tl.constexpr,
    COMPUTE: tl.constexpr, ALIGNMENT: tl.constexpr, ALIGNMENT_OUT: tl.constexpr,
    GROUP: tl.constexpr, TILE_HEIGHT: tl.constexpr, TILE_WIDTH: tl.constexpr,
):  # fmt: skip
    """Gradients of key and value. A key at (y, x) has place (a, b) in the window of (y - a + R, x - b + R)."""
    REACH: tl.constexpr = K // 2
    image, _, head, y, x, own = place_tile(heads, height, width, GROUP, TILE_HEIGHT, TILE_WIDTH)
    channel = tl.arange(0, WIDE)
    filled = which_channels(channel, D)
    at_query = map_pointers(query, image, head, y, x, channel, query_strides, ALIGNMENT)
    at_value = map_pointers(value, image, head, y, x, channel, value_strides, ALIGNMENT)
    at_grad = map_pointers(grad_output, image, head, y, x, channel, grad_strides, ALIGNMENT)
    at_lse = scalar_pointers(lse, image, heads, head, height, y, width, x)
    at_delta = scalar_pointers(delta, image, heads, head, height, y, width, x)
    v = tl.load(at_value, mask=filled, other=0.0).to(COMPUTE)
    grad_v = tl.zeros(v.shape, COMPUTE)
    k = tl.zeros(v.shape, COMPUTE)
    grad_k = tl.zeros(v.shape, COMPUTE)
    if key is not None:
        at_key = map_pointers(key, image, head, y, x, channel, key_strides, ALIGNMENT)
        k = tl.load(at_key, mask=filled, other=0.0).to(COMPUTE)

    first, second = (channel < D // 2)[None, :], (channel >= D // 2)[None, :] & filled
    if row_embedding is not None:
        at_row = embedding_pointers(row_embedding, head, channel, K, D // 2, SHARED)
        at_column = embedding_pointers(column_embedding, head, channel - D // 2, K, D // 2, SHARED)
    for a in range(K):
        inside_row = (y - (a - REACH) >= 0) & (y - (a - REACH) < height)
        k_and_row = k
        if row_embedding is not None:
            k_and_row += tl.load(at_row + a, mask=first, other=0.0).to(COMPUTE)
        for b in range(K):
            inside = inside_row & (x - (b - REACH) >= 0) & (x - (b - REACH) < width)
            read = filled & inside[:, None]
            k_and_r = k_and_row
            if row_embedding is not None:
                k_and_r += tl.load(at_column + b, mask=second, other=0.0).to(COMPUTE)
            pixel = (a - REACH) * width + (b - REACH)
            log_total = tl.load(at_lse - pixel, mask=inside, other=float("inf"))
            logit = tl.zeros([v.shape[0]], COMPUTE)
            if key is not None or row_embedding is not None:
                q = read_place(at_query, query_strides, REACH - a, REACH - b, read, ALIGNMENT, COMPUTE)
                logit = tl.sum(q * k_and_r, axis=1)
            weight = tl.exp(logit - log_total)
            grad = read_place(at_grad, grad_strides, REACH - a, REACH - b, read, ALIGNMENT, COMPUTE)
            grad_v += weight[:, None] * grad
            if key is not None:
                mean = tl.load(at_delta - pixel, mask=inside, other=0.0)
                grad_logit = weight * (tl.sum(grad * v, axis=1) - mean)
                grad_k += grad_logit[:, None] * q

    at_grad_value = map_pointers(
        grad_value, image, head, y, x, channel,
        grad_value_strides, ALIGNMENT_OUT,
    )  # fmt: skip
    tl.store(at_grad_value, grad_v.to(grad_value.dtype.element_ty), mask=filled & own[:, None])
    if key is not None:
        at_grad_key = map_pointers(
            grad_key, image, head, y, x, channel,
            grad_key_strides, ALIGNMENT_OUT,
        )  # fmt: skip
        tl.store(at_grad_key, grad_k.to(grad_key.dtype.element_ty), mask=filled & own[:, None])
