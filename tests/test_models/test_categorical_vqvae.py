"""The categorical VQ-VAE: its parts against loops, sums and scipy, the whole on tiny rows."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from flax import nnx
from scipy.spatial.distance import pdist

from models import categorical_vqvae
from models.data.grouping import grouping_of
from models.errors import ConfigError, UserError
from models.layers.batch_normalization import BatchNormalization
from models.layers.category_reader import CategoryReader, Front, Reader
from models.layers.grouped import GroupedLinear
from models.layers.initialization import initialize
from models.layers.levels import LeveledQuantizer, Levels, codes_of, dealt_bits
from models.layers.quantizer import Quantization, Quantizer
from models.layers.traced import Traced
from models.losses.codes import orthogonality, topographic
from models.metrics.tokens import (
    Explained,
    shared_information,
    token_counts,
    usage_metrics,
)

COLUMNS = ((0, 3), (1, 2, 4, 5), (6,))


def numbers(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# -- layers side by side ----------------------------------------------------------------------


def test_groups_side_by_side_are_groups_one_by_one():
    """And what is padded reaches nothing."""
    layer = GroupedLinear(inputs=(2, 4, 1), outputs=3)
    initialize(layer, jax.random.key(0))
    weight, bias = np.asarray(layer.weight[...]), np.asarray(layer.bias[...])
    for group, size in enumerate((2, 4, 1)):
        assert np.abs(weight[group]).max() <= 1 / math.sqrt(size)
        assert np.abs(weight[group]).max() > 0.5 / math.sqrt(size)
    inputs = numbers(3, 5, 4)
    found = np.asarray(layer(jnp.asarray(inputs)))
    for group in range(3):
        wanted = inputs[group] @ weight[group] + bias[group]
        np.testing.assert_allclose(found[group], wanted, rtol=1e-5, atol=1e-6)


def test_a_reader_sees_its_own_columns_and_no_others():
    reader = CategoryReader(
        front=Front(),
        reader=Reader(hidden_size=6, size=4),
        columns=COLUMNS,
        masked=False,
    )
    initialize(reader, jax.random.key(0))
    rows, mask = numbers(5, 7), jnp.ones((5, 7), bool)
    run = nnx.jit(lambda module, rows: module(rows, mask))
    before = np.asarray(run(reader, jnp.asarray(rows)))
    assert before.shape == (3, 5, 4)
    for column in range(7):
        changed = rows.copy()
        changed[:, column] += 1.0
        after = np.asarray(run(reader, jnp.asarray(changed)))
        moved = [bool(np.abs(after[g] - before[g]).max() > 1e-4) for g in range(3)]
        assert moved == [column in own for own in COLUMNS]


@pytest.mark.oracles
def test_batch_norm_is_torchs():
    import torch

    ours, theirs = BatchNormalization(1, 3, over=(1,)), torch.nn.BatchNorm1d(3)
    for step in range(3):
        batch = numbers(8, 3, seed=step) * 2 + 1
        found = ours(jnp.asarray(batch)[None], training=True)[0]
        wanted = theirs(torch.from_numpy(batch)).detach().numpy()
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    theirs.eval()
    found = ours(jnp.asarray(batch)[None], training=False)[0]
    wanted = theirs(torch.from_numpy(batch)).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


# -- codebooks of unequal size ----------------------------------------------------------------


def test_a_smaller_codebook_has_its_own_codes_and_no_more():
    """Codes past its size are never chosen, however near, nor revived, nor begun from data."""
    config = Quantization(bits=3, code_size=2, revive_below=0.5)
    made = Quantizer(config=config, groups=2, key=jax.random.key(0), sizes=((8, 2),))
    for _, variable in nnx.iter_graph(made):
        if isinstance(variable, Traced):
            name = variable.get_metadata()["name"].removeprefix("quantizer.")
            variable.set_value(jnp.asarray(getattr(config, name)))
    points = jnp.asarray(numbers(64, 2, 2))
    nnx.jit(lambda made, points, key: made.begin(points, key))(
        made, points, jax.random.key(1)
    )
    (book,) = made.books
    past = np.asarray(book.vectors())[1, 2:].copy()
    at_them = jnp.asarray(np.resize(past, (64, 2)))
    points = points.at[:, 1].set(at_them)
    follow = nnx.jit(lambda made, points, key: made(points, key=key))
    found = follow(made, points, jax.random.key(2))
    tokens = np.asarray(found.tokens)[..., 0]
    assert tokens[:, 1].max() < 2 <= tokens[:, 0].max()
    codes = np.asarray(book.vectors())
    np.testing.assert_array_equal(codes[1, 2:], past)
    assert np.asarray(made.shares())[0, 1, 2:].sum() == 0


def test_a_dead_code_is_one_below_the_fair_share_of_its_own_codebook():
    """Of 16 rows a codebook of 2 owes each code 8, one of 8 owes it 2."""
    config = Quantization(bits=3, code_size=1, revive_below=0.5)
    made = Quantizer(config=config, groups=2, key=jax.random.key(0), sizes=((8, 2),))
    (book,) = made.books
    book.decay.set_value(jnp.asarray(0.5))
    book.revive_below.set_value(jnp.asarray(0.5))
    codes = np.full((2, 8, 1), 900.0, np.float32)
    codes[:, 0], codes[:, 1] = 0.0, 10.0
    book.begin(jnp.asarray(codes))
    rows = np.zeros((16, 2, 1), np.float32)
    rows[:3] = (
        10.0  # three of sixteen: enough for the eighth part, too few for the half
    )
    nnx.jit(lambda made, points, key: made(points, key=key))(
        made, jnp.asarray(rows), jax.random.key(0)
    )
    counts = np.asarray(book.counts.value())
    np.testing.assert_allclose(counts[0, :2], [13, 3], rtol=1e-5)
    np.testing.assert_allclose(
        counts[1, :2], [13, 4], rtol=1e-5
    )  # begun anew at half of 8


# -- levels -----------------------------------------------------------------------------------


def left(spectrum, bits):
    """The mean square that a Gaussian keeps, by bisection of the water's height."""
    low, high = 1e-12, max(spectrum)
    for _ in range(200):
        mark = math.sqrt(low * high)
        used = sum(0.5 * math.log2(v / mark) for v in spectrum if v > mark)
        low, high = (mark, high) if used > bits else (low, mark)
    return sum(min(v, mark) for v in spectrum)


def test_every_bit_goes_where_it_takes_away_most():
    spectra = [(9.0, 4.0, 1.0, 0.2), (3.0, 2.5), (0.5,), (16.0,)]
    bits = dealt_bits(spectra, budget=17, levels=1)
    assert sum(bits) == 17 and min(bits) >= 1
    total = sum(map(left, spectra, bits))
    for giver in range(4):
        for taker in range(4):
            moved = list(bits)
            moved[giver], moved[taker] = moved[giver] - 1, moved[taker] + 1
            if giver != taker and moved[giver] >= 1:
                assert sum(map(left, spectra, moved)) >= 0.97 * total, (bits, moved)


def test_bits_of_a_category_are_split_over_its_levels():
    levels = Levels(count=2, budget=11)
    sizes = levels.sizes([(8.0, 4.0, 2.0), (1.0,)])
    assert [sum(level) for level in sizes] == [6, 5] or sum(map(sum, sizes)) == 11
    assert all(a - b in (0, 1) for a, b in zip(*sizes, strict=True))
    with pytest.raises(ConfigError, match="carry 4 to 48 bits, got `levels.budget` 3"):
        Levels(count=2, budget=3).sizes([(1.0,), (1.0,)])
    with pytest.raises(ConfigError, match="carry 2 to 6 bits"):
        Levels(budget=7, most_bits=3).sizes([(1.0,), (1.0,)])


@pytest.fixture
def three_levels():
    """The source's sizes in small: codes of 4, 3 and 2 numbers, 1, 2 and 3 bits."""
    config = Levels(count=3, hierarchy="parallel", code_size=(4, 3, 2), bits=(1, 2, 3))
    made = LeveledQuantizer(
        config=config,
        quantization=Quantization(start="uniform"),
        sizes=config.sizes([(1.0,)] * 2),
        inputs=5,
        key=jax.random.key(0),
    )
    initialize(made, jax.random.key(1))
    return made


def test_parallel_levels_read_the_same_vector_each_by_itself(three_levels):
    made = three_levels
    assert made.counts == (2, 4, 8, 2, 4, 8)
    vectors = numbers(2, 6, 5)
    found = nnx.jit(lambda made, vectors: made(vectors))(made, jnp.asarray(vectors))
    assert found.tokens.shape == (6, 2, 3)
    for level, linear in enumerate(made.project):
        weight, bias = np.asarray(linear.weight[...]), np.asarray(linear.bias[...])
        codes = np.asarray(made.quantizers[level].books[0].vectors())
        for group in range(2):
            latents = vectors[group] @ weight[group] + bias[group]
            apart = np.square(latents[:, None] - codes[group][None]).sum(axis=-1)
            wanted = apart.argmin(axis=1)
            np.testing.assert_array_equal(found.tokens[:, group, level], wanted)
            np.testing.assert_allclose(
                found.codes[level][:, group], codes[group][wanted], atol=1e-5
            )
    again = made.decode(found.tokens)
    for one, other in zip(again, found.codes, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"count": 2, "bits": (1, 2, 3)}, "a number for each of 2 levels"),
        ({"count": 2, "code_size": (4, 8)}, "of residual levels"),
        ({"hierarchy": "parallel"}, "`levels.count` 1"),
        ({"budget": 24, "bits": 5}, "`levels.budget` 24"),
        ({"most_bits": 3}, "acts with a budget"),
        ({"normalize": True, "code_size": 2}, "only a sign is left"),
    ],
)
def test_levels_that_cannot_be_meant_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        Levels(**settings)


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"quantizer.bits": 5}, "got `quantizer.bits` 5"),
        ({"quantizer.stages": 2}, "got `quantizer.stages` 2"),
        ({"loss.orthogonality": 0.1}, "acts where codes are parameters"),
        ({"writer.partial": False, "loss.informativeness": 0.3}, "acts with partial"),
        ({"front.batch_norm": False}, "`front.batch_norm` acts with a front"),
    ],
)
def test_what_acts_on_nothing_is_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        categorical_vqvae.Config.from_flat(settings)


def test_a_grid_has_the_same_codes_for_all_categories():
    sizes = Levels(bits=4).sizes([(1.0,)] * 3)
    pieces = Levels(bits=4).pieces(Quantization(kind="fsq"), sizes)
    assert codes_of(pieces, 3) == (16, 16, 16)
    with pytest.raises(ConfigError, match="alike for all categories"):
        Levels(budget=24).pieces(Quantization(kind="fsq"), sizes)
    with pytest.raises(ConfigError, match="squashes every number"):
        Levels(normalize=True).pieces(Quantization(kind="fsq"), sizes)


# -- losses -----------------------------------------------------------------------------------


def test_orthogonality_is_the_mean_squared_cosine_of_different_codes():
    codes = numbers(2, 4, 3)
    wanted = []
    for group, count in enumerate((4, 3)):
        unit = codes[group, :count] / np.linalg.norm(
            codes[group, :count], axis=1, keepdims=True
        )
        cosines = unit @ unit.T
        wanted.append(np.square(cosines[~np.eye(count, dtype=bool)]).mean())
    found = orthogonality(jnp.asarray(codes), (4, 3))
    np.testing.assert_allclose(found, np.mean(wanted), rtol=1e-5)
    square = jnp.asarray([[[1.0, 0.0], [0.0, 2.0], [7.0, 7.0]]])
    assert orthogonality(square, (2,)) == 0
    assert orthogonality(jnp.ones((1, 3, 2)), (1,)) == 0


def test_orthogonality_has_a_gradient():
    """Detached, its weight would tune nothing."""
    codes = jnp.asarray(numbers(1, 4, 3))
    slope = jax.grad(lambda c: orthogonality(c, (4,)))(codes)
    assert np.abs(slope).max() > 1e-3
    smaller = orthogonality(codes - 0.1 * slope, (4,))
    assert smaller < orthogonality(codes, (4,))


def test_topography_is_pearsons_r_of_pairs_counted_once():
    rows, latents, codes = (
        numbers(9, 6),
        numbers(9, 2, 3, seed=1),
        numbers(9, 2, 3, seed=2),
    )
    further = numbers(9, 2, 2, seed=3)
    found = topographic(
        jnp.asarray(rows),
        [jnp.asarray(latents), jnp.asarray(further)],
        [jnp.asarray(codes), jnp.asarray(further)],
        most=8,
    )

    def apart(*pieces):
        return np.mean([pdist(p[:8, g]) for p in pieces for g in range(2)], axis=0)

    before, after = apart(latents, further), apart(codes, further)
    first = scipy.stats.pearsonr(pdist(rows[:8]), before).statistic
    second = scipy.stats.pearsonr(before, after).statistic
    np.testing.assert_allclose(found, 0.3 * (1 - first) + 0.7 * (1 - second), rtol=1e-4)


def test_topography_of_equal_codes_has_a_finite_gradient():
    rows = jnp.asarray(numbers(5, 3))
    codes = jnp.ones((5, 1, 2))
    slope = jax.grad(lambda z: topographic(rows, [z], [codes]))(jnp.ones((5, 1, 2)))
    assert np.isfinite(slope).all()
    assert topographic(rows[:2], [codes[:2]], [codes[:2]]) == 0


# -- what is told of tokens -------------------------------------------------------------------


def told(tokens, counts, groups):
    """Every usage metric over tokens ``[N, G, L]`` that come in two batches."""
    most = max(counts)
    batches = [
        {"usage": token_counts(jnp.asarray(part), most)}
        for part in np.split(tokens, [len(tokens) // 3])
    ]
    found = {}
    for metric in usage_metrics(groups=groups, counts=counts):
        state = metric.init(batches[0], {})
        for outputs in batches:
            state = metric.update(state, outputs, {})
        found[metric.name] = float(metric.finish(state))
    return found


def test_usage_is_that_of_all_rows():
    random = np.random.default_rng(0)
    tokens = np.stack(
        [random.integers(0, 4, (90, 2)), random.integers(0, 2, (90, 2))], axis=1
    )
    tokens[:, 0, 0] = np.where(tokens[:, 0, 0] == 3, 0, tokens[:, 0, 0])  # one is dead
    counts = (4, 4, 2, 2)
    found = told(tokens, counts, ("a", "b"))
    shares, used, nats = [], [], []
    for book, column in zip(counts, tokens.reshape(90, 4).T, strict=True):
        each = np.bincount(column, minlength=book) / 90
        nats.append(scipy.stats.entropy(each))
        shares.append(np.exp(nats[-1]) / book)
        used.append((each > 0).sum())
    assert found["train_rows"] == 90
    assert found["dead"] == sum(counts) - sum(used) == 1
    np.testing.assert_allclose(
        found["use"], np.mean(np.array(used) / counts), rtol=1e-5
    )
    np.testing.assert_allclose(found["perplexity"], np.exp(nats).mean(), rtol=1e-5)
    np.testing.assert_allclose(found["perplexity_share"], min(shares), rtol=1e-5)
    np.testing.assert_allclose(found["perplexity_share.b"], min(shares[2:]), rtol=1e-5)
    np.testing.assert_allclose(found["bits"], sum(nats) / np.log(2), rtol=1e-5)


def test_two_used_codes_are_no_full_codebook():
    """Use alone cannot tell: every code but two is chosen once."""
    tokens = np.zeros((1000, 1, 1), int)
    tokens[500:, 0, 0] = 1
    tokens[:14, 0, 0] = np.arange(2, 16)
    found = told(tokens, (16,), ("a",))
    assert found["use"] == 1 and found["dead"] == 0
    assert found["perplexity_share"] < 0.2
    assert "nmi" not in found


def test_information_is_shared_by_copies_and_by_nothing_else():
    random = np.random.default_rng(0)
    one = random.integers(0, 4, 4000)
    tokens = np.stack([one, (one + 1) % 4, random.integers(0, 4, 4000)], axis=1)
    found = told(tokens[..., None], (4, 4, 4), ("a", "b", "c"))
    np.testing.assert_allclose(found["nmi.a"], 0.5, atol=0.01)
    np.testing.assert_allclose(found["nmi.c"], 0.0, atol=0.01)
    np.testing.assert_allclose(found["nmi"], 1 / 3, atol=0.01)


@pytest.mark.oracles
def test_normalized_information_is_scikit_learns():
    from sklearn.metrics import normalized_mutual_info_score

    tokens = np.random.default_rng(0).integers(0, 4, (60, 3, 2))
    tokens[:, 1] = tokens[:, 0] // 2
    pairs = token_counts(jnp.asarray(tokens), 4)["pairs"]
    found = np.asarray(shared_information(pairs))
    for level, one, other in np.ndindex(found.shape):
        wanted = normalized_mutual_info_score(
            tokens[:, one, level], tokens[:, other, level], average_method="geometric"
        )
        assert found[level, one, other] == pytest.approx(wanted, abs=1e-5)


def test_r2_is_against_the_train_mean_and_of_its_columns():
    wanted, found = numbers(20, 4), numbers(20, 4, seed=1)
    mask = np.random.default_rng(0).random((20, 4)) < 0.7
    mean, std = np.array([1.0, -1.0, 0.0, 2.0]), np.array([1.0, 3.0, 0.5, 2.0])
    metric = Explained(
        name="r2", columns=(1, 3), signal="x", mask="m", mean=mean, std=std
    )
    outputs, batch = {"x": jnp.asarray(found)}, {"x": jnp.asarray(wanted)}
    batch["m"] = jnp.asarray(mask)
    state = metric.update(metric.init(outputs, batch), outputs, batch)
    own = mask[:, [1, 3]]
    apart = ((wanted - mean) / std)[:, [1, 3]][own]
    error = ((wanted - found) / std)[:, [1, 3]][own]
    r2 = 1 - np.square(error).sum() / np.square(apart).sum()
    np.testing.assert_allclose(metric.finish(state), r2, rtol=1e-5)


# -- the whole --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def learner(tmp_path_factory):
    example = categorical_vqvae.example("reconstruction")
    context = example.context(tmp_path_factory.mktemp("rows"))
    made = categorical_vqvae.create(example.config, context)
    made.fit(2)
    return made


@pytest.mark.slow
def test_tokens_say_the_same_rows_again_and_usage_is_of_every_train_row(learner):
    assert learner.describe("valid")["tokens"].shape == (50, 3 * 2)
    (group,) = learner.valid
    shown = {"values": group["values"], "given.values": group["seen.values"]}
    outputs, _ = learner.outputs(shown)
    tokens = outputs["tokens"]
    again = categorical_vqvae.decode_from_tokens(learner, tokens)
    np.testing.assert_allclose(again, outputs["values"], rtol=1e-4, atol=1e-5)
    valid = learner.records[-1].valid
    assert (
        valid["train_rows"] == 200
    )  # not the 50 of validation, nor whole batches only
    assert valid["carried"] == 12.0 >= valid["bits"]
    order = grouping_of(learner.interface.reference).names
    assert {f"r2.{name}" for name in order} <= set(valid)
    for wrong, words in (
        (tokens[:, :4], "must be .rows, 6., got shape .50, 4."),
        (tokens + 4, "from 4 to"),
        (tokens.astype(float), "got float"),
    ):
        with pytest.raises(UserError, match=words):
            categorical_vqvae.decode_from_tokens(learner, wrong)


@pytest.mark.slow
def test_a_front_and_parallel_levels_and_codes_as_parameters_train(tmp_path):
    """And no parameter of them is without a gradient, orthogonality of codes included."""
    example = categorical_vqvae.example("reconstruction")
    changed = {
        "front.output_size": 3,
        "front.hidden_sizes": [4],
        "front.dropout": 0.1,
        "levels.hierarchy": "parallel",
        "levels.code_size": [4, 3],
        "levels.normalize": True,
        "levels.bits": [1, 2],
        "quantizer.kind": "simvq",
        "loss.orthogonality": 0.1,
    }
    config = {**example.config, **changed}
    made = categorical_vqvae.create(config, example.context(tmp_path))
    first, *_, last = made.fit(4)
    assert last.train["loss"] < first.train["loss"]
    assert {"codebook", "orthogonality", "informativeness"} <= set(last.train)
    influence = made.runner.engine.influence(made.state)
    for leaf in jax.tree.leaves(influence):
        assert np.isfinite(leaf).all() and np.abs(leaf).max() > 0
