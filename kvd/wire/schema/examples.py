"""One example of every message and page, as JSON objects. The smile's numbers agree with each other: who computes the
vol at the forward from svi and residual finds atm_vol.
"""

from typing import Any

from kvd.surface import RESIDUAL_KNOTS
from kvd.wire.schema.bodies import CORRELATIONS

Example = dict[str, Any]

EPOCH = "649e3f8a1c2d0"
TOPIC = "surface.deribit.BTC"
PUBLISHED = "2026-07-02T12:00:00.000000Z"
EXPIRY, EXPIRY_NAME = "2026-12-25T08:00:00.000000Z", "2026-12-25"
LOCK_ID = "L1"

FORWARD: Example = {"value": 64250.5, "sd": 3.25, "source": "SYN.BTC-25DEC26"}
ATM: Example = {
    "venue": "deribit",
    "underlying": "BTC",
    "expiry": EXPIRY,
    "state": "live",
    "exchange_time": "2026-07-02T11:59:59.987655Z",
    "receive_time": "2026-07-02T11:59:59.997999Z",
    "publish_time": PUBLISHED,
    "forward": FORWARD,
    "atm_vol": 0.55,
    "atm_vol_sd": 0.0012,
    "skew": -0.07,
    "skew_sd": 0.0008,
}
LOCKED: Example = {
    "id": LOCK_ID,
    "of": "skew",
    "value": -0.07,
    "sd": 0.001,
    "author": "desk",
    "until": "2026-07-02T13:00:00.000000Z",
    "market": -0.0731,
}
SMILE: Example = {
    **ATM,
    "reason": "",
    "since": "2026-07-02T11:59:00.000000Z",
    "age_s": 0.002001,
    "tau": 0.4817351598173516,
    "curvature": 0.12,
    "curvature_sd": 0.004,
    "put_wing": 0.5944234416680719,
    "put_wing_sd": 0.02,
    "call_wing": 0.3954301202366335,
    "call_wing_sd": 0.03,
    "points": [
        {"delta": "10p", "strike": 40733.1710333, "strike_sd": 97.058, "vol": 0.614685731545, "vol_sd": 0.0040148},
        {"delta": "25p", "strike": 53181.1287159, "strike_sd": 21.824, "vol": 0.572600195934, "vol_sd": 0.0021177},
        {"delta": "atm", "strike": 64250.5, "strike_sd": 3.25, "vol": 0.55, "vol_sd": 0.0012},
        {"delta": "25c", "strike": 88053.2516982, "strike_sd": 172.33, "vol": 0.529137508834, "vol_sd": 0.0027058},
        {"delta": "10c", "strike": 109903.559812, "strike_sd": 454.1, "vol": 0.528012132009, "vol_sd": 0.003612},
    ],
    "rr25": -0.0434626871004,
    "rr25_sd": 0.003437,
    "bf25": 0.000868852384272,
    "bf25_sd": 0.0021227,
    "rr10": -0.0866735995358,
    "rr10_sd": 0.0054004,
    "bf10": 0.0213489317768,
    "bf10_sd": 0.0029545,
    "svi": {
        "a": -0.15460797767188014,
        "b": 0.18893299816696518,
        "rho": -0.20103309124688062,
        "m": 0.1279847020645029,
        "sigma": 1.558651401404848,
    },
    "jump_wings": {
        "v": 0.3025,
        "psi": -0.07,
        "p": 0.5944234416680719,
        "c": 0.3954301202366335,
        "v_min": 0.277872015570442,
    },
    "residual": {
        "z": list(RESIDUAL_KNOTS),
        "rho": [0.0] * len(RESIDUAL_KNOTS),
        "vol_sd": [round(0.0012 + 0.002 * abs(z), 6) for z in RESIDUAL_KNOTS],
        "vol_root": [0.0] * CORRELATIONS,
    },
    "covariance": [
        [variance if i == j else 0.0 for j in range(5)] for i, variance in enumerate((5e-6, 6e-7, 1e-3, 2e-3, 3e-3))
    ],
    "certificate": {
        "k_low": -1.2,
        "k_high": 1.2,
        "points": 201,
        "butterfly": 0.031,
        "calendar": 0.0042,
        "method": "projected",
    },
    "regime": {"calm": 0.75, "active": 0.1875, "shock": 0.0625, "ssr": 0.875, "ssr_sd": 0.25},
    "quoted_low": -0.42,
    "quoted_high": 0.61,
    "nis": 18.5,
    "nis_dof": 20,
    "inside": 0.975,
    "quotes": 40,
    "record": {
        "quotes": 172.5,
        "nis": 1.125,
        "coverage": [0.5, 0.875, 0.9375],
        "batches": 96.0,
        "common": 0.96,
        "whiteness": -0.0625,
        "widened_by": 1.0,
    },
    "locked": [LOCKED],
}
WITHDRAWN: Example = {
    "venue": "deribit",
    "underlying": "BTC",
    "expiry": EXPIRY,
    "state": "withdrawn",
    "reason": "expired",
    "since": "2026-12-25T08:00:00.050000Z",
    "publish_time": "2026-12-25T08:00:00.050000Z",
}
FEED: Example = {"venue": "deribit", "state": "lost", "reason": "no data for 3 s"}

_NUMBERED: Example = {"seq": 2, "prev_seq": 1, "epoch": EPOCH}
_NEWEST: Example = {"seq": 2, "epoch": EPOCH}

STREAM: dict[str, Example] = {
    "Subscribe": {"op": "subscribe", "topics": [TOPIC, "atm.*.*"], "epoch": EPOCH, "from_seq": {TOPIC: 2}},
    "Unsubscribe": {"op": "unsubscribe", "topics": ["atm.*.*"]},
    "Ping": {"op": "ping"},
    "Lock": {
        "op": "lock",
        "venue": "deribit",
        "underlying": "BTC",
        "expiry": EXPIRY_NAME,
        "of": "skew",
        "value": -0.07,
        "sd": 0.001,
        "for_s": 3600,
    },
    "Unlock": {"op": "unlock", "id": LOCK_ID},
    "AckSubscribe": {"type": "ack", "op": "subscribe", "topics": ["atm.*.*", TOPIC], "matching": 2, "resumed": [TOPIC]},
    "AckUnsubscribe": {"type": "ack", "op": "unsubscribe", "topics": ["atm.*.*"]},
    "AckPing": {"type": "ack", "op": "ping"},
    "AckLock": {"type": "ack", "op": "lock", "id": LOCK_ID, "until": LOCKED["until"]},
    "AckUnlock": {"type": "ack", "op": "unlock", "id": LOCK_ID},
    "Error": {
        "type": "error",
        "code": "bad_topic",
        "message": "'surface.deribit' has 2 parts: use surface.{venue}.{underlying}; * matches one part",
    },
    "SmileSnapshot": {"type": "snapshot", "topic": TOPIC, **_NEWEST, "smiles": [SMILE]},
    "AtmSnapshot": {"type": "snapshot", "topic": "atm.deribit.BTC", **_NEWEST, "smiles": [ATM]},
    "StatusSnapshot": {"type": "snapshot", "topic": "status", **_NEWEST, "status": [FEED]},
    "SmileUpdate": {"type": "update", "topic": f"smile.deribit.BTC.{EXPIRY_NAME}", **_NUMBERED, "smile": SMILE},
    "AtmUpdate": {"type": "update", "topic": "atm.deribit.BTC", **_NUMBERED, "smile": ATM},
    "Withdrawal": {"type": "update", "topic": TOPIC, **_NUMBERED, "smile": WITHDRAWN},
    "Status": {"type": "status", "topic": "status", **_NUMBERED, "status": FEED},
    "Gap": {"type": "gap", "topic": TOPIC, "from_seq": 5, "to_seq": 9, "epoch": EPOCH, "reason": "slow"},
    "Heartbeat": {"type": "heartbeat", "epoch": EPOCH, "time": "2026-07-02T12:00:05.000000Z"},
}

PAGES: dict[str, Example] = {
    "SurfacePage": {
        "underlying": "BTC",
        "epoch": EPOCH,
        "surfaces": [{"venue": "deribit", "seq": 2, "at": PUBLISHED, "resolution_s": 60, "smiles": [SMILE]}],
    },
    "VolPage": {
        "underlying": "BTC",
        "epoch": EPOCH,
        "vols": [
            {
                "venue": "deribit",
                "expiry": EXPIRY,
                "state": "live",
                "reason": "",
                "publish_time": PUBLISHED,
                "tau": SMILE["tau"],
                "forward": FORWARD,
                "strikes": [{"strike": 64250.5, "k": 0.0, "vol": 0.55, "sd": 0.0012, "certified": True}],
            }
        ],
    },
    "TenorsPage": {
        "underlying": "BTC",
        "epoch": EPOCH,
        "surfaces": [
            {
                "venue": "deribit",
                "publish_time": PUBLISHED,
                "tenors": [
                    {
                        "days": 30,
                        "expiry": "2026-08-01T11:59:59.987655Z",
                        "forward": 64180.2,
                        "forward_sd": 3.1,
                        "atm_vol": 0.52,
                        "atm_vol_sd": 0.0011,
                        "skew": -0.06,
                        "skew_sd": 0.0009,
                        "rr25": -0.0371,
                        "rr25_sd": 0.0021,
                        "bf25": 0.0042,
                        "bf25_sd": 0.0015,
                    }
                ],
                "variance_index": {
                    "days": 30,
                    "variance": 0.2916,
                    "variance_sd": 0.0013,
                    "vol": 0.54,
                    "vol_sd": 0.0012,
                },
            }
        ],
    },
    "InstrumentsPage": {
        "instruments": [
            {
                "name": "BTC-25DEC26-65000-C",
                "venue": "deribit",
                "underlying": "BTC",
                "expiry": EXPIRY,
                "strike": 65000.0,
                "type": "call",
                "inverse": True,
                "counts": True,
                "tick_size": 0.0001,
            }
        ]
    },
}
