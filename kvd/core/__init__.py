"""The mathematics: arrays in, arrays out. No quote, no venue, no clock, no log, no async lives here."""
