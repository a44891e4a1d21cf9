"""What tapes teach about the filter's own settings: which are learnt, the search, and the fragment it ends in."""
