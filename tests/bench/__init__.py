"""`make bench`: the figures that the README quotes, each measured here and now beside what it is compared with."""
