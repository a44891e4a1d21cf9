"""The regimes: a textbook IMM as oracle, markets whose regime and stickiness are known, and a crash."""

import numpy as np
import pytest
from scipy.linalg import expm
from scipy.stats import multivariate_normal

from kvd.core import kalman, regimes
from kvd.core.regimes import RegimeSettings, Step

S = RegimeSettings()
DT_Y = 60 / (365 * 86_400)
EXPIRIES = np.arange(1, 7, dtype=np.int64) * 10**12
N = len(EXPIRIES)
NOISE = DT_Y * 0.9**2 * (0.7 + 0.3 * np.eye(N))  # of the levels in a minute, at q = 1
QUOTE_SD = 0.002


def textbook(modes, turned, F, Q, H, z, R):
    """Bar-Shalom, Li and Kirubarajan (2001), table 11.6.6-1."""
    cbar = modes.mu @ turned
    mixed = turned * modes.mu[:, None] / cbar
    x, P, likelihood = [], [], []
    for j in range(len(cbar)):
        x0 = mixed[:, j] @ modes.x
        P0 = sum(mixed[i, j] * (modes.P[i] + np.outer(modes.x[i] - x0, modes.x[i] - x0)) for i in range(len(cbar)))
        x1, P1 = F @ x0, F @ P0 @ F.T + Q[j]
        innovation = H @ P1 @ H.T + np.diag(R)
        gain = P1 @ H.T @ np.linalg.inv(innovation)
        x.append(x1 + gain @ (z - H @ x1))
        P.append(P1 - gain @ innovation @ gain.T)
        likelihood.append(multivariate_normal.pdf(z - H @ x1, cov=innovation))
    mu = cbar * likelihood
    return np.array(x), np.array(P), mu / mu.sum()


def test_one_step_is_the_textbooks():
    rng = np.random.default_rng(0)
    roots = rng.normal(size=(3, 4, 4))
    modes = kalman.Modes(
        rng.normal(size=(3, 4)), roots @ roots.transpose(0, 2, 1) + np.eye(4), np.array([0.5, 0.3, 0.2])
    )
    turned = np.array([[0.8, 0.15, 0.05], [0.1, 0.8, 0.1], [0.0, 0.3, 0.7]])
    F, Q = np.eye(4) + 0.1 * rng.normal(size=(4, 4)), np.array([0.1, 1.0, 4.0])[:, None, None] * np.eye(4)
    H, z, R = np.eye(4)[:2], rng.normal(size=2), np.array([0.5, 0.2])
    for found, expected in zip(
        kalman.switch(modes, turned, F, Q, H, z, R), textbook(modes, turned, F, Q, H, z, R), strict=True
    ):
        assert found == pytest.approx(expected, rel=1e-9)


def test_nothing_measured_only_mixes_and_widens():
    regimes_ = regimes.follow(regimes.begin(S), EXPIRIES, np.full(N, -0.5))
    after = regimes.step(regimes_, Step(DT_Y, NOISE, np.zeros(N)), np.zeros(N), np.zeros(N), S)
    assert after.x[:, :N] == pytest.approx(-0.5)
    assert after.mu == pytest.approx(regimes_.mu @ expm(regimes.generator(S) * DT_Y / regimes.HOUR_Y))
    assert (np.diagonal(after.P, axis1=1, axis2=2) > np.diagonal(regimes_.P, axis1=1, axis2=2)).all()


def test_a_long_silence_forgets_the_regime():
    known = regimes.begin(S)._replace(mu=np.array([0.0, 0.0, 1.0]))
    after = regimes.step(known, Step(1.0, np.zeros((0, 0)), np.zeros(0)), np.zeros(0), np.zeros(0), S)
    assert after.mu == pytest.approx(regimes.stationary(S), abs=1e-6)
    assert regimes.stationary(S) @ regimes.generator(S) == pytest.approx(0.0, abs=1e-12)
    assert regimes.stationary(S).sum() == pytest.approx(1.0)


def followed(q, ssr, minutes, seed=0, spot_sd=0.0):
    """The estimator after a market of levels that move q times as fast as at q = 1 and by `ssr` with spot."""
    rng = np.random.default_rng(seed)
    level, now = np.full(N, -0.5), regimes.begin(S)
    now = regimes.follow(now, EXPIRIES, level)
    root = np.linalg.cholesky(NOISE)
    for _ in range(minutes):
        spot = np.full(N, spot_sd * rng.normal())
        level = level + ssr * spot + q * root @ rng.normal(size=N)
        seen = np.where(rng.random(N) < 0.7, 1 / QUOTE_SD**2, 0.0)
        now = regimes.step(now, Step(DT_Y, NOISE, spot), level + QUOTE_SD * rng.normal(size=N), seen, S)
    return now


@pytest.mark.parametrize(("q", "most_likely"), [(S.calm, 0), (S.active, 1), (S.shock, 2)])
def test_the_regime_that_is_so_becomes_the_most_probable(q, most_likely):
    now = followed(q, 0.0, 120)
    assert np.argmax(now.mu) == most_likely
    assert now.mu.sum() == pytest.approx(1.0)
    assert S.calm**2 <= now.activity(S) <= S.shock**2


@pytest.mark.parametrize("ssr", [0.0, 1.0, 1.8])
def test_the_stickiness_is_found_within_its_own_deviation(ssr):
    found = [followed(1.0, ssr, 200, seed, spot_sd=0.002).ssr for seed in range(4)]
    scores = [(mean - ssr) / np.sqrt(variance) for mean, variance in found]
    assert max(map(abs, scores)) < 3.5
    assert all(variance < 0.25 * S.ssr_sd**2 for _, variance in found)


def test_a_crash_beyond_every_likelihood_is_a_shock():
    now = followed(S.calm, 0.0, 60)
    assert now.mu[2] < 0.1
    crashed = now.x[0, :N] + 3.0
    now = regimes.step(now, Step(DT_Y, NOISE, np.zeros(N)), crashed, np.full(N, 1 / QUOTE_SD**2), S)
    assert now.mu[2] > 0.99 and np.isfinite(now.x).all()


def test_expiries_come_and_go_and_the_others_stay_as_they_are():
    now = followed(1.0, 0.5, 30)
    fresh = np.array([EXPIRIES[0] // 2, *EXPIRIES[2:]])
    level = np.full(len(fresh), -0.3)
    after = regimes.follow(now, fresh, level)
    assert after.x[:, 1:] == pytest.approx(now.x[:, 2:])
    assert after.P[:, 1:, 1:] == pytest.approx(now.P[:, 2:, 2:])
    assert after.x[:, 0] == pytest.approx(-0.3) and after.P[:, 0, 1:] == pytest.approx(0.0)
    assert regimes.follow(after, fresh, level) is after


def test_what_a_batch_told_is_what_was_measured():
    m, p, z, R = np.array([0.3]), np.array([0.04]), 0.5, 0.01
    p_after = 1 / (1 / p + 1 / R)
    m_after = p_after * (m / p + z / R)
    told, precision = regimes.measured(m, p, m_after, p_after)
    assert precision == pytest.approx(1 / R) and told / precision == pytest.approx(z)
    assert [float(v[0]) for v in regimes.measured(m, p, m, p)] == [0.0, 0.0]
