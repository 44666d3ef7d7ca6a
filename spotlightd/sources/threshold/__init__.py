"""The threshold lists of Regulation SHO, one source for each publisher. `lists` has what they share."""
