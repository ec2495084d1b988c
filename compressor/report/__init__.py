"""What a run says of itself: page, cards and text, from the files of the run directory."""
