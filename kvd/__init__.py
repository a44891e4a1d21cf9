"""kvd: a streaming calibration daemon for option volatility surfaces."""

__version__ = "0.1.0"
