"""Learning settings: the search on functions whose top is known, the score, the fragment, and the command on tapes."""

import asyncio
import json
import signal
import tomllib

import numpy as np
import pytest
import synthetic_tape
from command_line import run, running, until
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.stats import t as student

from kvd import app as wiring
from kvd.app import Task
from kvd.app.tape import batches
from kvd.calibrator import Calibrator, Rehearsal
from kvd.config import KEYS, ConfigError, Settings, load
from kvd.core.measurement import Measurement, log_density
from kvd.feeds.replay import replay
from kvd.tune import parameters
from kvd.tune.search import climb
from kvd.venues import deribit

WIDE = np.array([[-20.0] * 3, [20.0] * 3])


def top_of(function, start, limits, rounds=20):
    return list(climb(np.array(start), limits, lambda points: [function(p) for p in points], rounds))


# The search


@settings(max_examples=50)
@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3), st.integers(0, 10**6))
def test_a_quadratic_is_climbed_to_its_top(top, seed):
    """Coordinates that partly stand in for each other: eigenvalues of the curvature between 5 and 100."""
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    curvature = turn @ np.diag([5.0, 30.0, 100.0]) @ turn.T
    places = top_of(lambda p: -0.5 * (p - top) @ curvature @ (p - top), [0.0, 0.0, 0.0], WIDE)
    scores = [place.score for place in places]
    assert scores == sorted(scores) and scores[-1] > -0.5
    assert places[-1].curvature == pytest.approx(-np.diag(curvature), rel=1e-6)


def test_two_names_for_one_thing_do_not_make_it_jump_over_the_top():
    places = top_of(lambda p: -50 * (p.sum() - 3) ** 2 - 0.5 * p @ p, [0.0, 0.0, 0.0], WIDE)
    assert places[-1].point.sum() == pytest.approx(3, abs=0.1)


def test_it_ends_at_a_limit_that_bars_the_top():
    limits = np.array([[-1.0, -1.0], [1.0, 1.0]])
    places = top_of(lambda p: -((p[0] - 3) ** 2) - 5 * p[1] ** 2, [0.0, 0.5], limits)
    assert places[-1].point == pytest.approx([1.0, 0.0], abs=0.05) and np.isnan(places[-1].curvature[0])


def test_what_cannot_be_judged_is_gone_around():
    places = top_of(lambda p: -np.inf if p[0] > 1 else -((p[0] - 0.8) ** 2) * 30, [0.5], WIDE[:, :1])
    assert places[-1].point == pytest.approx([0.8], abs=0.15)


def test_on_flat_ground_it_stays():
    (first, *_, last) = top_of(lambda p: 0.0, [0.3, 0.4], WIDE[:, :2])  # noqa: ARG005
    assert first.point.tolist() == last.point.tolist() == [0.3, 0.4]


# The score


@given(st.floats(-3, 3), st.floats(1e-6, 1e-1), st.floats(2.1, 60))
def test_the_score_is_the_students_density_whose_variance_is_s(z, S, nu):
    e = z * np.sqrt(S)
    (found,) = log_density(np.array([e]), np.array([S]), Measurement(student_nu=nu))
    assert found == pytest.approx(student.logpdf(e, nu, scale=np.sqrt(S * (nu - 2) / nu)), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.25, 2.0])
def test_the_score_is_proper_in_the_variance(factor):
    """If innovations have the law that is claimed, no other variance scores better on average."""
    m = Measurement(student_nu=5.0)
    law = student(5.0, scale=np.sqrt(3 / 5))

    def mean(S):
        return quad(lambda e: law.pdf(e) * log_density(np.array([e]), np.array([S]), m)[0], -60, 60, limit=200)[0]

    assert mean(1.0) > mean(factor)


# Settings


def test_every_setting_that_is_learnt_is_positive_and_within_its_limits():
    names = parameters.chosen(())
    assert len(names) == 19 == len(set(names)) and set(names) <= set(KEYS)
    low, high = parameters.limits(names)
    assert (low < parameters.defaults(names)).all() and (parameters.defaults(names) < high).all()
    assert parameters.chosen(["measurement.floor_vol", "dynamics.skew_sd"]) == (
        "dynamics.skew_sd",
        "measurement.floor_vol",
    )
    with pytest.raises(ConfigError, match=r"publish\.port is nothing that kvd tune learns; --only takes of: dynamics"):
        parameters.chosen(["publish.port"])


@given(st.data())
def test_a_fragment_is_read_as_it_was_written(tmp_path_factory, data):
    names = parameters.chosen(data.draw(st.sets(st.sampled_from(parameters.TUNABLE), min_size=1)))
    low, high = parameters.limits(names)
    parts = data.draw(st.lists(st.floats(0, 1), min_size=len(names), max_size=len(names)))
    values = parameters.rounded(low + np.array(parts) * (high - low))
    named = dict(zip(names, values, strict=True))
    path = tmp_path_factory.mktemp("fragment") / "kvd.toml"
    path.write_text(parameters.fragment(named, ["of a tape"]), "utf-8")
    loaded = load(path, {})
    assert loaded.settings == parameters.replaced(Settings(), named)
    assert parameters.values(loaded.settings, names) == values
    assert {name for name, source in loaded.sources.items() if source != "default"} == set(names)


# The rehearsal


def test_a_rehearsal_hears_what_the_calibrator_hears_and_forwards_are_recited_exactly(tmp_path):
    tape = tmp_path / "synthetic.ndjson"
    synthetic_tape.write(tape, seconds=60)
    heard = list(batches(replay(tape, deribit.Session(Settings().deribit)), 50_000, lambda _: None))
    other = parameters.replaced(Settings(), {"dynamics.level_sd": 3.0})
    rehearsal = Rehearsal()

    def rehearsed(settings):
        rehearsal.begin(settings)
        return [facts for batch in heard for facts in rehearsal.step(batch)]

    first, second = rehearsed(Settings()), rehearsed(other)
    assert first == rehearsed(Settings()) != second
    fresh = Rehearsal()
    fresh.begin(other)
    assert second == [facts for batch in heard for facts in fresh.step(batch)]
    calibrator = Calibrator(Settings())
    shown = [update.facts for batch in heard for update in calibrator.step(batch)]
    assert [(f.quotes, f.refused) for f in shown] == [(f.quotes, f.refused) for f in first]
    assert first[0].log_likelihood == shown[0].log_likelihood != 0
    # what repairs move the filter goes on with, and a rehearsal repairs nothing
    assert sum(f.log_likelihood for f in first) == pytest.approx(sum(f.log_likelihood for f in shown), rel=0.02)


# The command


@pytest.fixture(scope="module")
def tapes(tmp_path_factory):
    """An hour of the synthetic market, seen every 15 s, and half an hour of another."""
    folder = tmp_path_factory.mktemp("tapes")
    for seed, seconds in ((1, 3600), (2, 1800)):
        synthetic_tape.write(folder / f"{seed}.ndjson", seconds, 4, seed, every_s=15)
    return folder / "1.ndjson", folder / "2.ndjson"


def tune(*arguments, **environ):
    return run("tune", *arguments, within_s=180, KVD_LOG_LEVEL="warning", **environ)


WRONG = """
[dynamics]
level_sd = 0.2
[measurement]
half_spread_factor = 1.5
scale_rate = 0
[regimes]
calm = 1
active = 1
shock = 1
ssr_mean = 0
ssr_sd = 0.01
ssr_move_sd = 0.01
"""


def test_wrong_settings_are_mended_and_what_was_learnt_holds_on_another_tape(tapes, tmp_path):
    """The truth has one regime in which levels wander with 0.9, whatever spot does, and mids err by 0.28 half-spreads.

    The scale of R stands still: it would follow the innovations and so stand in for either.
    """
    learnt, other = tapes
    wrong, toml = tmp_path / "wrong.toml", tmp_path / "learnt.toml"
    wrong.write_text(WRONG, "utf-8")
    names = "dynamics.level_sd", "measurement.half_spread_factor"
    asked = (learnt, "--config", wrong, "--rounds", 3, "--json", *(word for name in names for word in ("--only", name)))
    done = tune(*asked, "--workers", 2, "--judge", other, "--toml", toml)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for name, wrongly, truth in zip(names, (0.2, 1.5), (0.9, 0.28), strict=True):
        found = told["learnt"][name]
        assert found["before"] == wrongly and truth / 1.5 < found["after"] < truth * 1.5 and 0 < found["sd"] < 0.3, name
    assert told["log_likelihood"]["after"] > told["log_likelihood"]["before"]
    assert told["log_likelihood"]["quotes"] > 2000
    both = told["judged"]["2.ndjson"]["BTC"]
    assert both["after"]["log_likelihood"] > both["before"]["log_likelihood"] + 0.1
    assert both["before"]["n"] == both["after"]["n"] > 300 and both["after"]["violations"]["butterfly"] == 0
    values = {name: told["learnt"][name]["after"] for name in names}
    assert load(toml, {}).settings == parameters.replaced(Settings(), values)
    assert toml.read_text("utf-8").startswith("# Learnt by kvd tune from 1.ndjson.\n# Log likelihood per quote ")


def test_it_says_what_it_learnt_and_refuses_in_one_sentence(tapes, tmp_path):
    done = tune(tapes[1], "--only", "dynamics.residual_h", "--rounds", 1)
    assert done.returncode == 0 and "dynamics.residual_h" in done.stdout and "log likelihood per quote" in done.stdout
    assert tomllib.loads(done.stdout.partition("# Learnt")[2].partition("\n\n")[2])["dynamics"]["residual_h"] > 0
    taken = tmp_path / "taken.toml"
    taken.touch()
    for arguments, message in {
        ("nowhere.ndjson",): "nowhere.ndjson: No such file or directory; check the path of the tape",
        (
            tapes[0],
            "--judge",
            "nowhere.ndjson",
        ): "nowhere.ndjson: No such file or directory; check the path of the tape",
        (tapes[0], "--only", "log.level"): "log.level is nothing that kvd tune learns",
        (tapes[0], "--toml", taken): "exists",
    }.items():
        refused = tune(*arguments, "--rounds", 1)
        assert (refused.returncode, refused.stdout) == (2, ""), refused.stderr
        assert refused.stderr.startswith("kvd: ") and message in refused.stderr and refused.stderr.count("\n") == 1


def test_processes_change_nothing_but_the_time(tapes):
    task = Task(Settings(), ("dynamics.residual_h",), tapes[1:], (), 1)
    one, two = (wiring.tune(task, workers=n) for n in (1, 2))
    assert one._replace(seconds=0.0) == two._replace(seconds=0.0)


def test_ctrl_c_keeps_the_best_so_far(tapes, tmp_path):
    toml = tmp_path / "learnt.toml"
    task = Task(Settings(), ("measurement.half_spread_factor",), tapes[:1], tapes[1:], 9)
    seen = []

    def pressed_at_the_third(done, _):
        seen.append(done)
        if done == 3:
            raise KeyboardInterrupt

    tuned = wiring.tune(task, toml, 1, pressed_at_the_third)
    assert seen == [1, 2, 3] and tuned.stopped and tuned.judged == {} and tuned.evaluations == 3
    assert tuned.after.mean >= tuned.before.mean and tuned.after.quotes == tuned.before.quotes > 0
    after = tuned.learnt["measurement.half_spread_factor"].after
    assert load(toml, {}).settings.measurement.half_spread_factor == after


def test_ctrl_c_is_an_exit_code_and_leaves_a_whole_file_or_none(tapes, tmp_path):
    toml = tmp_path / "learnt.toml"

    async def interrupted():
        async with running("tune", tapes[0], "--toml", toml, "--rounds", "50", "--workers", "1") as process:
            await until(toml.exists)
            process.send_signal(signal.SIGINT)
            _, said = await process.communicate()
            return process.returncode, said.decode()

    code, said = asyncio.run(interrupted())
    assert code == 130 and "Traceback" not in said
    assert toml.exists() == ("interrupted: this is the best so far" in said)
    assert not toml.exists() or load(toml, {}).sources["dynamics.level_sd"].startswith("file")
