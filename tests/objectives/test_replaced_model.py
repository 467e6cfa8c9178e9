"""ELECTRA's two models: what is drawn and called replaced, where gradients go, what is learned.

Tried with the breaks: a token drawn equal to the original called replaced, fillers written to the
first token, the discriminator reading the masks, a generator that doesn't train the shared tables,
scores doubled before drawing; each fails here.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tlearn import bodies, heads, hub
from tlearn.bodies.bert import VARIANTS, Bert
from tlearn.heads.replaced_training import training_head
from tlearn.heads.sampling import sampled
from tlearn.model import Model, initialise, variables
from tlearn.objectives import MaskedTokens, ReplacedTokens
from tlearn.replaced import ReplacedTokenModel, joined, replace
from tlearn.train.schedules import Constant
from tlearn.train.state import SourceWeights, init
from tlearn.train.step import Recipe, compile_step, make_step
from tlearn.transfer.optimizer import adamw
from tlearn.transfer.plan import plan
from tlearn.transfer.strategy import Strategy

WORDS, MASK = 40, 3
BODY = Bert(
    vocab_size=WORDS,
    width=16,
    depth=1,
    heads=2,
    feed_forward=32,
    positions=12,
    embedding_width=12,
    pooling="first",
)
HEAD = training_head(BODY, fraction=0.5, heads=2, feed_forward=16)
MODEL = joined(BODY, HEAD)
SHAPES = tuple(jax.ShapeDtypeStruct((1, 4), jnp.int32) for _ in range(3))
PARTS = ("generator", "replaced")
SHARED = tuple(f"body/embeddings/{part}/" for part in ("tokens", "positions", "types", "norm"))


@pytest.fixture(scope="module")
def params():
    drawn, statistics = initialise(MODEL, jax.random.key(0), *SHAPES)
    assert statistics == {}
    return {path: jnp.asarray(value) for path, value in drawn.items()}


def batch(seed=0, rows=8, length=9, words=(10, 20, 30)):
    """Texts of a few words, of which two or three are masked."""
    draw = np.random.default_rng(seed)
    tokens = draw.choice(words, (rows, length)).astype(np.int32)
    segments = np.ones((rows, length), np.int32)
    segments[1, 6:] = 0
    places = np.argsort(draw.random((rows, 6)), axis=1)[:, :3].astype(np.int32)
    targets = np.take_along_axis(tokens, places, axis=1)
    np.put_along_axis(tokens, places[:, :2], MASK, axis=1)
    targets[::2, 2], places[::2, 2] = -1, 0
    given = {
        "tokens": tokens * segments,
        "segments": segments,
        "types": np.zeros_like(tokens),
        "places": places,
        "targets": targets,
        "mask": np.ones(rows, np.float32),
    }
    return {name: jnp.asarray(value) for name, value in given.items()}


def run(params, given, model=MODEL, **options):
    inputs = [given[name] for name in BODY.inputs]
    told = {name: given[name] for name in model.reading if name in given}
    return model.apply(variables(params, {}), *inputs, **told, **options)


@jax.jit
def outputs(params, given, key):
    """What comes of a batch with a stream of samples and without one."""
    return run(params, given, rngs={"sample": key}), run(params, given)


def test_a_token_drawn_equal_to_the_original_is_real():
    tokens = jnp.array([[5, MASK, 7, MASK, 9], [MASK, 6, 7, 8, 0]])
    places, targets = jnp.array([[1, 3, 0], [0, 2, 0]]), jnp.array([[6, 8, -1], [5, 7, -1]])
    drawn = jnp.array([[6, 11, 12], [13, 7, 14]])
    read, replaced = replace(tokens, places, targets, drawn)
    # The second row's 7 was chosen but not masked, and drawn again; fillers write nowhere.
    assert read.tolist() == [[5, 6, 7, 11, 9], [13, 6, 7, 8, 0]]
    assert replaced.tolist() == [[False, False, False, True, False], [True] + [False] * 4]


def test_labels_say_where_the_text_read_is_not_the_original(params):
    given = batch()
    out, _ = outputs(params, given, jax.random.key(5))
    original = np.array(given["tokens"])
    rows, columns = np.nonzero(given["targets"] >= 0)
    original[rows, np.asarray(given["places"])[rows, columns]] = given["targets"][rows, columns]
    # With so many words and an untrained generator nearly all that is drawn is another word.
    replaced = np.asarray(out["replaced"])
    assert 0.8 * len(rows) <= replaced.sum() <= len(rows)
    assert not (replaced & (original == np.asarray(given["tokens"])))[given["tokens"] == 0].any()
    chosen = np.zeros_like(replaced)
    chosen[rows, np.asarray(given["places"])[rows, columns]] = True
    assert not (replaced & ~chosen).any()


def test_drawing_follows_its_stream_and_is_fixed_without_one(params):
    given = batch()

    drawn = [outputs(params, given, jax.random.key(i)) for i in (1, 2, 1)]
    one, other, again = (np.asarray(out["logits"]) for out, _ in drawn)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(one, again)
    fixed = [np.asarray(out["logits"]) for _, out in drawn]
    np.testing.assert_array_equal(fixed[0], fixed[1])


def test_drawn_tokens_have_the_probabilities_of_the_softmax():
    # More words than a block has, one of them impossible, one nearly sure in another row.
    logits = np.random.default_rng(0).normal(size=(1, 2, 300)).astype(np.float32)
    logits[0, 0, [3, 140, 299]] += 3
    logits[0, 0, 7] = -np.inf
    logits[0, 1, 200] = 30
    many = jnp.asarray(np.broadcast_to(logits, (20_000, 2, 300)))
    tokens = np.asarray(jax.jit(sampled)(jax.random.key(0), many))
    assert (tokens[:, 1] == 200).all()
    chance = np.exp(logits[0, 0].astype(np.float64))
    chance /= chance.sum()
    counts = np.bincount(tokens[:, 0], minlength=300)
    assert counts[7] == 0
    real = chance > 0
    assert stats.chisquare(counts[real], 20_000 * chance[real]).pvalue > 0.01


def test_the_discriminators_gradient_never_reaches_the_generator(params):
    given = batch()

    def loss(params, weights):
        sums = ReplacedTokens()(run(params, given), given)
        return weights @ jnp.stack([sums.metrics[f"{name}_loss"] for name in PARTS])

    gradient = jax.jit(jax.grad(loss))
    words, judged = (gradient(params, weights) for weights in jnp.eye(2))
    for path in params:
        moved = bool(np.abs(words[path]).max() > 0), bool(np.abs(judged[path]).max() > 0)
        # A softmax does not see its keys' bias.
        if path.endswith("attention/key/bias"):
            continue
        if path.startswith(SHARED):
            assert moved == (True, True), path
        elif path.startswith(("head/generator/", "head/masked_lm/")):
            assert moved == (True, False), path
        else:
            assert path.startswith(("body/", "head/replaced_token/"))
            assert moved == (False, True), path


def test_both_models_learn_in_the_training_step(params):
    rows = plan(params, Strategy(), layers=BODY.layer_names, fresh=list(params))
    optimizer = adamw(1e-2, Constant())
    step = compile_step(
        make_step(MODEL, rows, ReplacedTokens(), Recipe(optimizer=optimizer)), shardings=None
    )
    # The step gives its state's memory away.
    own = {path: jnp.array(value) for path, value in params.items()}
    state = init(rows, own, {}, optimizer, total=40, key=jax.random.key(0))
    logs = []
    for i in range(40):
        state, log = step(state, batch(i), SourceWeights())
        logs.append({name: float(value) for name, value in log.items()})

    def mean(name, chosen):
        return np.mean([log[name] / log[f"{name}/count"] for log in chosen])

    # Three words of forty: as many as nothing is known of which.
    assert mean("generator_loss", logs[:2]) == pytest.approx(np.log(WORDS), abs=0.5)
    assert mean("generator_loss", logs[-5:]) < np.log(3) + 0.3
    assert mean("replaced_loss", logs[-5:]) < 0.8 * mean("replaced_loss", logs[:2])
    assert mean("replaced_share", logs[-5:]) < 0.9 * mean("replaced_share", logs[:5])


@pytest.mark.slow
def test_options_that_save_memory_compute_the_same(params):
    given = batch()
    want = run(params, given)
    rough = joined(
        dataclasses.replace(BODY, dtype="bfloat16"),
        training_head(
            dataclasses.replace(BODY, dtype="bfloat16"), fraction=0.5, heads=2, feed_forward=16
        ),
    )
    got = run(params, given, model=rough)
    assert got["generator"].dtype == got["logits"].dtype == jnp.float32
    np.testing.assert_allclose(got["generator"], want["generator"], atol=0.02)
    again = dataclasses.replace(BODY, remat=True)
    again = joined(again, training_head(again, fraction=0.5, heads=2, feed_forward=16))
    np.testing.assert_allclose(run(params, given, model=again)["logits"], want["logits"], atol=1e-6)


def test_without_targets_the_text_is_judged_as_it_stands(params):
    given = batch()
    inputs = [given[name] for name in BODY.inputs]
    out = jax.jit(MODEL.apply)(variables(params, {}), *inputs)
    assert out["generator"].shape == (8, 9, WORDS)
    assert not out["replaced"].any()
    plain = Model(body=BODY, head=heads.ReplacedToken())
    alone = {p.replace("head/replaced_token/", "head/"): v for p, v in params.items()}
    found = jax.jit(plain.apply)(variables(alone, {}), *inputs)
    np.testing.assert_allclose(out["logits"], found, atol=1e-6)


def test_a_loss_at_places_is_the_loss_over_all_positions(params):
    given = batch()
    inputs = [given[name] for name in BODY.inputs]
    model = Model(body=BODY, head=heads.MaskedLM())
    params, _ = initialise(model, jax.random.key(1), *SHAPES)
    whole = np.full(given["tokens"].shape, -1, np.int32)
    for row, (places, targets) in enumerate(zip(given["places"], given["targets"], strict=True)):
        whole[row, np.asarray(places)[targets >= 0]] = targets[targets >= 0]

    def loss(params, places, targets):
        out = model.apply(variables(params, {}), *inputs, places=places)
        sums = MaskedTokens()(out, {**given, "targets": targets})
        return sums.loss, sums.count

    few, many = (
        jax.jit(loss)(params, places, jnp.asarray(targets))
        for places, targets in ((given["places"], given["targets"]), (None, whole))
    )
    assert few[1] == many[1] == (whole >= 0).sum()
    assert float(few[0]) == pytest.approx(float(many[0]), rel=1e-6)


def source_of(params):
    return hub.Source(
        params={path: np.asarray(value) for path, value in params.items()},
        collections={},
        body=bodies.describe(BODY),
        head=heads.describe(HEAD),
    )


def test_both_models_are_saved_and_leave_as_plain_ones(params, tmp_path):
    source = source_of(params)
    hub.save_model(tmp_path / "run", source)
    back = hub.read_run(tmp_path / "run")
    assert (back.digest, back.head) == (source.digest, heads.describe(HEAD))
    parts = {"discriminator": hub.discriminator(back), "generator": hub.generator(back)}
    for name, part in parts.items():
        again = hub.load(f"hf:{hub.export_folder(part, tmp_path / name)}")
        assert (again.digest, again.body["width"]) == (part.digest, part.body["width"])
        assert again.head == part.head
    # The joint model leaves as its discriminator.
    whole = hub.load(f"hf:{hub.export_folder(back, tmp_path / 'whole')}")
    assert whole.digest == parts["discriminator"].digest
    assert whole.provenance["architecture"] == "ElectraForPreTraining"
    assert parts["generator"].body["embedding_width"] == 12
    # And its body is a source as any other.
    model = Model(body=BODY, head=heads.Linear(2))
    fresh, _ = initialise(model, jax.random.key(2), *SHAPES)
    loaded, _, report = hub.reconcile(back, fresh, {}, fresh=["head/.*"])
    for path, value in loaded.items():
        if path.startswith("body/"):
            np.testing.assert_array_equal(value, params[path])
    assert "left behind" in str(report)


def test_models_of_other_kinds_are_refused():
    with pytest.raises(hub.HubError, match="'replaced_token_training' holds a generator"):
        hub.generator(
            hub.discriminator(source_of(initialise(MODEL, jax.random.key(0), *SHAPES)[0]))
        )
    with pytest.raises(ValueError, match="got 'bert' with 'linear'"):
        ReplacedTokenModel(body=BODY, head=heads.Linear(2))
    assert type(joined(BODY, heads.Linear(2))) is Model
    assert heads.build(heads.describe(HEAD)) == HEAD
    with pytest.raises(ValueError, match="depth"):
        training_head(BODY, depth=0)
    with pytest.raises(ValueError, match="fraction is a share"):
        training_head(BODY, fraction=0.0)


@pytest.mark.parametrize(
    ("variant", "fraction", "sizes"),
    [
        ("electra-small", 1 / 4, (64, 12, 1, 256)),
        ("electra-base", 1 / 3, (256, 12, 4, 1024)),
        ("electra-large", 1 / 4, (256, 24, 4, 1024)),
    ],
)
def test_generators_have_their_published_sizes(variant, fraction, sizes):
    head = training_head(Bert(**VARIANTS[variant]), fraction=fraction)
    assert (head.width, head.depth, head.heads, head.feed_forward) == sizes
