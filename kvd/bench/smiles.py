"""Smiles to publish, each of about 3 KB, and others every time."""

from datetime import UTC, datetime

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
)

VENUE, UNDERLYING = "bench", "BTC"
BATCH_US, DAY_US = 100_000, 86_400_000_000
START_US = 20_000 * DAY_US
PAIRS = len(RESIDUAL_KNOTS) * (len(RESIDUAL_KNOTS) - 1) // 2
_FACTS = BatchFacts(quotes=0, refused={}, inflated={}, nis=0.0, nis_dof=0)


def update(expiries_us: range, batch: int) -> SurfaceUpdate:
    """A `batch` that moved the smiles of all these expiries."""
    smiles = tuple(_smile(expiry_us, batch) for expiry_us in expiries_us)
    return SurfaceUpdate(VENUE, UNDERLYING, START_US + batch * BATCH_US, smiles, (), _FACTS)


def expiries(count: int) -> range:
    """As many expiries, a day apart, in us since the epoch."""
    return range(START_US + DAY_US, START_US + DAY_US * (count + 1), DAY_US)


def topic(expiry_us: int | None) -> str:
    """The topic of one smile, or the pattern of all."""
    date = "*" if expiry_us is None else datetime.fromtimestamp(expiry_us // 1_000_000, UTC).date().isoformat()
    return f"smile.{VENUE}.{UNDERLYING}.{date}"


def _smile(expiry_us: int, batch: int) -> Smile:
    now_us = START_US + batch * BATCH_US
    return Smile(
        venue=VENUE,
        underlying=UNDERLYING,
        expiry_us=expiry_us,
        tau=0.0625,
        forward=Forward(64_250.5 + batch, 3.25, "SYN.BTC"),
        parameters=Parameters(0.5512, -0.0731, 0.1213, 0.41, 0.33),
        sd=Parameters(0.0012, 0.0008, 0.004, 0.02, 0.03),
        raw=RawSvi(0.011, 0.052, -0.21, 0.034, 0.18),
        jump_wings=JumpWings(0.3038, -0.0731, 0.41, 0.33, 0.2911),
        residual=(0.01,) * len(RESIDUAL_KNOTS),
        vol_sd=(0.005,) * len(RESIDUAL_KNOTS),
        vol_root=np.full(PAIRS, 0.5),
        covariance=np.diag([1e-6, 2e-6, 3e-5, 4e-4, 5e-4]),
        quoted_low=-0.42,
        quoted_high=0.61,
        certificate=Certificate(-1.2, 1.2, 201, 0.031, 0.0042, "projected"),
        nis=18.5,
        nis_dof=20,
        inside=0.975,
        quotes=40,
        regime=Regime(0.75, 0.1875, 0.0625, 0.875, 0.25),
        record=None,
        locked=(),
        state="live",
        reason="",
        since_us=START_US,
        exchange_us=now_us,
        receive_us=now_us,
        publish_us=now_us,
    )
