"""Synthetic smiles for tests: every field set, none of them meaningful beyond being plausible."""

import numpy as np

from kvd.surface import (
    RESIDUAL_KNOTS,
    BatchFacts,
    Certificate,
    Forward,
    JumpWings,
    Parameters,
    RawSvi,
    Regime,
    Smile,
    SurfaceUpdate,
    TrackRecord,
)

SECOND = 1_000_000
NOON = 1_782_993_600 * SECOND  # 2026-07-02T12:00:00Z
CHRISTMAS = 1_798_185_600 * SECOND  # 2026-12-25T08:00:00Z
DAY = 86_400 * SECOND
FACTS = BatchFacts(
    quotes=20,
    refused={"crossed": 1},
    inflated={"outlier": 2},
    nis=18.5,
    nis_dof=20,
    one_sided=4,
    forwards_outside_parity=1,
    forwards_gated=3,
    executable={"box": 1},
    coverage={1: (4, 2, 3, 4), 4: (16, 9, 14, 15)},
    nis_by_tenor={1: (3.5, 4), 4: (15.0, 16)},
    mark_alarms=(CHRISTMAS,),
)


def smile(expiry_us: int = CHRISTMAS, **changes: object) -> Smile:
    """A smile of deribit BTC at NOON with `changes` made to it."""
    plain = Smile(
        venue="deribit",
        underlying="BTC",
        expiry_us=expiry_us,
        tau=(expiry_us - NOON) / (365 * DAY),
        forward=Forward(64_250.5, 3.25, "SYN.BTC-25DEC26"),
        parameters=Parameters(0.5512, -0.0731, 0.1213, 0.41, 0.33),
        sd=Parameters(0.0012, 0.0008, 0.004, 0.02, 0.03),
        raw=RawSvi(-0.010420992, 0.142, -0.108, 0.307, 1.026),
        jump_wings=JumpWings(0.3038, -0.0731, 0.41, 0.33, 0.279),
        residual=tuple(round(0.002 * (z * z / 8 - abs(z) / 8), 6) for z in RESIDUAL_KNOTS),
        vol_sd=tuple(round(0.001 + 0.002 * abs(z), 6) for z in RESIDUAL_KNOTS),
        vol_root=np.array([round(0.9 / (i + 1) ** 0.5, 4) for i in range(len(RESIDUAL_KNOTS)) for _ in range(i)]),
        covariance=np.diag([1e-6, 2e-6, 3e-5, 4e-4, 5e-4]) + 1e-8,
        quoted_low=-0.42,
        quoted_high=0.61,
        certificate=Certificate(-1.2, 1.2, 201, 0.031, 0.0042, "projected"),
        nis=18.5,
        nis_dof=20,
        inside=0.975,
        quotes=40,
        regime=Regime(0.75, 0.1875, 0.0625, 0.875, 0.25),
        record=TrackRecord(172.5, 1.125, (0.5, 0.875, 0.9375), 96.0, 0.96, -0.0625, 1.0),
        locked=(),
        state="live",
        reason="",
        since_us=NOON - 60 * SECOND,
        exchange_us=NOON - 12_345,
        receive_us=NOON - 2_001,
        publish_us=NOON,
    )
    return plain._replace(**changes)


def update(*smiles: Smile, withdrawn: tuple[int, ...] = (), facts: BatchFacts = FACTS) -> SurfaceUpdate:
    """One batch that changed `smiles` (all of one underlying)."""
    venue, underlying = (smiles[0].venue, smiles[0].underlying) if smiles else ("deribit", "BTC")
    publish_us = max((s.publish_us for s in smiles), default=NOON)
    return SurfaceUpdate(venue, underlying, publish_us, smiles, withdrawn, facts)


def same(left: Smile, right: Smile) -> bool:
    """Equality of smiles, arrays included."""
    arrays = {"covariance": left.covariance, "vol_root": left.vol_root}
    return right._replace(**arrays) == left and all(np.array_equal(a, getattr(right, n)) for n, a in arrays.items())
