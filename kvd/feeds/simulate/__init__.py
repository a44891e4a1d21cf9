"""A seeded synthetic exchange: a market worth filtering, served over a real websocket in Deribit's own protocol."""

from kvd.feeds.simulate.listing import BTC, ETH, FAMILIES, XRP_USDC, Family
from kvd.feeds.simulate.market import Market
from kvd.feeds.simulate.server import Exchange
from kvd.feeds.simulate.session import Limits

__all__ = ["BTC", "ETH", "FAMILIES", "XRP_USDC", "Exchange", "Family", "Limits", "Market"]
