"""The figures of the page. Everything that plotly draws is drawn here."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.io import to_html
from plotly.subplots import make_subplots

from kvd.quality import BUCKETS
from kvd.report.chronicle import BLOCK_US, Chronicle, Moment, Point
from kvd.report.prose import day, instant
from kvd.surface import Smile

NORMAL_90 = 1.6448536269514722
COLUMNS = 4
POINTS = 81
KVD, QUOTES, WITHHELD, BAND = "#1f4e79", "#7f7f7f", "#d95f02", "rgba(31,78,121,0.18)"
TENORS = ("#7a0177", "#c51b8a", "#2c7fb8", "#41ab5d", "#a6761d")
STATES = {"predicted": "#9ecae1", "live": "#41ab5d", "widened": "#fec44f", "held": "#d7301f"}  # the rarest on top
CONFIG = {"displayModeBar": False, "responsive": True}
LAYOUT = {
    "template": "plotly_white",
    "font": {"family": "system-ui, sans-serif", "size": 12},
    "margin": {"l": 50, "r": 15, "t": 40, "b": 40},
    "legend": {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "right", "x": 1},
}


def smiles(moment: Moment) -> str:
    """Every smile of one instant with its band, and the quotes of the three minutes before as bars from bid to ask."""
    expiries = sorted(moment.smiles)
    figure = _grid([day(e) for e in expiries], 200)
    for i, e in enumerate(expiries):
        smile, place = moment.smiles[e], {"row": i // COLUMNS + 1, "col": i % COLUMNS + 1}
        low, high = _reach(smile, moment, e)
        k = np.linspace(low, high, POINTS)
        vol = 100 * np.sqrt(smile.total_variance(k) / smile.tau)
        _band(
            figure, k, vol, 100 * NORMAL_90 * smile.sd_of_vol(smile.forward.value * np.exp(k)), place, i == 0, "smile"
        )
        if moment.quotes is not None:
            q = moment.quotes
            for withheld, name, color in ((False, "quotes, bid to ask", QUOTES), (True, "held-out quotes", WITHHELD)):
                mine = (q.expiry_us == e) & (q.held_out == withheld)
                half = 50 * (q.ask_vol - q.bid_vol)[mine]
                bars = {"type": "data", "array": half, "width": 2, "thickness": 1.2, "color": color}
                figure.add_scatter(
                    x=q.k[mine], y=100 * q.mid_vol[mine], error_y=bars, mode="markers", name=name, showlegend=i == 0,
                    legendgroup=name, marker={"size": 3, "color": color}, **place,
                )  # fmt: skip
    return _html(figure)


def skews(chronicle: Chronicle) -> str:
    """K, the ATM skew, of every expiry over time, with its 90 % band."""
    expiries = _lasting(chronicle)
    figure = _grid([day(e) for e in expiries], 170)
    for i, e in enumerate(expiries):
        points = chronicle.points[e]
        y, sd = np.array([(p.skew, p.skew_sd) for p in points]).T
        place = {"row": i // COLUMNS + 1, "col": i % COLUMNS + 1}
        _band(figure, _times(points), y, NORMAL_90 * sd, place, i == 0, "K")
        # a cold start is far from sure of itself; it need not flatten the day
        low, high = np.percentile(y - NORMAL_90 * sd, 5), np.percentile(y + NORMAL_90 * sd, 95)
        figure.update_yaxes(range=[low - 0.2 * (high - low), high + 0.2 * (high - low)], **place)
    figure.update_xaxes(tickformat="%H:%M", nticks=5)
    return _html(figure)


def levels(chronicle: Chronicle) -> str:
    """ATM vol and forward of every expiry over time."""
    figure = make_subplots(1, 2, subplot_titles=("ATM vol, %", "forward"), horizontal_spacing=0.07)
    expiries = _lasting(chronicle)
    for i, e in enumerate(expiries):
        points = chronicle.points[e]
        shade = f"hsl({260 - 230 * i / max(len(expiries) - 1, 1):.0f},60%,45%)"
        for col, y in ((1, [100 * p.atm_vol for p in points]), (2, [p.forward for p in points])):
            figure.add_scatter(
                x=_times(points), y=y, mode="lines", name=day(e), legendgroup=day(e), showlegend=col == 1,
                line={"width": 1.2, "color": shade}, row=1, col=col,
            )  # fmt: skip
    figure.update_xaxes(tickformat="%H:%M")
    figure.update_layout(**LAYOUT, height=380)
    figure.update_layout(legend={"orientation": "h", "y": -0.12, "yanchor": "top", "x": 0, "xanchor": "left"})
    return _html(figure)


def coverage(report: dict[str, Any]) -> str:
    """Shares of mids within the predictive bands by tenor, with two standard errors of independent draws."""
    figure = go.Figure()
    rows = report["coverage_by_tenor"]
    for band, color in (("50", "#9ecae1"), ("90", KVD), ("95", "#41ab5d")):
        share = np.array([row[band] for row in rows.values()])
        n = np.array([row["n"] for row in rows.values()])
        error = {"type": "data", "array": 2 * np.sqrt(share * (1 - share) / n), "color": color}
        figure.add_scatter(
            x=[f"{tenor}<br>n = {m:,}" for tenor, m in zip(rows, n.tolist(), strict=True)], y=share, error_y=error,
            mode="markers", marker={"size": 9, "color": color}, name=f"{band} % band",
        )  # fmt: skip
        figure.add_hline(int(band) / 100, line={"dash": "dot", "width": 1, "color": color})
    figure.update_yaxes(title="share of mids within", range=[0.3, 1.02])
    figure.update_layout(**LAYOUT, height=340)
    return _html(figure)


def innovations(chronicle: Chronicle) -> str:
    """NIS per degree of freedom, and coverage of the 90 % band, by half hour and tenor."""
    figure = make_subplots(1, 2, subplot_titles=("NIS per degree of freedom", "share of mids in the 90 % band"))
    for bucket, (tenor, color) in enumerate(zip(BUCKETS, TENORS, strict=True)):
        blocks = [(b, row) for (b, of), row in sorted(chronicle.blocks.items()) if of == bucket]
        nis = [(b, row.nis / row.dof) for b, row in blocks if row.dof >= 10]
        share = [(b, row.within / row.quotes) for b, row in blocks if row.quotes >= 10]
        for col, found in ((1, nis), (2, share)):
            figure.add_scatter(
                x=[instant(b * BLOCK_US) for b, _ in found], y=[y for _, y in found], name=tenor, legendgroup=tenor,
                showlegend=col == 1, mode="lines+markers", marker={"size": 4}, line={"width": 1.2, "color": color},
                row=1, col=col,
            )  # fmt: skip
    figure.add_hline(1.0, line={"dash": "dot", "width": 1, "color": "#555"}, row=1, col=1)
    figure.add_hline(0.9, line={"dash": "dot", "width": 1, "color": "#555"}, row=1, col=2)
    figure.update_yaxes(type="log", row=1, col=1)
    figure.update_xaxes(tickformat="%H:%M")
    figure.update_layout(**LAYOUT, height=340)
    figure.update_layout(legend={"orientation": "h", "y": -0.12, "yanchor": "top", "x": 0, "xanchor": "left"})
    return _html(figure)


def by_tenor(report: dict[str, Any], contenders: Sequence[str], key: str, title: str) -> str:
    """One measure by tenor, contenders side by side, with two standard errors."""
    figure, lowest = go.Figure(), list[float]()
    colors = dict(zip(contenders, (KVD, "#9ecae1", "#41ab5d", "#d95f02", "#7a0177"), strict=False))
    for name in contenders:
        rows = (report if name == "kvd" else report[name])["by_tenor"]
        found = [(tenor, rows[tenor]) for tenor in BUCKETS if key in rows.get(tenor, {})]
        if found:
            error = {"type": "data", "array": [2 * row[f"{key}_se"] for _, row in found], "color": colors[name]}
            figure.add_scatter(
                x=[tenor for tenor, _ in found], y=[row[key] for _, row in found], error_y=error, mode="markers",
                marker={"size": 9, "color": colors[name]}, name=name.replace("_", " "),
            )  # fmt: skip
        lowest += [row[key] - 2 * row[f"{key}_se"] for _, row in found]
    figure.update_layout(**LAYOUT, height=320, scattermode="group")
    figure.update_yaxes(title=title, range=[max(min(lowest, default=0.0) - 0.01, 0.0), 1.005])
    return _html(figure)


def states(chronicle: Chronicle) -> str:
    """In which state every expiry was published, minute by minute."""
    figure = go.Figure()
    expiries = _lasting(chronicle)
    for state, color in STATES.items():
        places = [(instant(p.at_us), day(e)) for e in expiries for p in chronicle.points[e] if p.state == state]
        if places:
            x, y = zip(*places, strict=True)
            marker = {"symbol": "line-ns", "size": 14, "line": {"width": 1.5, "color": color}, "color": color}
            figure.add_scatter(x=x, y=y, mode="markers", marker=marker, name=state)
    figure.update_xaxes(tickformat="%H:%M")
    order = {"categoryorder": "array", "categoryarray": [day(e) for e in reversed(expiries)]}
    figure.update_yaxes(**order)
    figure.update_layout(**LAYOUT, height=120 + 22 * len(expiries))
    figure.update_layout(margin={"l": 90})
    return _html(figure)


def _band(figure: go.Figure, x: Any, y: Any, half: Any, place: dict[str, int], first: bool, name: str) -> None:
    edge = {"mode": "lines", "line": {"width": 0}, "hoverinfo": "skip"}
    figure.add_scatter(x=x, y=y - half, showlegend=False, **edge, **place)
    figure.add_scatter(
        x=x, y=y + half, fill="tonexty", fillcolor=BAND, name="90 % band", legendgroup="band", showlegend=first,
        **edge, **place,
    )  # fmt: skip
    line = {"width": 1.5, "color": KVD}
    figure.add_scatter(x=x, y=y, mode="lines", line=line, name=name, legendgroup=name, showlegend=first, **place)


def _grid(titles: Sequence[str], height: int) -> go.Figure:
    rows = -(-len(titles) // COLUMNS)
    figure = make_subplots(
        rows, COLUMNS, subplot_titles=titles, horizontal_spacing=0.045, vertical_spacing=min(0.13, 0.28 / max(rows, 1))
    )
    figure.update_layout(**LAYOUT, height=90 + height * rows)
    figure.update_layout(legend={"y": 1 + 45 / (90 + height * rows)})
    figure.update_annotations(font_size=12)
    return figure


def _reach(smile: Smile, moment: Moment, expiry_us: int) -> tuple[float, float]:
    """The range of k to draw: two standard deviations, or as far as there are quotes."""
    reach = 2 * smile.parameters.atm_vol * np.sqrt(smile.tau)
    q = moment.quotes
    k = np.zeros(0) if q is None else 1.05 * q.k[q.expiry_us == expiry_us]
    return float(np.append(k, -reach).min()), float(np.append(k, reach).max())


def _lasting(chronicle: Chronicle) -> list[int]:
    return sorted(e for e, points in chronicle.points.items() if points)


def _times(points: Iterable[Point]) -> list[datetime]:
    return [instant(p.at_us) for p in points]


def _html(figure: go.Figure) -> str:
    return str(to_html(figure, include_plotlyjs=False, full_html=False, config=CONFIG))
